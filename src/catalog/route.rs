//! Routes: what a request to a service does, and with which arguments.

use std::borrow::Cow;
use std::fmt;
use std::sync::OnceLock;

use http::HeaderMap;
use matchit::Params;
use serde::{Deserialize, Serialize};

use crate::catalog::argument::{ArgumentRule, BadArgument, Named, Sources};
use crate::catalog::body::{BodyRule, Content};
use crate::catalog::graphql;
use crate::catalog::json::Node;
use crate::catalog::pattern::{Captured, Pattern, Template};
use crate::catalog::service::Service;
use crate::catalog::target::{Target, decoded};
use crate::catalog::{mcp, shown, unknown};
use crate::small::Few;
use crate::token::{Argument, Capability, Operation, Operations, Path, Value};

/// One row of a service: requests of these methods to this path do this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub(super) methods: Vec<Box<str>>,
    pub(super) pattern: Pattern,
    pub(super) body: Option<BodyRule>,
    pub(super) unknown_query: Unknown,
    pub(super) unknown_body: Unknown,
    pub(super) calls: Vec<Call>,
}

/// What a request does, or one call or field of its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub(super) selector: Selector,
    pub(super) action: Path,
    pub(super) template: Template,
    pub(super) arguments: Vec<ArgumentRule>,
}

/// Which requests, or parts of a request, a [`Call`] is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// Every request of the route.
    Request,
    /// Calls of this JSON-RPC method; without a name, of every method that has no entry of its own.
    Method(Option<Box<str>>),
    /// This field at the top of a GraphQL operation; without a name, every field that has no entry of its own.
    Field(graphql::Kind, Option<Box<str>>),
}

/// What becomes of a parameter, field or member that no argument reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unknown {
    /// It passes.
    #[default]
    Allow,
    /// It passes, and the audit record names it.
    Note,
    /// The request is refused.
    Deny,
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

/// A route and what its path captured. Borrows from the service and the target; costs no allocation up to three captures.
#[derive(Debug)]
pub struct RouteMatch<'s, 't> {
    pub(super) service: &'s Service,
    pub(super) route: &'s Route,
    pub(super) target: &'t Target,
    pub(super) method: &'t str,
    pub(super) captures: Params<'s, 't>,
    /// The resource of its only call, once it was made of nothing but the path.
    pub(super) resource: OnceLock<Path>,
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// All that it does.
    pub operations: Operations,
    /// What the audit record shows of each operation, in their order.
    pub shown: Few<Shown>,
}

/// What the audit record shows of one operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// The arguments that the route marks as loggable; long ones are cut.
    pub arguments: Vec<Argument>,
    /// What is cut, and what was not looked at, in sentences.
    pub notes: Vec<Box<str>>,
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

impl Route {
    /// The methods it is for; `GET` answers `HEAD` too, unless another route of this path does.
    pub fn methods(&self) -> &[Box<str>] {
        &self.methods
    }

    /// The paths it is for.
    pub const fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// What a request of this route can do: one thing, or where its body holds calls or fields, one for each of them.
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }
}

impl Call {
    /// What it is for.
    pub const fn selector(&self) -> &Selector {
        &self.selector
    }

    /// What it does.
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

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request => f.write_str("request"),
            Self::Method(Some(name)) => write!(f, "call `{name}`"),
            Self::Method(None) => f.write_str("any other call"),
            Self::Field(kind, Some(name)) => write!(f, "{kind} field `{name}`"),
            Self::Field(kind, None) => write!(f, "any other {kind} field"),
        }
    }
}

/// One thing that the body asks for, and the JSON that its arguments are taken from.
struct Item<'a> {
    call: &'a Call,
    root: Option<&'a Node>,
}

impl<'s> RouteMatch<'s, '_> {
    /// The longest text that [`Asked`] may name as actions and resources, in bytes: all of it is recorded.
    const NAMED_BYTES_MAX: usize = 8 * 1024;

    /// The route.
    pub const fn route(&self) -> &'s Route {
        self.route
    }

    /// How the body must be read before [`ask`](Self::ask) can be called; `None` if it is not looked at.
    ///
    /// A body that is not empty must be [`declared`](BodyRule::declared), [`parsed`](BodyRule::parse), handed over, and
    /// forwarded as [`Content::to_bytes`] gives it. An empty body is no body.
    pub const fn body_rule(&self) -> Option<BodyRule> {
        self.route.body
    }

    /// Everything that the request does.
    pub fn ask(&self, headers: &HeaderMap, content: Option<&Content>) -> Result<Asked, BadArgument> {
        let mut operations = Few::new();
        let mut shown = Few::new();
        let mut record = shown::Record::default();
        let form = match content {
            Some(Content::Form(form)) => Some(form),
            _ => None,
        };
        if let Some(Content::Calls(calls)) = content {
            mcp::agree(headers, calls)?;
        }
        let mut named = 0;
        for item in self.items(content)? {
            let from = Sources { target: self.target, headers, root: item.root, form };
            let arguments = self.arguments(item.call, from)?;
            let notes = unknown::notes(self.route, item.call, from)?;
            let resource = self.resource(item.call, &arguments)?;
            named += item.call.action.as_str().len() + resource.as_str().len();
            let (service, action) = (self.service.name().clone(), item.call.action.clone());
            shown.push(record.of(item.call, &arguments, notes));
            operations.push(Operation { service, action, resource, method: self.method.into(), arguments });
        }
        if named > Self::NAMED_BYTES_MAX {
            return Err(BadArgument::TooMuch);
        }
        let operations = Operations::try_from(operations).map_err(|_| BadArgument::TooMuch)?;
        Ok(Asked { operations, shown })
    }

    /// The narrowest capability that can allow the request, where that is known before its body is read.
    pub fn needed(&self) -> Result<Option<Capability>, BadArgument> {
        let [call] = &*self.route.calls else { return Ok(None) };
        let captured = call.template.names().all(|name| self.captures.get(name).is_some());
        if call.selector != Selector::Request || !captured {
            return Ok(None);
        }
        // No argument is asked for what the path captures.
        let resource = self.resource(call, &[])?;
        let resource = self.resource.get_or_init(|| resource).clone();
        Ok(Some(Capability { service: self.service.name().clone(), action: call.action.clone(), resource }))
    }

    fn items<'a>(&'a self, content: Option<&'a Content>) -> Result<Few<Item<'a>>, BadArgument> {
        let calls = &self.route.calls;
        let entry = |named: Selector, other: Selector, what, name: &str| {
            let found = calls.iter().find(|call| call.selector == named);
            let found = found.or_else(|| calls.iter().find(|call| call.selector == other));
            found.ok_or_else(|| BadArgument::UnknownCall(what, Named::of(name)))
        };
        match content {
            Some(Content::Calls(requests)) => requests
                .iter()
                .map(|request| {
                    let named = Selector::Method(Some(request.method.into()));
                    let call = entry(named, Selector::Method(None), "method", request.method)?;
                    Ok(Item { call, root: request.params })
                })
                .collect(),
            Some(Content::Fields(request)) => request
                .fields()
                .iter()
                .map(|field| {
                    let named = Selector::Field(field.kind, Some(field.name.clone()));
                    let what = match field.kind {
                        graphql::Kind::Query => "query field",
                        graphql::Kind::Mutation => "mutation field",
                    };
                    let call = entry(named, Selector::Field(field.kind, None), what, &field.name)?;
                    Ok(Item { call, root: Some(&field.arguments) })
                })
                .collect(),
            // A body of calls that is empty asks for nothing, which `Operations` refuses.
            _ => {
                let root = match content {
                    Some(Content::Json(body)) => Some(body.root()),
                    _ => None,
                };
                Ok(calls
                    .iter()
                    .filter(|call| call.selector == Selector::Request)
                    .map(|call| Item { call, root })
                    .collect())
            }
        }
    }

    fn arguments(&self, call: &Call, from: Sources<'_>) -> Result<Vec<Argument>, BadArgument> {
        unknown::elsewhere(call, from)?;
        let mut arguments = Vec::with_capacity(call.arguments.len());
        for rule in &call.arguments {
            if let Some(value) = rule.read(from, |name| self.capture(name))? {
                arguments.push(Argument { name: rule.name.clone(), value });
            }
        }
        Ok(arguments)
    }

    fn resource(&self, call: &Call, arguments: &[Argument]) -> Result<Path, BadArgument> {
        if let Some(made) = self.resource.get() {
            return Ok(made.clone());
        }
        let text = |name: &str| match arguments.iter().find(|argument| *argument.name == *name)?.value {
            Value::String(ref text) => Some(Captured::Plain(text)),
            _ => None,
        };
        let capture = |name: &str| match self.captures.get(name) {
            Some(spelled) => Some(Captured::Spelled(spelled)),
            None => text(name),
        };
        call.template.resource(capture).map_err(|_| BadArgument::Resource)
    }

    /// The decoded text of a capture. Every name was found in the pattern when the service was loaded.
    fn capture(&self, name: &str) -> Cow<'_, str> {
        decoded(self.captures.get(name).unwrap_or_default())
    }
}
