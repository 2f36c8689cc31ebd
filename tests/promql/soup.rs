//! Texts of PromQL's alphabet without its grammar.
//!
//! Pieces are put beside each other with and without something between them. Most texts take turns between operands and
//! operators before something is put in or cut off, so that a good share of all is let out.

#![allow(
    unreachable_pub,
    reason = "shared by several suites, each a crate that nobody reaches into"
)]

pub struct Soup(u64);

impl Soup {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub fn text(&mut self) -> String {
        let mut text = String::new();
        if self.chance(20) {
            for _ in 0..=self.below(6) {
                let piece = self.piece();
                text.push_str(&piece);
                self.gap(&mut text);
            }
            return text;
        }
        self.expression(&mut text, 2);
        if self.chance(15) {
            let at = self.below(text.len() + 1);
            let piece = self.piece();
            text.insert_str(text.floor_char_boundary(at), &piece);
        }
        if self.chance(10) {
            let at = self.below(text.len() + 1);
            text.truncate(text.floor_char_boundary(at));
        }
        text
    }

    fn expression(&mut self, text: &mut String, depth: usize) {
        self.operand(text, depth);
        for _ in 0..self.below(3) {
            self.gap(text);
            let operator = self.pick(OPERATORS);
            text.push_str(operator);
            self.gap_behind_word(text);
            self.operand(text, depth);
        }
    }

    fn operand(&mut self, text: &mut String, depth: usize) {
        if self.chance(12) {
            let sign = self.pick(&["-", "+", "- ", "--"]);
            text.push_str(sign);
        }
        match self.below(10) {
            0..=2 => {
                let number = self.number();
                text.push_str(&number);
            }
            3 if depth > 0 => {
                text.push('(');
                self.expression(text, depth - 1);
                text.push(')');
            }
            4 if depth > 0 => {
                let call = self.pick(CALLS);
                text.push_str(call);
                self.gap(text);
                text.push('(');
                self.expression(text, depth - 1);
                text.push(')');
            }
            _ => {
                let name = self.pick(NAMES);
                text.push_str(name);
                if self.chance(25) {
                    let braces = self.pick(BRACES);
                    text.push_str(braces);
                }
            }
        }
        if self.chance(30) {
            self.gap(text);
            let modifier = self.pick(&[
                "offset ",
                "offset",
                "@",
                "@ ",
                "[",
                "[",
                " anchored",
                " smoothed",
            ]);
            text.push_str(modifier);
            if !modifier.starts_with(' ') {
                let number = self.number();
                text.push_str(&number);
            }
            if modifier == "[" {
                if self.chance(40) {
                    let number = self.number();
                    let colon = self.pick(&[":", " :", ": ", "+", ":-"]);
                    text.push_str(colon);
                    text.push_str(&number);
                }
                text.push(']');
            }
        }
    }

    fn piece(&mut self) -> String {
        match self.below(8) {
            0 | 1 => self.number(),
            2 => self.pick(NAMES).to_owned(),
            3 => self.pick(OPERATORS).to_owned(),
            4 => self.pick(BRACES).to_owned(),
            5 => self.pick(CALLS).to_owned(),
            _ => self.pick(PIECES).to_owned(),
        }
    }

    /// A number or a duration in any spelling, or what is nearly one.
    fn number(&mut self) -> String {
        match self.below(10) {
            0..=2 => return self.pick(NUMBERS).to_owned(),
            3..=5 => return self.pick(PLAIN).to_owned(),
            _ => {}
        }
        let mut text = String::new();
        if self.chance(30) {
            let prefix = self.pick(&["0x", "0X", "0x_", "0", "0_", "00"]);
            text.push_str(prefix);
        }
        let hexadecimal = text.contains(['x', 'X']);
        let digits = |soup: &mut Self, text: &mut String| {
            for _ in 0..=soup.below(3) {
                let digit = soup.pick(if hexadecimal {
                    &["1", "0", "e", "E", "a", "d", "f", "9"]
                } else {
                    &["1", "2", "0", "5", "8", "7", "30", "15"]
                });
                text.push_str(digit);
                if soup.chance(6) {
                    text.push('_');
                }
            }
        };
        if !self.chance(10) {
            digits(self, &mut text);
        }
        if self.chance(if hexadecimal { 5 } else { 20 }) {
            text.push('.');
            if self.chance(80) {
                digits(self, &mut text);
            }
        }
        if self.chance(25) {
            let exponent = self.pick(&["e", "E", "e+", "e-", "E+", "E-", "p", "e_"]);
            text.push_str(exponent);
            if self.chance(75) {
                digits(self, &mut text);
            }
        }
        if self.chance(25) {
            let unit = self.pick(&[
                "m", "h", "s", "ms", "d", "w", "y", "h30m", "m5", "hs", "1h", "s5ms",
            ]);
            text.push_str(unit);
        }
        text
    }

    fn gap(&mut self, text: &mut String) {
        let gap = self.pick(&[
            "", "", "", "", "", " ", " ", " ", "\n", "#c\n", "\t ", " # \r",
        ]);
        text.push_str(gap);
    }

    /// Most words need one.
    fn gap_behind_word(&mut self, text: &mut String) {
        if text.ends_with(|last: char| last.is_alphanumeric()) && self.chance(85) {
            text.push(' ');
        } else {
            self.gap(text);
        }
    }

    fn pick<'p>(&mut self, from: &[&'p str]) -> &'p str {
        from[self.below(from.len())]
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The low bits repeat sooner.
        usize::try_from((self.0 >> 11) % bound.max(1) as u64).unwrap_or(0)
    }
}

const PLAIN: &[&str] = &[
    "5m", "1h30m", "10ms", "1d", "1w2d", "5", "300", "0.5", "1e3", "1.5e-3", "60s", "2", "0x1f",
];

const NUMBERS: &[&str] = &[
    "0x1e",
    "0x1e+",
    "0xe-",
    "0X1E",
    "0x1e5",
    "0xfee",
    "1e5",
    "1e+5",
    "1e",
    "1e+",
    "1.",
    ".5",
    "1.5.5",
    "010",
    "08",
    "1_000",
    "0_7",
    "0x_1",
    "0x",
    "5m",
    "1h30m",
    "1.5h",
    "1e5m",
    "5",
    "300",
    "0",
    "1m1h",
    "0s",
    "10ms",
    "inf",
    "NaN",
    "Inf",
    "1d",
    "0x1d",
    "0b1",
    "0o7",
    "9223372036854775808",
    "0xffffffffffffffff",
    "1e999",
    "300y",
    "step()",
    "range()",
    "max_of(1m,5)",
    "(5m)",
    "-5m",
    "start()",
    "end()",
];

const NAMES: &[&str] = &[
    "a",
    "b",
    "decade",
    "e",
    "e5",
    "ad",
    "x",
    "m",
    "h",
    "d5",
    "_",
    "_1",
    "a_b",
    "a:b",
    ":c",
    "up",
    "or",
    "and",
    "unless",
    "by",
    "without",
    "on",
    "ignoring",
    "bool",
    "offset",
    "start",
    "end",
    "step",
    "range",
    "max_of",
    "min_of",
    "anchored",
    "smoothed",
    "fill",
    "fill_left",
    "sum",
    "avg",
    "topk",
    "limitk",
    "group",
    "count_values",
    "atan2",
    "group_left",
    "inf",
    "nan",
    "Sum",
    "OR",
    "rate",
    "absent",
    "http.requests",
    "offset.5",
    "bool.5m",
    "ö",
    "a.ö",
    "or.e5",
    "x5m",
    "e1",
];

const OPERATORS: &[&str] = &[
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "==",
    "!=",
    "<",
    ">",
    "<=",
    ">=",
    "</",
    ">/",
    "or",
    "and",
    "unless",
    "atan2",
    "or",
    "+",
    "-",
    "+ bool",
    "> bool",
    "* on(a)",
    "+ ignoring (a, b)",
    "* on (a) group_left",
    "- on() group_right (x)",
    "+ fill(0)",
    "+ on (a) fill_left (5)",
];

const BRACES: &[&str] = &[
    "{}",
    "{a=\"b\"}",
    "{a='b',}",
    "{a=~`x.+`}",
    "{namespace=\"team-a\"}",
    "{namespace=\"victim\"}",
    "{namespace=~\"(?i)X\"}",
    "{\"q\"}",
    "{__name__=\"x\"}",
    "{a!=\"\" , b!~\"c\"}",
    "{ # c\n a = \"\\x41\" }",
    "{or=\"x\"}",
    "{\"a b\"=\"c\"}",
    "{a=\"}\"}",
    "{",
    "}",
    "{a.b=\"c\"}",
    "{e5=\"0x1e+b\"}",
];

const CALLS: &[&str] = &[
    "sum",
    "sum by (a)",
    "sum by(a,)",
    "sum without ()",
    "rate",
    "abs",
    "absent",
    "absent_over_time",
    "scalar",
    "vector",
    "time",
    "topk",
    "count",
    "step",
    "max_of",
    "start",
    "avg_over_time",
    "info",
    "limitk by (a)",
    "sort",
    "histogram_quantile",
    "last_over_time",
    "nosuch",
];

const PIECES: &[&str] = &[
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "@",
    "=",
    "!",
    "=~",
    "!~",
    "~",
    ".",
    "_",
    "e",
    "e+",
    "x",
    "'s'",
    "\"s\"",
    "`r`",
    "\"",
    "'",
    "\\",
    "#",
    "# c\n",
    "$",
    ";",
    "\u{fffd}",
    "\0",
    "()",
    "(a)",
    "[5m]",
    "[5m:1m]",
    "[1h:]",
    "by",
    "by (a)",
    "\"\\u00e4\"",
    "offset",
    "fill(1)",
    "é",
    "\u{212a}",
    "İ",
];
