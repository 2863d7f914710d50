//! Routes: what a request to a service does, and with which arguments.

use std::borrow::Cow;
use std::fmt;

use matchit::Params;
use serde::{Deserialize, Serialize};

use crate::catalog::json::{Body, Node, Pointer};
use crate::catalog::pattern::{Pattern, Template};
use crate::catalog::service::Service;
use crate::catalog::target::{Target, decoded, may_be_read_as};
use crate::token::{Argument, Capability, Operation, Path, Value};

/// One row of a service: requests of these methods to this path do this action on this resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub(super) methods: Vec<Box<str>>,
    pub(super) pattern: Pattern,
    pub(super) action: Path,
    pub(super) template: Template,
    pub(super) body: Option<JsonBodyRule>,
    pub(super) arguments: Vec<ArgumentRule>,
}

/// The request's body must be JSON, because arguments are taken from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonBodyRule {
    /// The longest body in bytes.
    pub bytes_max: usize,
}

/// Where an argument comes from and what it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgumentRule {
    pub(super) name: Box<str>,
    pub(super) source: Source,
    pub(super) kind: Kind,
    pub(super) required: bool,
    pub(super) loggable: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Query(Box<str>),
    Path(Box<str>),
    Json(Pointer),
}

/// The part of a request that an argument is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// A query parameter.
    Query,
    /// A capture of the route's path.
    Path,
    /// A value of the JSON body.
    Json,
}

/// The type of an argument. Nothing is coerced to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A whole number from -2^63 to 2^63-1, written without sign, leading zero, fraction or exponent (a leading `-` before 1 to 9 excepted).
    Integer,
    /// Text.
    String,
    /// `true` or `false`.
    Boolean,
}

/// The catalog knows no route for a request. Denied by default.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoute {
    /// No service of that name.
    #[error("no service has this name: the first path segment names the service")]
    Service,
    /// No route's path matches.
    #[error("the service has no route for this path")]
    Path,
    /// Routes match the path, none of them this method.
    #[error("the service has no route for this method on this path; it has {}", allowed.join(", "))]
    Method {
        /// The methods that have a route.
        allowed: Vec<Box<str>>,
    },
}

/// A route matched, but the request's arguments or resource are not what it declares. The caller's fault: 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadArgument {
    /// Required and absent.
    #[error("the argument `{0}` is missing")]
    Missing(Box<str>),
    /// A query parameter twice.
    #[error("the argument `{0}` is given twice")]
    Repeated(Box<str>),
    /// Something that another parser could take for the argument.
    #[error("the request holds a key that differs from that of the argument `{0}` in case or by a bracket only")]
    Ambiguous(Box<str>),
    /// Of another type. Never coerced.
    #[error("the argument `{0}` must be {1}")]
    Type(Box<str>, Kind),
    /// Over [`RouteMatch::STRING_BYTES_MAX`].
    #[error("the argument `{0}` is longer than {max} bytes", max = RouteMatch::STRING_BYTES_MAX)]
    TooLong(Box<str>),
    /// The path's segments are no resource: too many or too long.
    #[error(
        "the path names a resource of more than {} segments or a segment of more than {} bytes",
        Path::SEGMENTS_MAX,
        Path::SEGMENT_BYTES_MAX
    )]
    Resource,
}

/// A route and what its path captured. Borrows from the service and the target; costs no allocation up to three captures.
#[derive(Debug)]
pub struct RouteMatch<'s, 't> {
    pub(super) service: &'s Service,
    pub(super) route: &'s Route,
    pub(super) target: &'t Target,
    pub(super) method: &'t str,
    pub(super) captures: Params<'s, 't>,
}

impl NoRoute {
    /// The reason code, for the caller and the audit record.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Service => "unknown_service",
            Self::Path => "no_route",
            Self::Method { .. } => "method_not_allowed",
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
            Self::Resource => "resource_too_long",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Integer => "a whole number, as in `42`",
            Self::String => "a string",
            Self::Boolean => "`true` or `false`",
        })
    }
}

impl Route {
    /// The methods it is for; `GET` answers `HEAD` too, unless another route of this path does.
    pub fn methods(&self) -> &[Box<str>] {
        &self.methods
    }

    /// The paths it is for.
    pub const fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// What a request does.
    pub const fn action(&self) -> &Path {
        &self.action
    }

    /// To what.
    pub const fn template(&self) -> &Template {
        &self.template
    }

    /// The arguments it takes from a request.
    pub fn arguments(&self) -> &[ArgumentRule] {
        &self.arguments
    }
}

impl ArgumentRule {
    /// The name that checks and the audit log know it by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its type.
    pub const fn kind(&self) -> Kind {
        self.kind
    }
}

impl<'s> RouteMatch<'s, '_> {
    /// The longest text argument in bytes.
    pub const STRING_BYTES_MAX: usize = 4096;
    /// How much of a text argument is logged, in bytes.
    pub const LOGGED_BYTES_MAX: usize = 512;

    /// The route.
    pub const fn route(&self) -> &'s Route {
        self.route
    }

    /// Whether the body must be read as JSON before [`operation`](Self::operation) can be called.
    ///
    /// Then a body that is not empty must be [`declared`](crate::catalog::json::declared) as JSON, parsed, handed over, and
    /// forwarded as [`Body::to_bytes`] gives it. An empty body is no body.
    pub const fn body_rule(&self) -> Option<JsonBodyRule> {
        self.route.body
    }

    /// What the request does.
    pub fn operation(&self, body: Option<&Body>) -> Result<Operation, BadArgument> {
        let mut arguments = Vec::with_capacity(self.route.arguments.len());
        for rule in &self.route.arguments {
            let value = match &rule.source {
                Source::Query(key) => rule.in_query(key, self.target)?,
                Source::Path(name) => Some(rule.typed(decoded(self.capture(name)))?),
                Source::Json(pointer) => body.map(|body| rule.in_json(pointer, body)).transpose()?.flatten(),
            };
            match value {
                Some(Value::String(text)) if text.len() > Self::STRING_BYTES_MAX => {
                    return Err(BadArgument::TooLong(rule.name.clone()));
                }
                Some(value) => arguments.push(Argument { name: rule.name.clone(), value }),
                None if rule.required => return Err(BadArgument::Missing(rule.name.clone())),
                None => {}
            }
        }
        let Capability { service, action, resource } = self.needed()?;
        Ok(Operation { service, action, resource, method: self.method.into(), arguments })
    }

    /// The narrowest capability that can allow the request: known before its body is read.
    pub fn needed(&self) -> Result<Capability, BadArgument> {
        let resource = self.route.template.resource(|name| self.capture(name)).map_err(|_| BadArgument::Resource)?;
        Ok(Capability { service: self.service.name().clone(), action: self.route.action.clone(), resource })
    }

    /// The arguments of `operation` that the route marks as loggable; a long text is cut and ends with `…`.
    pub fn loggable(&self, operation: &Operation) -> Vec<Argument> {
        let is_loggable =
            |argument: &&Argument| self.route.arguments.iter().any(|rule| rule.loggable && rule.name == argument.name);
        operation.arguments.iter().filter(is_loggable).map(cut).collect()
    }

    fn capture(&self, name: &str) -> &str {
        // Every name was found in the pattern when the service was loaded.
        self.captures.get(name).unwrap_or_default()
    }
}

fn cut(argument: &Argument) -> Argument {
    match &argument.value {
        Value::String(text) if text.len() > RouteMatch::LOGGED_BYTES_MAX => {
            let end = text.floor_char_boundary(RouteMatch::LOGGED_BYTES_MAX);
            Argument { name: argument.name.clone(), value: Value::String(format!("{}…", &text[..end]).into()) }
        }
        _ => argument.clone(),
    }
}

impl ArgumentRule {
    fn in_query(&self, key: &str, target: &Target) -> Result<Option<Value>, BadArgument> {
        let mut found = None;
        for pair in target.pairs() {
            if pair.key == key {
                if found.replace(pair).is_some() {
                    return Err(BadArgument::Repeated(self.name.clone()));
                }
            } else if may_be_read_as(&pair.key, key) {
                return Err(BadArgument::Ambiguous(self.name.clone()));
            }
        }
        found.map(|pair| self.typed(pair.value.unwrap_or_default())).transpose()
    }

    fn in_json(&self, pointer: &Pointer, body: &Body) -> Result<Option<Value>, BadArgument> {
        let found = pointer.find(body.root()).map_err(|_| BadArgument::Ambiguous(self.name.clone()))?;
        let Some(node) = found else { return Ok(None) };
        let value = match (self.kind, node) {
            (Kind::Integer, Node::Number(text)) => integer(text).map(Value::Integer),
            (Kind::String, Node::String(text)) => Some(Value::String(text.clone())),
            (Kind::Boolean, Node::Boolean(value)) => Some(Value::Boolean(*value)),
            _ => None,
        };
        value.map(Some).ok_or_else(|| BadArgument::Type(self.name.clone(), self.kind))
    }

    fn typed(&self, text: Cow<'_, str>) -> Result<Value, BadArgument> {
        let value = match self.kind {
            Kind::Integer => integer(&text).map(Value::Integer),
            Kind::String => Some(Value::String(text.into())),
            Kind::Boolean => text.parse().ok().map(Value::Boolean),
        };
        value.ok_or_else(|| BadArgument::Type(self.name.clone(), self.kind))
    }
}

/// An integer in its one spelling: `-0`, `+1`, `01`, `1.0` and `1e2` are none.
fn integer(text: &str) -> Option<i64> {
    let number: i64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}
