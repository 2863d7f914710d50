//! The October 2021 grammar of executable documents, one function for each rule.
//!
//! Own code, because what is forwarded must be written from exactly what was read, and the libraries keep going after an
//! error; the tests hold it against one. Block strings and `\u{…}` are refused: not every server knows them alike.

use crate::catalog::body::BadBody;
use crate::catalog::graphql::Kind;
use crate::catalog::graphql::document::{Directive, Document, Field, Fragment, Operation, Selection, Value, Variable};

/// The deepest nesting of selections, lists and objects.
const DEPTH_MAX: usize = 32;
/// The most tokens.
const TOKENS_MAX: usize = 10_000;

const WRONG: BadBody = BadBody::Graphql("its document does not follow the grammar of executable documents");
const DUPLICATE: BadBody = BadBody::Graphql("an argument, a member of an object or a variable stands there twice");

impl Document {
    /// Parses a whole document.
    pub(super) fn parse(text: &str) -> Result<Self, BadBody> {
        let mut parser = Parser { tokens: tokens(text)?, at: 0 };
        let mut document = Self::default();
        while parser.at < parser.tokens.len() {
            match parser.tokens[parser.at] {
                Token::Punct('{') => document.operations.push(Operation {
                    kind: Kind::Query,
                    name: None,
                    variables: Vec::new(),
                    directives: Vec::new(),
                    selection: parser.selection(0)?,
                }),
                Token::Name("fragment") => {
                    parser.at += 1;
                    document.fragments.push(parser.fragment()?);
                }
                _ => document.operations.push(parser.operation()?),
            }
        }
        Ok(document)
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token<'a> {
    /// One of `! $ & ( ) : = @ [ ] { | }`; `.` stands for `...`.
    Punct(char),
    Name(&'a str),
    Number(&'a str),
    String(Box<str>),
}

fn tokens(text: &str) -> Result<Vec<Token<'_>>, BadBody> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let (token, length) = match c {
            ' ' | '\t' | '\n' | '\r' | ',' => (None, 1),
            '#' => (None, comment(rest)?),
            '!' | '$' | '&' | '(' | ')' | ':' | '=' | '@' | '[' | ']' | '{' | '|' | '}' => (Some(Token::Punct(c)), 1),
            '.' if rest.starts_with("...") => (Some(Token::Punct('.')), 3),
            '_' | 'a'..='z' | 'A'..='Z' => {
                let end = rest.find(|c: char| !is_name(c)).unwrap_or(rest.len());
                (Some(Token::Name(&rest[..end])), end)
            }
            '-' | '0'..='9' => {
                let end = number(rest)?;
                (Some(Token::Number(&rest[..end])), end)
            }
            '"' => {
                let (text, end) = string(rest)?;
                (Some(Token::String(text)), end)
            }
            _ => return Err(WRONG),
        };
        if tokens.len() == TOKENS_MAX {
            return Err(BadBody::Graphql("its document has more than 10000 tokens"));
        }
        tokens.extend(token);
        rest = &rest[length..];
    }
    Ok(tokens)
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn comment(rest: &str) -> Result<usize, BadBody> {
    let end = rest.find(['\n', '\r']).unwrap_or(rest.len());
    let plain = rest[..end].chars().all(|c| c == '\t' || !c.is_control());
    if plain { Ok(end) } else { Err(WRONG) }
}

/// The length of a number: as in JSON, and no name or point behind it.
fn number(rest: &str) -> Result<usize, BadBody> {
    let bytes = rest.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut end = usize::from(bytes[0] == b'-');
    let whole = digits(end);
    if whole == 0 || (whole > 1 && bytes[end] == b'0') {
        return Err(WRONG);
    }
    end += whole;
    if bytes.get(end) == Some(&b'.') {
        let part = digits(end + 1);
        end += 1 + part;
        if part == 0 {
            return Err(WRONG);
        }
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        end += 1;
        end += usize::from(matches!(bytes.get(end), Some(b'+' | b'-')));
        let exponent = if end < bytes.len() { digits(end) } else { 0 };
        end += exponent;
        if exponent == 0 {
            return Err(WRONG);
        }
    }
    let ends = rest[end..].chars().next().is_none_or(|c| !is_name(c) && c != '.');
    if ends { Ok(end) } else { Err(WRONG) }
}

/// The text of a quoted string, and its length with the quotes.
fn string(rest: &str) -> Result<(Box<str>, usize), BadBody> {
    if rest.starts_with("\"\"\"") {
        return Err(BadBody::Graphql("it has a block string: send the text as a variable"));
    }
    let mut units = Vec::new();
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    // An escaped half of a pair must be followed by the other half.
    let flush = |units: &mut Vec<u16>, text: &mut String| {
        text.push_str(&String::from_utf16(units).map_err(|_| WRONG)?);
        units.clear();
        Ok::<(), BadBody>(())
    };
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            match chars.next().ok_or(WRONG)?.1 {
                'u' => {
                    let digits = rest.get(at + 2..at + 6).filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()));
                    units.push(u16::from_str_radix(digits.ok_or(WRONG)?, 16).map_err(|_| WRONG)?);
                    chars.nth(3);
                    continue;
                }
                plain @ ('"' | '\\' | '/') => units.push(plain as u16),
                'b' => units.push(8),
                'f' => units.push(12),
                'n' => units.push(10),
                'r' => units.push(13),
                't' => units.push(9),
                _ => return Err(WRONG),
            }
            continue;
        }
        flush(&mut units, &mut text)?;
        match c {
            '"' => return Ok((text.into(), at + 1)),
            c if c < ' ' && c != '\t' => return Err(WRONG),
            c => text.push(c),
        }
    }
    Err(WRONG)
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
}

impl<'a> Parser<'a> {
    fn operation(&mut self) -> Result<Operation, BadBody> {
        let kind = match self.name()? {
            "query" => Kind::Query,
            "mutation" => Kind::Mutation,
            "subscription" => return Err(BadBody::Graphql("subscriptions are not forwarded")),
            _ => return Err(WRONG),
        };
        let name = match self.peek() {
            Some(Token::Name(name)) => Some((*name).into()),
            _ => None,
        };
        self.at += usize::from(name.is_some());
        let mut variables: Vec<Variable> = Vec::new();
        if self.take('(') {
            while !self.take(')') {
                let variable = self.variable()?;
                if variables.iter().any(|other| other.name == variable.name) {
                    return Err(DUPLICATE);
                }
                variables.push(variable);
            }
            if variables.is_empty() {
                return Err(WRONG);
            }
        }
        Ok(Operation { kind, name, variables, directives: self.directives(true)?, selection: self.selection(0)? })
    }

    fn variable(&mut self) -> Result<Variable, BadBody> {
        self.expect('$')?;
        let name = self.name()?.into();
        self.expect(':')?;
        let mut kind = String::new();
        self.kind(0, &mut kind)?;
        let default = if self.take('=') { Some(self.value(0, true)?) } else { None };
        Ok(Variable { name, kind: kind.into(), default, directives: self.directives(true)? })
    }

    fn kind(&mut self, depth: usize, out: &mut String) -> Result<(), BadBody> {
        entered(depth)?;
        if self.take('[') {
            out.push('[');
            self.kind(depth + 1, out)?;
            self.expect(']')?;
            out.push(']');
        } else {
            out.push_str(self.name()?);
        }
        if self.take('!') {
            out.push('!');
        }
        Ok(())
    }

    fn fragment(&mut self) -> Result<Fragment, BadBody> {
        let name = self.name()?;
        if name == "on" || self.name()? != "on" {
            return Err(WRONG);
        }
        let on = self.name()?.into();
        Ok(Fragment { name: name.into(), on, directives: self.directives(false)?, selection: self.selection(0)? })
    }

    fn selection(&mut self, depth: usize) -> Result<Vec<Selection>, BadBody> {
        entered(depth)?;
        self.expect('{')?;
        let mut selection = Vec::new();
        while !self.take('}') {
            selection.push(if self.take('.') { self.spread(depth)? } else { Selection::Field(self.field(depth)?) });
        }
        if selection.is_empty() { Err(WRONG) } else { Ok(selection) }
    }

    /// Behind `...`.
    fn spread(&mut self, depth: usize) -> Result<Selection, BadBody> {
        let on = match self.peek() {
            Some(Token::Name("on")) => {
                self.at += 1;
                Some(self.name()?.into())
            }
            Some(Token::Name(name)) => {
                let name = (*name).into();
                self.at += 1;
                return Ok(Selection::Spread(name, self.directives(false)?));
            }
            _ => None,
        };
        Ok(Selection::Inline(on, self.directives(false)?, self.selection(depth + 1)?))
    }

    fn field(&mut self, depth: usize) -> Result<Field, BadBody> {
        let first: Box<str> = self.name()?.into();
        let (alias, name) = if self.take(':') { (Some(first), self.name()?.into()) } else { (None, first) };
        let arguments = self.arguments(false)?;
        let directives = self.directives(false)?;
        let selection = if self.peek() == Some(&Token::Punct('{')) { self.selection(depth + 1)? } else { Vec::new() };
        Ok(Field { alias, name, arguments, directives, selection })
    }

    fn arguments(&mut self, constant: bool) -> Result<Vec<(Box<str>, Value)>, BadBody> {
        if !self.take('(') {
            return Ok(Vec::new());
        }
        let arguments = self.members(')', 0, constant)?;
        if arguments.is_empty() { Err(WRONG) } else { Ok(arguments) }
    }

    /// `name: value` up to the closing bracket.
    fn members(&mut self, end: char, depth: usize, constant: bool) -> Result<Vec<(Box<str>, Value)>, BadBody> {
        let mut members: Vec<(Box<str>, Value)> = Vec::new();
        while !self.take(end) {
            let name = self.name()?;
            if members.iter().any(|(other, _)| **other == *name) {
                return Err(DUPLICATE);
            }
            self.expect(':')?;
            members.push((name.into(), self.value(depth, constant)?));
        }
        Ok(members)
    }

    fn directives(&mut self, constant: bool) -> Result<Vec<Directive>, BadBody> {
        let mut directives = Vec::new();
        while self.take('@') {
            directives.push(Directive { name: self.name()?.into(), arguments: self.arguments(constant)? });
        }
        Ok(directives)
    }

    fn value(&mut self, depth: usize, constant: bool) -> Result<Value, BadBody> {
        entered(depth)?;
        let token = self.tokens.get(self.at).cloned().ok_or(WRONG)?;
        self.at += 1;
        Ok(match token {
            Token::Punct('$') if !constant => Value::Variable(self.name()?.into()),
            Token::Punct('[') => {
                let mut items = Vec::new();
                while !self.take(']') {
                    items.push(self.value(depth + 1, constant)?);
                }
                Value::List(items)
            }
            Token::Punct('{') => Value::Object(self.members('}', depth + 1, constant)?),
            Token::Number(text) => Value::Number(text.into()),
            Token::String(text) => Value::String(text),
            Token::Name("true") => Value::Boolean(true),
            Token::Name("false") => Value::Boolean(false),
            Token::Name("null") => Value::Null,
            Token::Name(name) => Value::Enum(name.into()),
            Token::Punct(_) => return Err(WRONG),
        })
    }

    fn peek(&self) -> Option<&Token<'a>> {
        self.tokens.get(self.at)
    }

    fn take(&mut self, punct: char) -> bool {
        let found = self.peek() == Some(&Token::Punct(punct));
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, punct: char) -> Result<(), BadBody> {
        if self.take(punct) { Ok(()) } else { Err(WRONG) }
    }

    fn name(&mut self) -> Result<&'a str, BadBody> {
        let Some(Token::Name(name)) = self.tokens.get(self.at) else { return Err(WRONG) };
        self.at += 1;
        Ok(name)
    }
}

fn entered(depth: usize) -> Result<(), BadBody> {
    if depth < DEPTH_MAX { Ok(()) } else { Err(BadBody::TooDeep) }
}
