//! The parts of a regular expression in RE2's syntax.

/// A pattern, and how far it was read.
pub(super) struct Reader<'p> {
    rest: &'p [u8],
}

impl<'p> Reader<'p> {
    pub(super) fn new(pattern: &'p [u8]) -> Self {
        Self { rest: pattern }
    }

    /// What was not read yet.
    pub(super) fn rest(&self) -> &'p [u8] {
        self.rest
    }

    pub(super) fn next(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    fn accept(&mut self, prefix: &[u8]) -> bool {
        let rest = self.rest.strip_prefix(prefix);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Leaves the rest after the first `end`, and returns what was before.
    fn until(&mut self, end: u8) -> Option<&[u8]> {
        let at = self.rest.iter().position(|&byte| byte == end)?;
        let (before, rest) = self.rest.split_at(at);
        self.rest = &rest[1..];
        Some(before)
    }

    pub(super) fn character(&mut self) {
        while self.rest.first().is_some_and(|byte| byte & 0xc0 == 0x80) {
            self.next();
        }
    }

    pub(super) fn lazy(&mut self) {
        self.accept(b"?");
    }

    /// After `(`: whether a group opens. If not, these were flags for the rest of the group around them.
    pub(super) fn group_opens(&mut self) -> Option<bool> {
        if !self.accept(b"?") {
            return Some(true);
        }
        if self.accept(b"P<") || self.accept(b"<") {
            self.until(b'>')?;
            return Some(true);
        }
        loop {
            match self.next()? {
                b':' => return Some(true),
                b')' => return Some(false),
                b'i' | b'm' | b's' | b'U' | b'-' => {}
                _ => return None,
            }
        }
    }

    /// After `{`: the least number of times, and how many copies are made. `None` when this is not a repetition and the
    /// brace is itself.
    pub(super) fn repetition(&mut self) -> Option<(u32, u32)> {
        // Looks no further than a repetition can be long, so that many braces are read in linear time.
        let end = (self.rest.iter().take(24)).position(|&byte| byte == b'}')?;
        let number = |digits: &[u8]| -> Option<u32> {
            let valid = digits.iter().all(u8::is_ascii_digit)
                && (digits.len() == 1 || digits.first() != Some(&b'0'));
            valid.then(|| str::from_utf8(digits).ok()?.parse().ok())?
        };
        let mut bounds = self.rest[..end].splitn(2, |&byte| byte == b',');
        let minimum = number(bounds.next()?)?;
        let copies = match bounds.next() {
            None | Some(b"") => minimum,
            Some(maximum) => number(maximum)?,
        };
        self.rest = &self.rest[end + 1..];
        Some((minimum, copies))
    }

    /// After `[`: to the end of the class.
    pub(super) fn class(&mut self) -> Option<()> {
        self.accept(b"^");
        self.accept(b"]");
        loop {
            match self.next()? {
                b']' => return Some(()),
                b'\\' => {
                    self.next()?;
                }
                b'[' if self.accept(b":") => {
                    // `[:alpha:]`; without the end of it, the bracket is itself. No class has a longer name.
                    let mut pairs = self.rest.windows(2).take("[:xdigit:]".len());
                    if let Some(end) = pairs.position(|pair| pair == b":]") {
                        self.rest = &self.rest[end + 2..];
                    }
                }
                _ => {}
            }
        }
    }

    /// After `\Q`: to the end of the quotation. Returns how many characters were quoted.
    pub(super) fn quoted(&mut self) -> usize {
        let end = self.rest.windows(2).position(|pair| pair == b"\\E");
        let (quoted, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest.get(2..).unwrap_or(b"");
        str::from_utf8(quoted).map_or(quoted.len(), |text| text.chars().count())
    }

    /// After the first character of an escape: to its end. Whether it can be empty.
    pub(super) fn escape(&mut self, first: u8) -> Option<bool> {
        match first {
            b'A' | b'z' | b'B' => return Some(true),
            b'a' | b'f' | b'n' | b'r' | b't' | b'v' | b'd' | b'D' | b's' | b'S' | b'w' | b'W'
            | b'b' => {}
            b'p' | b'P' => {
                self.accept(b"^");
                if self.accept(b"{") {
                    self.until(b'}')?;
                } else {
                    self.next()?;
                }
            }
            b'x' => {
                if self.accept(b"{") {
                    self.until(b'}')?;
                } else {
                    self.next()?;
                    self.next()?;
                }
            }
            b'0'..=b'7' => {
                for _ in 0..2 {
                    if matches!(self.rest.first(), Some(b'0'..=b'7')) {
                        self.next();
                    }
                }
            }
            byte if byte.is_ascii() && !byte.is_ascii_alphanumeric() => {}
            _ => return None,
        }
        Some(false)
    }
}
