//! Arguments: typed values that a route takes from a request. Never coerced: what is of another type is refused.

mod address;

use std::fmt;

use http::header::{CONNECTION, HeaderMap, HeaderName};
use serde::{Deserialize, Serialize};

use crate::catalog::form::Form;
use crate::catalog::json::{Node, Pointer, Unfit};
use crate::catalog::target::{Pair, Target, may_be_read_as};
use crate::small::Text;
use crate::token::{Decimal, List, Path, Value};

/// Where an argument comes from and what it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgumentRule {
    pub(super) name: Text,
    /// One; of a list, one or more.
    pub(super) sources: Vec<Source>,
    pub(super) kind: Kind,
    pub(super) list: Option<ListForm>,
    pub(super) required: bool,
    pub(super) loggable: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Query(Box<str>),
    Path(Box<str>),
    Header(HeaderName),
    Json(Pointer),
    Form(Box<str>),
}

/// The part of a request that an argument is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// A query parameter.
    Query,
    /// A capture of the route's path.
    Path,
    /// A header, which stands there once.
    Header,
    /// A value of the JSON body; of a JSON-RPC call's `params`; of a GraphQL field's arguments.
    Json,
    /// A field of the form that the body is.
    Form,
}

/// The type of an argument, or of each value of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A whole number within ±(2^53-1), written without `+`, leading zero, fraction or exponent.
    Integer,
    /// An exact decimal fraction: at most 15 digits, at most 4 of them behind the point.
    Decimal,
    /// Text.
    String,
    /// `true` or `false`.
    Boolean,
    /// A time as RFC 3339 writes it: [`Value::time`].
    Time,
    /// An e-mail address without name, comment or quotes; its domain is compared in lower case.
    Email,
    /// An absolute `https` or `http` URL without user name or fragment, in its canonical spelling.
    Url,
}

/// How several values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListForm {
    /// As an array of the JSON body.
    Array,
    /// As a repeated parameter of the query or field of the form.
    Repeated,
    /// In one text, separated by `,`.
    Commas,
}

/// A route matched, but what the request says is not what it declares. The caller's fault: 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadArgument {
    /// Required and absent.
    #[error("the argument `{0}` is missing")]
    Missing(Text),
    /// A parameter, a field or a header twice.
    #[error("the argument `{0}` is given twice")]
    Repeated(Text),
    /// Something that another parser could take for the argument.
    #[error(
        "the request holds something that could be taken for the argument `{0}`: a key that differs in case or by a bracket only, or the same key in another place"
    )]
    Ambiguous(Text),
    /// Of another type. Never coerced.
    #[error("the argument `{0}` must be {1}")]
    Type(Text, Expected),
    /// Over [`ArgumentRule::STRING_BYTES_MAX`] or [`List::ITEMS_MAX`].
    #[error("the argument `{0}` is longer than {bytes} bytes or {items} values", bytes = ArgumentRule::STRING_BYTES_MAX, items = List::ITEMS_MAX)]
    TooLong(Text),
    /// Of a closed route: nothing reads it.
    #[error("this route takes no {0} {1}")]
    Unknown(&'static str, Named),
    /// The service has no entry for a JSON-RPC method or a GraphQL field.
    #[error("the service offers no {0} {1}")]
    UnknownCall(&'static str, Named),
    /// A header of MCP says something else than the body, or is missing.
    #[error("{0}")]
    Mcp(&'static str),
    /// The segments are no resource: too many, too long, or empty.
    #[error(
        "the request names a resource of more than {} segments, or a segment that is empty, a dot or longer than {} bytes",
        Path::SEGMENTS_MAX,
        Path::SEGMENT_BYTES_MAX
    )]
    Resource,
    /// Together the operations name more than can be recorded.
    #[error("the request asks for too much at once: send fewer calls")]
    TooMuch,
}

/// What an argument must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected(pub(super) Kind, pub(super) Option<ListForm>);

/// A name that the caller sent, as it may be repeated: in full if it is short and plain, otherwise not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named(Option<Box<str>>);

impl Named {
    /// A token or a secret is longer than this, or the upstream's own name.
    const BYTES_MAX: usize = 48;

    pub(super) fn of(name: &str) -> Self {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.[]/*$@".contains(&byte);
        Self((name.len() <= Self::BYTES_MAX && name.bytes().all(plain)).then(|| name.into()))
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(name) => write!(f, "`{name}`"),
            None => f.write_str("of a name that it sent"),
        }
    }
}

impl BadArgument {
    /// The reason code, for the caller and the audit record.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing(_) => "argument_missing",
            Self::Repeated(_) => "argument_repeated",
            Self::Ambiguous(_) => "argument_ambiguous",
            Self::Type(..) => "argument_type",
            Self::TooLong(_) => "argument_too_long",
            Self::Unknown(..) => "unknown_parameter",
            Self::UnknownCall(..) => "unknown_call",
            Self::Mcp(_) => "mcp_header",
            Self::Resource => "resource_invalid",
            Self::TooMuch => "body_operations",
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.1 {
            None => "",
            Some(ListForm::Array) => "an array, each element ",
            Some(ListForm::Repeated) => "given once for each value, each ",
            Some(ListForm::Commas) => "a list separated by `,`, each value ",
        })?;
        f.write_str(match self.0 {
            Kind::Integer => "a whole number within ±9007199254740991, as in `42`",
            Kind::Decimal => "a decimal fraction of at most 15 digits, 4 of them behind the point, as in `12.50`",
            Kind::String => "a string",
            Kind::Boolean => "`true` or `false`",
            Kind::Time => "a time, as in `2026-12-01T09:00:00Z` or `2026-12-01T10:00:00+01:00`",
            Kind::Email => "an e-mail address without a name, as in `team@example.com`",
            Kind::Url => "an absolute URL in its canonical spelling, as in `https://example.com/a?b=c`",
        })
    }
}

/// The parts of a request that arguments are taken from.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a> {
    pub(super) target: &'a Target,
    pub(super) headers: &'a HeaderMap,
    pub(super) root: Option<&'a Node>,
    pub(super) form: Option<&'a Form>,
}

impl ArgumentRule {
    /// The longest text of an argument, or of a value of a list, in bytes.
    pub const STRING_BYTES_MAX: usize = 4096;

    /// The name that checks, policies and the audit log know it by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its type; of a list, that of each value.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether it is a list of values.
    pub const fn is_list(&self) -> bool {
        self.list.is_some()
    }

    /// Whether a request without it is refused.
    pub const fn is_required(&self) -> bool {
        self.required
    }

    /// The argument's value in a request; `capture` gives the decoded text of a capture.
    pub(super) fn read<'a>(
        &self,
        from: Sources<'_>,
        capture: impl Fn(&str) -> std::borrow::Cow<'a, str>,
    ) -> Result<Option<Value>, BadArgument> {
        let mut values = Vec::new();
        let mut present = false;
        for source in &self.sources {
            let before = values.len();
            present |= match source {
                Source::Path(name) => self.text(&capture(name), &mut values).map(|()| true)?,
                Source::Query(key) => self.pairs(key, from.target.pairs(), &mut values)?,
                Source::Form(key) => match from.form {
                    Some(form) => self.pairs(key, form.fields(), &mut values)?,
                    None => false,
                },
                Source::Header(name) => self.header(name, from.headers, &mut values)?,
                Source::Json(pointer) => match from.root {
                    Some(root) => self.json(pointer, root, &mut values)?,
                    None => false,
                },
            };
            debug_assert!(present || before == values.len());
        }
        match self.list {
            _ if !present && self.required => Err(BadArgument::Missing(self.name.clone())),
            _ if !present => Ok(None),
            // Expect safety of the pattern: a source of a single value pushes one or fails.
            None => Ok(values.pop()),
            Some(_) => match List::new(values) {
                Ok(list) => Ok(Some(Value::List(list))),
                Err(_) => Err(BadArgument::TooLong(self.name.clone())),
            },
        }
    }

    fn pairs<'a>(
        &self,
        key: &str,
        pairs: impl Iterator<Item = Pair<'a>>,
        values: &mut Vec<Value>,
    ) -> Result<bool, BadArgument> {
        let mut found = false;
        for pair in pairs {
            if pair.key == key {
                if found && self.list != Some(ListForm::Repeated) {
                    return Err(BadArgument::Repeated(self.name.clone()));
                }
                found = true;
                self.text(&pair.value.unwrap_or_default(), values)?;
            } else if may_be_read_as(&pair.key, key) {
                return Err(BadArgument::Ambiguous(self.name.clone()));
            }
        }
        Ok(found)
    }

    fn header(&self, name: &HeaderName, headers: &HeaderMap, values: &mut Vec<Value>) -> Result<bool, BadArgument> {
        let mut lines = headers.get_all(name).iter();
        let Some(value) = lines.next() else { return Ok(false) };
        if lines.next().is_some() {
            return Err(BadArgument::Repeated(self.name.clone()));
        }
        // What `Connection` names is not forwarded.
        let mut options =
            headers.get_all(CONNECTION).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
        if options.any(|option| option.trim_ascii().eq_ignore_ascii_case(name.as_str().as_bytes())) {
            return Err(BadArgument::Ambiguous(self.name.clone()));
        }
        self.text(value.to_str().map_err(|_| self.wrong())?, values)?;
        Ok(true)
    }

    fn json(&self, pointer: &Pointer, root: &Node, values: &mut Vec<Value>) -> Result<bool, BadArgument> {
        let found = pointer.find(root).map_err(|unfit| match unfit {
            Unfit::Clash => BadArgument::Ambiguous(self.name.clone()),
            Unfit::Shape => self.wrong(),
        })?;
        let Some(nodes) = found else { return Ok(false) };
        for node in nodes {
            match (node, self.kind) {
                (Node::String(text), Kind::String | Kind::Decimal | Kind::Time | Kind::Email | Kind::Url) => {
                    self.text(text, values)?;
                }
                (Node::String(text), _) if self.list == Some(ListForm::Commas) => self.text(text, values)?,
                (Node::Number(text), Kind::Integer | Kind::Decimal) if self.list != Some(ListForm::Commas) => {
                    self.one(text, values)?;
                }
                (Node::Boolean(value), Kind::Boolean) if self.list != Some(ListForm::Commas) => {
                    values.push(Value::Boolean(*value));
                }
                _ => return Err(self.wrong()),
            }
        }
        Ok(true)
    }

    /// A text that is one value, or where values are separated by commas, each of them.
    fn text(&self, text: &str, values: &mut Vec<Value>) -> Result<(), BadArgument> {
        if self.list != Some(ListForm::Commas) {
            return self.one(text, values);
        }
        for part in text.split(',') {
            let part = part.trim_matches(' ');
            if part.is_empty() {
                return Err(self.wrong());
            }
            self.one(part, values)?;
        }
        Ok(())
    }

    fn one(&self, text: &str, values: &mut Vec<Value>) -> Result<(), BadArgument> {
        if text.len() > Self::STRING_BYTES_MAX || values.len() == List::ITEMS_MAX {
            return Err(BadArgument::TooLong(self.name.clone()));
        }
        let value = match self.kind {
            Kind::Integer => integer(text).map(Value::Integer),
            Kind::Decimal => decimal(text).map(Value::Decimal),
            Kind::String => Some(Value::String(text.into())),
            Kind::Boolean => text.parse().ok().map(Value::Boolean),
            Kind::Time => Value::time(text).map(Value::Time),
            Kind::Email => address::email(text).map(|text| Value::String(text.into())),
            Kind::Url => address::url(text).map(|text| Value::String(text.into())),
        };
        values.push(value.ok_or_else(|| self.wrong())?);
        Ok(())
    }

    fn wrong(&self) -> BadArgument {
        BadArgument::Type(self.name.clone(), Expected(self.kind, self.list))
    }
}

/// An integer in its one spelling: `-0`, `+1`, `01`, `1.0` and `1e2` are none; nor is one that a float rounds.
fn integer(text: &str) -> Option<i64> {
    const EXACT: i64 = (1 << 53) - 1;
    let number: i64 = text.parse().ok()?;
    ((-EXACT..=EXACT).contains(&number) && number.to_string() == text).then_some(number)
}

/// A decimal fraction of as many digits as every float keeps.
fn decimal(text: &str) -> Option<Decimal> {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    text.parse().ok().filter(|_| digits <= 15)
}
