//! What a request does: what capabilities and checks are compared with.

use serde::{Deserialize, Serialize};

use crate::id::ServiceName;
use crate::small::{Few, Text};
use crate::token::capability::{Capability, Path};
use crate::token::value::Value;

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
    pub method: Text,
    /// Named values the route takes from the request, in the route's order; no name twice.
    pub arguments: Vec<Argument>,
}

/// A named value taken from a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Argument {
    /// The name the route gives it.
    pub name: Text,
    /// Its value, typed as the route says. Never coerced.
    pub value: Value,
}

/// Everything that one request does: one operation, or several in the order of its body, all at one service. All must be allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operations(Few<Operation>);

/// No operation, too many, or for several services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a request is 1 to {} operations at one service", Operations::COUNT_MAX)]
pub struct InvalidOperations;

impl Operation {
    /// The narrowest capability that allows this operation: what a denial tells the caller to ask for.
    pub fn needed(&self) -> Capability {
        Capability { service: self.service.clone(), action: self.action.clone(), resource: self.resource.clone() }
    }
}

impl Operations {
    /// The most operations of one request.
    pub const COUNT_MAX: usize = 32;

    /// The first; of most requests the only one.
    pub fn first(&self) -> &Operation {
        // Never empty: the constructors see to it.
        &self.0[0]
    }

    /// All of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Operation> {
        self.0.iter()
    }

    /// How many; at least one.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The service that all of them are for.
    pub fn service(&self) -> &ServiceName {
        &self.first().service
    }
}

impl<'a> IntoIterator for &'a Operations {
    type Item = &'a Operation;
    type IntoIter = std::slice::Iter<'a, Operation>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl From<Operation> for Operations {
    fn from(operation: Operation) -> Self {
        Self(Few::from_iter([operation]))
    }
}

impl TryFrom<Few<Operation>> for Operations {
    type Error = InvalidOperations;

    fn try_from(operations: Few<Operation>) -> Result<Self, Self::Error> {
        let one_service = operations.windows(2).all(|pair| pair[0].service == pair[1].service);
        if !(1..=Self::COUNT_MAX).contains(&operations.len()) || !one_service {
            return Err(InvalidOperations);
        }
        Ok(Self(operations))
    }
}

impl TryFrom<Vec<Operation>> for Operations {
    type Error = InvalidOperations;

    fn try_from(operations: Vec<Operation>) -> Result<Self, Self::Error> {
        Few::from(operations).try_into()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_at_least_one_operation_and_all_are_at_one_service() {
        let operation = |service: &str| Operation {
            service: service.parse().unwrap(),
            action: "read".parse().unwrap(),
            resource: Path::root(),
            method: "POST".into(),
            arguments: Vec::new(),
        };
        assert_eq!(Operations::try_from(vec![]), Err(InvalidOperations));
        assert_eq!(Operations::try_from(vec![operation("a"), operation("b")]), Err(InvalidOperations));
        assert_eq!(Operations::try_from(vec![operation("a"); 33]), Err(InvalidOperations));
        assert_eq!(Operations::try_from(vec![operation("a"); 32]).unwrap().count(), 32);
        assert_eq!(Operations::from(operation("a")).first(), &operation("a"));
    }
}
