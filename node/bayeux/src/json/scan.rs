use smallvec::SmallVec;
use thiserror::Error;

/// Why a text is not an acceptable frame.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ScanError {
    /// The JSON grammar is violated at this byte offset.
    #[error("malformed JSON at byte {at}")]
    Syntax {
        /// Byte offset of the first character that does not belong there.
        at: usize,
    },
    /// More arrays and objects are open at once than allowed.
    #[error("JSON nested deeper than {max_depth}")]
    TooDeep {
        /// The depth allowed.
        max_depth: usize,
    },
    /// The frame holds more messages than allowed.
    #[error("more than {max} messages in one frame")]
    TooManyMessages {
        /// The number allowed.
        max: usize,
    },
    /// An empty array.
    #[error("empty array")]
    Empty,
    /// Well-formed JSON, but a message is not an object.
    #[error("message is not an object")]
    NotAnObject,
    /// A Bayeux field appears twice in one message, so that two readers could disagree about it.
    #[error("field {field} appears twice")]
    DuplicateField {
        /// The field's name.
        field: &'static str,
    },
}

impl ScanError {
    /// Whether the text is not JSON (or too deep to tell), as opposed to JSON that is not a Bayeux frame.
    #[must_use]
    pub const fn is_syntax(&self) -> bool {
        matches!(self, Self::Syntax { .. } | Self::TooDeep { .. })
    }
}

/// One bit per open container: set for an object. Inline up to 256 levels.
#[derive(Default)]
struct Containers {
    bits: SmallVec<[u64; 4]>,
    len: usize,
}

impl Containers {
    fn push(&mut self, object: bool) {
        let (word, bit) = (self.len / 64, self.len % 64);
        if word == self.bits.len() {
            self.bits.push(0);
        }
        if object {
            self.bits[word] |= 1 << bit;
        } else {
            self.bits[word] &= !(1 << bit);
        }
        self.len += 1;
    }

    fn pop(&mut self) {
        self.len -= 1;
    }

    fn top_is_object(&self) -> bool {
        let last = self.len - 1;
        self.bits[last / 64] >> (last % 64) & 1 == 1
    }
}

/// A cursor over a text. Every method consumes what it names or fails with the offset of the offence.
pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    pos: usize,
    max_depth: usize,
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Marks bytes of `word` that are `"`, `\` or a control character. Only the lowest mark is exact, which is the only one used.
const fn string_stops(word: u64) -> u64 {
    let quote = word ^ (ONES * b'"' as u64);
    let escape = word ^ (ONES * b'\\' as u64);
    let zero_quote = quote.wrapping_sub(ONES) & !quote;
    let zero_escape = escape.wrapping_sub(ONES) & !escape;
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (zero_quote | zero_escape | control) & HIGHS
}

impl<'a> Scanner<'a> {
    pub(crate) const fn new(text: &'a str, max_depth: usize) -> Self {
        Self {
            bytes: text.as_bytes(),
            pos: 0,
            max_depth,
        }
    }

    pub(crate) const fn position(&self) -> usize {
        self.pos
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.pos).copied()
    }

    pub(crate) const fn syntax<T>(&self) -> Result<T, ScanError> {
        Err(ScanError::Syntax { at: self.pos })
    }

    pub(crate) fn skip_whitespace(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.pos += 1;
        }
    }

    pub(crate) fn expect(&mut self, byte: u8) -> Result<(), ScanError> {
        if self.peek() == Some(byte) {
            self.pos += 1;
            Ok(())
        } else {
            self.syntax()
        }
    }

    pub(crate) fn expect_end(&mut self) -> Result<(), ScanError> {
        self.skip_whitespace();
        if self.pos == self.bytes.len() {
            Ok(())
        } else {
            self.syntax()
        }
    }

    /// Fails when a container opened inside `open` others would be too deep.
    pub(crate) const fn check_depth(&self, open: usize) -> Result<(), ScanError> {
        if open < self.max_depth {
            Ok(())
        } else {
            Err(ScanError::TooDeep {
                max_depth: self.max_depth,
            })
        }
    }

    /// Consumes one value that stands inside `outer` open containers.
    pub(crate) fn skip_value(&mut self, outer: usize) -> Result<(), ScanError> {
        let mut open = Containers::default();
        loop {
            self.skip_whitespace();
            match self.peek() {
                Some(b'"') => {
                    self.skip_string()?;
                }
                Some(b'{') => {
                    self.check_depth(outer + open.len)?;
                    self.pos += 1;
                    self.skip_whitespace();
                    if self.peek() == Some(b'}') {
                        self.pos += 1;
                    } else {
                        open.push(true);
                        self.skip_key()?;
                        continue;
                    }
                }
                Some(b'[') => {
                    self.check_depth(outer + open.len)?;
                    self.pos += 1;
                    self.skip_whitespace();
                    if self.peek() == Some(b']') {
                        self.pos += 1;
                    } else {
                        open.push(false);
                        continue;
                    }
                }
                Some(b'-' | b'0'..=b'9') => self.skip_number()?,
                Some(b't') => self.skip_literal(b"true")?,
                Some(b'f') => self.skip_literal(b"false")?,
                Some(b'n') => self.skip_literal(b"null")?,
                _ => return self.syntax(),
            }
            if !self.after_value(&mut open)? {
                return Ok(());
            }
        }
    }

    /// After a complete value: closes the containers that end here. True when another value follows.
    fn after_value(&mut self, open: &mut Containers) -> Result<bool, ScanError> {
        while open.len > 0 {
            self.skip_whitespace();
            let object = open.top_is_object();
            match (self.peek(), object) {
                (Some(b','), _) => {
                    self.pos += 1;
                    if object {
                        self.skip_whitespace();
                        self.skip_key()?;
                    }
                    return Ok(true);
                }
                (Some(b'}'), true) | (Some(b']'), false) => {
                    self.pos += 1;
                    open.pop();
                }
                _ => return self.syntax(),
            }
        }
        Ok(false)
    }

    /// Consumes `"name" :`.
    fn skip_key(&mut self) -> Result<(), ScanError> {
        self.skip_string()?;
        self.skip_whitespace();
        self.expect(b':')
    }

    fn skip_literal(&mut self, literal: &[u8]) -> Result<(), ScanError> {
        if self.bytes[self.pos..].starts_with(literal) {
            self.pos += literal.len();
            Ok(())
        } else {
            self.syntax()
        }
    }

    fn skip_digits(&mut self) -> Result<(), ScanError> {
        let start = self.pos;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.pos += 1;
        }
        if self.pos == start {
            return self.syntax();
        }
        Ok(())
    }

    fn skip_number(&mut self) -> Result<(), ScanError> {
        if self.peek() == Some(b'-') {
            self.pos += 1;
        }
        if self.peek() == Some(b'0') {
            self.pos += 1;
        } else {
            self.skip_digits()?;
        }
        if self.peek() == Some(b'.') {
            self.pos += 1;
            self.skip_digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.pos += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.pos += 1;
            }
            self.skip_digits()?;
        }
        Ok(())
    }

    /// Consumes a string with its quotes; true when it holds an escape.
    pub(crate) fn skip_string(&mut self) -> Result<bool, ScanError> {
        self.expect(b'"')?;
        let mut escaped = false;
        loop {
            while let Some(word) = self.bytes[self.pos..].first_chunk::<8>() {
                let stops = string_stops(u64::from_le_bytes(*word));
                if stops != 0 {
                    self.pos += stops.trailing_zeros() as usize / 8;
                    break;
                }
                self.pos += 8;
            }
            match self.peek() {
                Some(b'"') => {
                    self.pos += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.skip_escape()?;
                }
                Some(0x20..) => self.pos += 1,
                _ => return self.syntax(),
            }
        }
    }

    fn skip_escape(&mut self) -> Result<(), ScanError> {
        self.pos += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.pos += 1;
                Ok(())
            }
            Some(b'u') => {
                self.pos += 1;
                // Half of a pair by itself is in the grammar, and `JSON.stringify` writes it for a text that was cut in the middle.
                self.hex4()
            }
            _ => self.syntax(),
        }
    }

    fn hex4(&mut self) -> Result<(), ScanError> {
        for _ in 0..4 {
            if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                return self.syntax();
            }
            self.pos += 1;
        }
        Ok(())
    }
}
