//! The grammar of RFC 8259, one function for each rule, without any of the leniency that parsers add.

use std::collections::HashSet;

use super::{Body, Node};
use crate::catalog::body::BadBody;

/// Parses a text that is one JSON value and nothing else.
pub(super) fn document(text: &str) -> Result<Node, BadBody> {
    let mut parser = Parser { text, at: 0 };
    let node = parser.value(0)?;
    parser.skip_space();
    if parser.at < text.len() { parser.wrong() } else { Ok(node) }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn value(&mut self, depth: usize) -> Result<Node, BadBody> {
        self.skip_space();
        match self.peek() {
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.array(depth + 1),
            Some(b'"') => Ok(Node::String(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Node::Boolean(true)),
            Some(b'f') => self.word("false", Node::Boolean(false)),
            Some(b'n') => self.word("null", Node::Null),
            _ => self.wrong(),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Node, BadBody> {
        self.enter(depth)?;
        let mut members: Vec<(Box<str>, Node)> = Vec::new();
        let mut seen = Seen::default();
        if self.next_is(b'}') {
            return Ok(Node::Object(members));
        }
        loop {
            self.skip_space();
            let start = self.at;
            if self.peek() != Some(b'"') {
                return self.wrong();
            }
            let key = self.string()?;
            if !seen.is_new(&members, &key) {
                return Err(BadBody::DuplicateKey(start));
            }
            self.expect(b':')?;
            let value = self.value(depth)?;
            members.push((key, value));
            if self.next_is(b'}') {
                return Ok(Node::Object(members));
            }
            self.expect(b',')?;
        }
    }

    fn array(&mut self, depth: usize) -> Result<Node, BadBody> {
        self.enter(depth)?;
        let mut items = Vec::new();
        if self.next_is(b']') {
            return Ok(Node::Array(items));
        }
        loop {
            items.push(self.value(depth)?);
            if self.next_is(b']') {
                return Ok(Node::Array(items));
            }
            self.expect(b',')?;
        }
    }

    /// RFC 8259 section 6, to the letter: no leading zero, no bare point, no plus sign.
    fn number(&mut self) -> Result<Node, BadBody> {
        let start = self.at;
        self.take(b"-");
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.take(b".") {
            self.digits()?;
        }
        if self.take(b"eE") {
            self.take(b"+-");
            self.digits()?;
        }
        Ok(Node::Number(self.text[start..self.at].into()))
    }

    fn digits(&mut self) -> Result<(), BadBody> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { self.wrong() } else { Ok(()) }
    }

    /// A string at its opening quote.
    fn string(&mut self) -> Result<Box<str>, BadBody> {
        self.at += 1;
        let mut text = String::new();
        loop {
            let start = self.at;
            while self.peek().is_some_and(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
                self.at += 1;
            }
            text.push_str(&self.text[start..self.at]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text.into());
                }
                Some(b'\\') => text.push(self.escape()?),
                _ => return self.wrong(),
            }
        }
    }

    /// An escape at its backslash.
    fn escape(&mut self) -> Result<char, BadBody> {
        let start = self.at;
        self.at += 1;
        let c = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(start),
            _ => return self.wrong(),
        };
        self.at += 1;
        Ok(c)
    }

    /// `\uXXXX` or a surrogate pair of two, at the first `u`. A surrogate alone is not a character.
    fn unicode_escape(&mut self, start: usize) -> Result<char, BadBody> {
        let first = self.unit()?;
        if self.text.as_bytes()[self.at..].starts_with(b"\\u") && (0xd800..0xdc00).contains(&first) {
            self.at += 1;
            let second = self.unit()?;
            let pair = char::decode_utf16([first, second]).next();
            return pair.and_then(Result::ok).ok_or(BadBody::Syntax(start));
        }
        char::from_u32(u32::from(first)).ok_or(BadBody::Syntax(start))
    }

    /// `uXXXX` at its `u`.
    fn unit(&mut self) -> Result<u16, BadBody> {
        let Some(digits) = self.text.as_bytes().get(self.at + 1..self.at + 5) else { return self.wrong() };
        let mut unit = 0;
        for digit in digits {
            let Some(digit) = char::from(*digit).to_digit(16) else { return self.wrong() };
            unit = unit << 4 | digit;
        }
        self.at += 5;
        u16::try_from(unit).map_err(|_| BadBody::Syntax(self.at))
    }

    fn word(&mut self, word: &str, node: Node) -> Result<Node, BadBody> {
        if !self.text[self.at..].starts_with(word) {
            return self.wrong();
        }
        self.at += word.len();
        Ok(node)
    }

    /// Steps over an opening bracket.
    fn enter(&mut self, depth: usize) -> Result<(), BadBody> {
        self.at += 1;
        if depth > Body::DEPTH_MAX { Err(BadBody::TooDeep) } else { Ok(()) }
    }

    fn next_is(&mut self, byte: u8) -> bool {
        self.skip_space();
        self.take(&[byte])
    }

    fn expect(&mut self, byte: u8) -> Result<(), BadBody> {
        if self.next_is(byte) { Ok(()) } else { self.wrong() }
    }

    fn take(&mut self, any_of: &[u8]) -> bool {
        let found = self.peek().is_some_and(|byte| any_of.contains(&byte));
        self.at += usize::from(found);
        found
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn wrong<T>(&self) -> Result<T, BadBody> {
        Err(BadBody::Syntax(self.at))
    }
}

/// The keys of one object so far. Small objects are searched, large ones get a keyed hash set.
#[derive(Default)]
struct Seen(HashSet<Box<str>>);

impl Seen {
    const SEARCHED_MAX: usize = 16;

    fn is_new(&mut self, members: &[(Box<str>, Node)], key: &str) -> bool {
        if members.len() < Self::SEARCHED_MAX {
            return members.iter().all(|(other, _)| **other != *key);
        }
        if self.0.is_empty() {
            self.0.extend(members.iter().map(|(key, _)| key.clone()));
        }
        self.0.insert(key.into())
    }
}
