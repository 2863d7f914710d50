//! One thing a request does: what capabilities and checks are compared with.

use serde::{Deserialize, Serialize};

use crate::id::ServiceName;
use crate::token::capability::{Capability, Path};

/// One thing a request does. Made by the catalog from a request, compared with capabilities and checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// The service it is sent to.
    pub service: ServiceName,
    /// What it does.
    pub action: Path,
    /// To what.
    pub resource: Path,
    /// The HTTP method, upper case.
    pub method: Box<str>,
    /// Named values the route takes from the request, in the route's order; no name twice.
    pub arguments: Vec<Argument>,
}

/// A named value taken from a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Argument {
    /// The name the route gives it.
    pub name: Box<str>,
    /// Its value, typed as the route says. Never coerced.
    pub value: Value,
}

/// A typed value. Integers are exact; there are no floats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// A boolean.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// Text, compared byte by byte.
    String(Box<str>),
}

impl Operation {
    /// The narrowest capability that allows this operation: what a denial tells the caller to ask for.
    pub fn needed(&self) -> Capability {
        Capability { service: self.service.clone(), action: self.action.clone(), resource: self.resource.clone() }
    }
}

impl Capability {
    /// Whether this capability allows `operation`.
    pub fn allows(&self, operation: &Operation) -> bool {
        self.service == operation.service
            && self.action.covers(&operation.action)
            && self.resource.covers(&operation.resource)
    }
}
