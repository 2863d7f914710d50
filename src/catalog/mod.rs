//! Services: how an HTTP request becomes an action on a resource with arguments. `spec/catalog.md` is the contract. Pure.
//!
//! `Target -> RouteMatch -> Operations`. Whatever has no route is denied, and whatever two parsers could read differently
//! is refused before a route is looked for.

pub mod argument;
pub mod body;
pub mod builtin;
pub mod form;
pub mod graphql;
pub mod headers;
pub mod import;
pub mod json;
mod load;
mod mcp;
pub mod origin;
pub mod pattern;
pub mod route;
pub mod rpc;
pub mod service;
mod shown;
mod spec;
pub mod target;
#[cfg(test)]
mod tests;
mod unknown;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use argument::{ArgumentRule, BadArgument, Kind};
pub use body::{BadBody, BodyKind, BodyRule, Content};
pub use origin::{Host, Origin, Scheme, Upstream};
pub use route::{Asked, Call, NoRoute, Route, RouteMatch, Selector, Shown, Unknown};
pub use service::{CatalogError, CredentialPer, Service};
pub use target::{Ambiguous, Target};

use crate::id::{ServiceName, TenantName};

/// Every service of an installation. A name belongs to one service of one tenant.
#[derive(Debug, Default)]
pub struct Catalog(BTreeMap<ServiceName, Arc<Listed>>);

/// A service and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The only tenant whose writs are good for it.
    pub tenant: TenantName,
    /// The service.
    pub service: Service,
}

impl Catalog {
    /// A catalog of these services.
    pub fn new(services: impl IntoIterator<Item = Listed>) -> Result<Self, CatalogError> {
        let mut by_name = BTreeMap::new();
        for listed in services {
            let name = listed.service.name().clone();
            if by_name.insert(name.clone(), Arc::new(listed)).is_some() {
                return Err(CatalogError::DuplicateService(name));
            }
        }
        Ok(Self(by_name))
    }

    /// The service of this name.
    pub fn service(&self, name: &ServiceName) -> Result<&Arc<Listed>, NoRoute> {
        self.0.get(name).ok_or(NoRoute::Service)
    }

    /// Every service, by name.
    pub fn services(&self) -> impl Iterator<Item = &Listed> {
        self.0.values().map(Arc::as_ref)
    }

    /// The services that a request to `origin` could be for, by name. More than one if they share an upstream.
    pub fn at_origin<'a>(&'a self, origin: &'a Origin) -> impl Iterator<Item = &'a Listed> {
        self.services().filter(move |listed| listed.service.origins().contains(origin))
    }
}
