//! Random PromQL from the grammar.
//!
//! Expressions have the right types, so that Prometheus accepts nearly all of them, over metrics and labels that the
//! test gives. The same seed gives the same expressions. Nothing is known here of restriction.

#![allow(
    unreachable_pub,
    reason = "shared by several suites, each a crate that nobody reaches into"
)]

use prom_rbac_proxy::telemetry::ids;

/// What the expressions are about.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    /// Names of gauges and counters. One that is not a plain name is written in quotes, in braces.
    pub metrics: Vec<String>,
    /// Labels and values that occur with them. Values go into `=`, `!=` and, as alternations, `=~` and `!~`.
    pub labels: Vec<(String, Vec<String>)>,
}

/// How far from everyday PromQL the expressions may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// What Prometheus 2.42 answers, too, in plain spelling.
    Common,
    /// Everything that Prometheus 3.16 parses, in any spelling: comments, odd blanks, cases, quotes, escapes.
    Everything,
}

/// A source of expressions.
#[derive(Clone, Debug)]
pub struct Generator {
    random: Random,
    vocabulary: Vocabulary,
    dialect: Dialect,
}

impl Generator {
    /// A generator whose sequence of expressions depends on the arguments only.
    pub fn new(seed: u64, vocabulary: Vocabulary, dialect: Dialect) -> Self {
        Self {
            random: Random(seed),
            vocabulary,
            dialect,
        }
    }

    /// An expression whose value is an instant vector or a scalar.
    pub fn expression(&mut self) -> String {
        let depth = 1 + self.random.below(4);
        match self.random.below(12) {
            0 => self.scalar(depth),
            _ => self.vector(depth),
        }
    }

    /// A vector selector, without offset or `@`.
    pub fn selector(&mut self) -> String {
        let metric = self.one_of_metrics();
        let is_plain = metric
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':'));
        let mut matchers = Vec::new();
        let name = match self.random.below(8) {
            _ if !is_plain => {
                matchers.push(self.quoted(&metric));
                String::new()
            }
            0 => {
                matchers.push(format!("__name__={}", self.quoted(&metric)));
                String::new()
            }
            1 => {
                matchers.push(format!("__name__=~{}", self.quoted(&metric)));
                String::new()
            }
            2 if self.is_odd() => {
                matchers.push(self.quoted(&metric));
                String::new()
            }
            _ => metric,
        };
        for _ in 0..self.random.below(3) {
            let matcher = self.matcher();
            matchers.push(matcher);
        }
        if matchers.is_empty() {
            return match self.random.below(6) {
                0 => format!("{name}{{}}"),
                _ => name,
            };
        }
        let blank = self.blank();
        let comma = format!(",{blank}");
        let last = if self.random.below(8) == 0 { "," } else { "" };
        format!("{name}{{{blank}{}{last}}}", matchers.join(&comma))
    }

    fn matcher(&mut self) -> String {
        let (label, values) = self.one_of_labels();
        let label = match self.random.below(6) {
            0 if self.is_odd() => self.quoted(&label),
            _ => label,
        };
        let count = 1 + self.random.below(2);
        let several: Vec<_> = (0..count)
            .map(|_| values[self.random.below(values.len())].clone())
            .collect();
        let (operator, value) = match self.random.below(9) {
            0..=2 => ("=", several[0].clone()),
            3 => ("!=", several[0].clone()),
            4 => ("=~", several.join("|")),
            5 => ("=~", format!("({})", several.join("|"))),
            6 => ("!~", several.join("|")),
            7 => ("=~", ".+".to_owned()),
            _ => ("=~", ".*".to_owned()),
        };
        let value = self.quoted(&value);
        let blank = self.blank();
        format!("{label}{blank}{operator}{blank}{value}")
    }

    fn vector(&mut self, depth: usize) -> String {
        if depth == 0 {
            let selector = self.selector();
            return self.modified(selector);
        }
        let depth = depth - 1;
        match self.random.below(13) {
            0 => {
                let selector = self.selector();
                self.modified(selector)
            }
            1 | 2 => self.aggregation(depth),
            3 | 4 => {
                let function = self.one_of(OF_RANGE);
                let range = self.range(depth);
                format!("{function}({range})")
            }
            5 => {
                let function = self.one_of(OF_VECTOR);
                let vector = self.vector(depth);
                format!("{function}({vector})")
            }
            6 | 7 => self.binary(depth),
            8 => format!("({})", self.vector(depth)),
            9 => {
                let sign = self.one_of(&["-", "+", "- -"]);
                format!("{sign}{}", self.vector(depth))
            }
            10 => self.call(depth),
            11 => {
                let function = self.one_of(&["absent", "absent_over_time"]);
                let selector = self.selector();
                let range = if function == "absent" { "" } else { "[5m]" };
                format!("{function}({selector}{range})")
            }
            _ => {
                let operator = self.one_of(&["and", "or", "unless"]);
                let (left, right) = (self.vector(depth), self.vector(depth));
                let matching = self.matching();
                let operator = self.cased(operator);
                format!("{left} {operator} {matching}{right}")
            }
        }
    }

    fn scalar(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self.number();
        }
        let depth = depth - 1;
        match self.random.below(6) {
            0 | 1 => format!("scalar({})", self.vector(depth)),
            2 => "time()".to_owned(),
            3 => {
                let operator = self.one_of(ARITHMETIC);
                format!("{} {operator} {}", self.scalar(depth), self.scalar(depth))
            }
            4 if self.is_odd() => {
                let function =
                    self.one_of(&["step()", "range()", "start()", "end()", "max_of(1, 2)"]);
                function.to_owned()
            }
            _ => self.number(),
        }
    }

    fn aggregation(&mut self, depth: usize) -> String {
        let mut operators = vec![
            "sum",
            "avg",
            "count",
            "min",
            "max",
            "group",
            "stddev",
            "stdvar",
            "topk",
            "bottomk",
            "quantile",
            "count_values",
        ];
        if self.is_odd() {
            operators.extend(["limitk", "limit_ratio"]);
        }
        let operator = self.one_of(&operators);
        let parameter = match operator {
            "topk" | "bottomk" | "limitk" => match self.random.below(3) {
                0 => format!("{}, ", self.scalar(depth)),
                _ => format!("{}, ", 1 + self.random.below(4)),
            },
            "quantile" | "limit_ratio" => match self.random.below(3) {
                0 => format!("{}, ", self.scalar(depth)),
                _ => "0.5, ".to_owned(),
            },
            "count_values" => format!("{}, ", self.quoted("value")),
            _ => String::new(),
        };
        let operand = self.vector(depth);
        let operator = self.cased(operator);
        let blank = self.blank();
        let modifier = match self.random.below(4) {
            0 => None,
            1 => Some("without"),
            _ => Some("by"),
        }
        .map(|word| {
            let labels = self.labels();
            format!("{} {labels}", self.cased(word))
        });
        match modifier {
            None => format!("{operator}{blank}({parameter}{operand})"),
            Some(modifier) if self.random.below(2) == 0 => {
                format!("{operator} {modifier}{blank}({parameter}{operand})")
            }
            Some(modifier) => format!("{operator}({parameter}{operand}){blank} {modifier}"),
        }
    }

    fn binary(&mut self, depth: usize) -> String {
        let left = self.vector(depth);
        match self.random.below(4) {
            0 => {
                let operator = self.one_of(ARITHMETIC);
                let operator = self.cased(operator);
                format!("{left} {operator} {}", self.scalar(depth))
            }
            1 => {
                let operator = self.one_of(COMPARISONS);
                let bool = self.one_of(&["", "bool "]);
                format!("{left} {operator} {bool}{}", self.scalar(depth))
            }
            2 => {
                let operator = self.one_of(if self.is_odd() {
                    &["+", "-", "*", "/", "==", ">", "atan2", "</", ">/"]
                } else {
                    &["+", "-", "*", "/", "==", ">", "atan2"]
                });
                let matching = self.matching();
                let right = self.vector(depth);
                let group = match self.random.below(4) {
                    0 if !matching.is_empty() => "group_left () ",
                    // A parenthesis would be read as its list of labels.
                    1 if !matching.is_empty() && !right.starts_with('(') => "group_right ",
                    _ => "",
                };
                let fill = match self.random.below(8) {
                    0 if self.is_odd() => "fill (0) ",
                    1 if self.is_odd() => "fill_left(-1) fill_right (2) ",
                    2 if self.is_odd() => "fill_right(+1) ",
                    _ => "",
                };
                format!("{left} {operator} {matching}{group}{fill}{right}")
            }
            _ => {
                let labels = self.labels();
                let operator = self.one_of(&["*", "+", ">"]);
                format!(
                    "sum by {labels} ({left}) {operator} on {labels} group_right sum by {labels} ({left})"
                )
            }
        }
    }

    fn call(&mut self, depth: usize) -> String {
        match self.random.below(7) {
            0 => {
                let vector = self.vector(depth);
                let (label, _) = self.one_of_labels();
                let arguments = [
                    self.quoted("copy"),
                    self.quoted("$1"),
                    self.quoted(&label),
                    self.quoted("(.*)-.*"),
                ];
                format!("label_replace({vector}, {})", arguments.join(", "))
            }
            1 => {
                let vector = self.vector(depth);
                let (label, _) = self.one_of_labels();
                let arguments = [self.quoted("joined"), self.quoted("/"), self.quoted(&label)];
                format!("label_join({vector}, {})", arguments.join(", "))
            }
            2 => format!("vector({})", self.scalar(depth)),
            3 => format!("clamp_max({}, {})", self.vector(depth), self.scalar(depth)),
            4 => format!("round({}, 0.5)", self.vector(depth)),
            5 => format!("quantile_over_time(0.5, {})", self.range(depth)),
            _ => format!("histogram_quantile(0.9, {})", self.vector(depth)),
        }
    }

    fn range(&mut self, depth: usize) -> String {
        let duration = self.duration();
        let (inner, range) = if self.random.below(3) == 0 {
            let vector = format!("({})", self.vector(depth));
            let step = self.one_of(&["", "1m", "30s"]);
            (vector, format!("[{duration}:{step}]"))
        } else {
            (self.selector(), format!("[{duration}]"))
        };
        let extension = match self.random.below(10) {
            0 if self.is_odd() && !range.contains(':') => " anchored",
            1 if self.is_odd() && !range.contains(':') => " smoothed",
            _ => "",
        };
        let ranged = format!("{inner}{range}{extension}");
        self.modified(ranged)
    }

    fn duration(&mut self) -> String {
        let common: &[&str] = &["5m", "1m", "10m", "90s", "1h", "2m30s"];
        let all: &[&str] = &[
            "5m",
            "1m",
            "1h30m",
            " 300 ",
            "5m + 1m",
            "step()+1m",
            "(5m)*2",
            "range()/2 + 1m",
            "max_of(1m, step())",
            "MIN_OF(1h,2h)",
            "5m # minutes\n",
            "+5m",
            "0x1F",
            "1_00",
            "2^3",
        ];
        let choice = if self.is_odd() { all } else { common };
        self.one_of(choice).to_owned()
    }

    /// With `offset` and `@`, sometimes.
    fn modified(&mut self, selector: String) -> String {
        let offset = match self.random.below(8) {
            0 => {
                let value = if self.is_odd() {
                    self.one_of(&[
                        "-5m",
                        "+ 1m",
                        "(5m+1m)",
                        "step()",
                        "-range()",
                        "max_of(1m,2m)",
                        "- (5m+1m)",
                        "60",
                        "1h30m",
                    ])
                } else {
                    self.one_of(&["1m", "5m", "-1m"])
                };
                format!(" {} {value}", self.cased("offset"))
            }
            _ => String::new(),
        };
        let at = match self.random.below(12) {
            0 => " @ end()",
            1 => " @ start()",
            2 if self.is_odd() => " @ -1.5e3",
            3 if self.is_odd() => "@1000",
            _ => "",
        };
        match self.random.below(2) {
            0 => format!("{selector}{offset}{at}"),
            _ => format!("{selector}{at}{offset}"),
        }
    }

    fn matching(&mut self) -> String {
        match self.random.below(3) {
            0 => String::new(),
            1 => format!("on {} ", self.labels()),
            _ => format!("ignoring {} ", self.labels()),
        }
    }

    fn labels(&mut self) -> String {
        let count = self.random.below(3);
        let mut labels = Vec::new();
        for _ in 0..count {
            let label = match self.random.below(12) {
                0 if self.is_odd() => self
                    .one_of(&["by", "on", "offset", "bool", "sum", "group_left"])
                    .to_owned(),
                1 if self.is_odd() => {
                    let (label, _) = self.one_of_labels();
                    self.quoted(&label)
                }
                _ => self.one_of_labels().0,
            };
            if !labels.contains(&label) {
                labels.push(label);
            }
        }
        let last = if self.is_odd() && !labels.is_empty() && self.random.below(6) == 0 {
            ","
        } else {
            ""
        };
        format!("({}{last})", labels.join(", "))
    }

    fn number(&mut self) -> String {
        let common: &[&str] = &["0", "1", "2", "0.5", "10", "1e3", "100"];
        let all: &[&str] = &[
            "0", "1.", ".5", "1e-3", "1E+3", "0x1f", "1_000", "Inf", "nan", "-1", "5m", "1h30m",
            "017",
        ];
        let choice = if self.is_odd() { all } else { common };
        self.one_of(choice).to_owned()
    }

    /// A string literal for `value`.
    fn quoted(&mut self, value: &str) -> String {
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
        if self.dialect == Dialect::Common {
            return format!("\"{escaped}\"");
        }
        match self.random.below(6) {
            0 if !value.contains('`') => format!("`{value}`"),
            1 if !value.contains(['\'', '\\']) => format!("'{value}'"),
            2 => {
                let bytes: Vec<_> = value.bytes().map(|byte| format!("\\x{byte:02x}")).collect();
                format!("\"{}\"", bytes.concat())
            }
            3 => {
                let octal: Vec<_> = value.bytes().map(|byte| format!("\\{byte:03o}")).collect();
                format!("'{}'", octal.concat())
            }
            _ => format!("\"{escaped}\""),
        }
    }

    fn blank(&mut self) -> &'static str {
        if self.is_odd() {
            self.one_of(&["", " ", "\n", "\t ", " # a comment {\n", "\r\n"])
        } else {
            self.one_of(&["", " "])
        }
    }

    fn cased(&mut self, word: &str) -> String {
        match self.random.below(6) {
            0 if self.is_odd() => word.to_uppercase(),
            _ => word.to_owned(),
        }
    }

    fn is_odd(&self) -> bool {
        self.dialect == Dialect::Everything
    }

    fn one_of<'c>(&mut self, choices: &[&'c str]) -> &'c str {
        choices[self.random.below(choices.len())]
    }

    fn one_of_metrics(&mut self) -> String {
        let index = self.random.below(self.vocabulary.metrics.len());
        self.vocabulary.metrics[index].clone()
    }

    fn one_of_labels(&mut self) -> (String, Vec<String>) {
        let index = self.random.below(self.vocabulary.labels.len());
        self.vocabulary.labels[index].clone()
    }
}

const ARITHMETIC: &[&str] = &["+", "-", "*", "/", "%", "^"];
const COMPARISONS: &[&str] = &["==", "!=", ">", "<", ">=", "<="];
const OF_RANGE: &[&str] = &[
    "rate",
    "increase",
    "delta",
    "irate",
    "idelta",
    "deriv",
    "changes",
    "resets",
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "sum_over_time",
    "count_over_time",
    "last_over_time",
    "present_over_time",
    "stddev_over_time",
];
const OF_VECTOR: &[&str] = &[
    "abs",
    "ceil",
    "floor",
    "exp",
    "sgn",
    "sqrt",
    "ln",
    "timestamp",
    "sort",
    "sort_desc",
    "deg",
    "cos",
    "minute",
];

/// SplitMix64: small, and the same on every machine and with every version of every crate.
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(ids::STEP);
        ids::mix(self.0)
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.next() % bound).unwrap_or(0)
    }
}
