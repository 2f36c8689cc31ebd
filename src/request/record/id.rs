//! What a request is called in logs and in the header `X-Request-Id`.

/// One for each request; used nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId(pub u64);

impl RequestId {
    /// As it is written.
    pub fn hexadecimal(self) -> Hexadecimal {
        Hexadecimal::of(self.0)
    }
}

/// A number in 16 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug)]
pub struct Hexadecimal([u8; 16]);

impl Hexadecimal {
    pub(super) fn of(number: u64) -> Self {
        let digit = |index| b"0123456789abcdef"[(number >> (60 - 4 * index) & 0xf) as usize];
        Self(std::array::from_fn(digit))
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("digits")
    }
}
