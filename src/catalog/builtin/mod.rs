//! Services that writ brings along: the APIs that agents use most, each a reviewed file beside this one.
//!
//! They hold what agents do daily, not everything: what has no route is denied, and `writ service import` makes a whole one.

#[cfg(test)]
mod tests;

use crate::catalog::load;
use crate::catalog::origin::Upstream;
use crate::catalog::service::{CatalogError, Service};
use crate::catalog::spec::ServiceSpec;

/// A service that writ brings along.
#[derive(Clone, Copy, Debug)]
pub struct Builtin {
    name: &'static str,
    text: &'static str,
    place: Place,
}

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// For everybody at one address, which may be changed.
    Public,
    /// For everybody at another, which must be named.
    Own,
}

macro_rules! builtin {
    ($name:literal, $place:ident) => {
        Builtin { name: $name, text: include_str!(concat!($name, ".toml")), place: Place::$place }
    };
}

/// All of them, by name.
pub const BUILTIN: [Builtin; 16] = [
    builtin!("anthropic", Public),
    builtin!("caldav", Own),
    builtin!("drive", Public),
    builtin!("git", Public),
    builtin!("github", Public),
    builtin!("gitlab", Public),
    builtin!("gmail", Public),
    builtin!("google-calendar", Public),
    builtin!("jira", Own),
    builtin!("linear", Public),
    builtin!("notion", Public),
    builtin!("openai", Public),
    builtin!("salesforce", Own),
    builtin!("sentry", Public),
    builtin!("slack", Public),
    builtin!("stripe", Public),
];

impl Builtin {
    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        BUILTIN.into_iter().find(|builtin| builtin.name == name)
    }

    /// Its name, which is the service's.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Its file: begins with what it is for and which credential it takes.
    pub const fn text(&self) -> &'static str {
        self.text
    }

    /// The service, at `upstream` instead of the file's; one that stands at everybody's own address needs it.
    pub fn service(&self, upstream: Option<&str>) -> Result<Service, CatalogError> {
        let Some(upstream) = upstream else {
            return match self.place {
                Place::Public => Service::from_toml(self.text),
                Place::Own => {
                    Err(self.upstream("it stands at an address of your own: name it with `--upstream https://…`"))
                }
            };
        };
        let checked: Upstream = upstream.trim_end_matches('/').parse().map_err(|error| self.upstream(error))?;
        let spec = ServiceSpec::from(Service::from_toml(self.text)?);
        let allow_private = checked.origin().host().is_loopback();
        Service::try_from(ServiceSpec { upstream: checked.to_string().into(), allow_private, ..spec })
    }

    fn upstream(&self, problem: impl ToString) -> CatalogError {
        load::invalid(&format!("service `{}`", self.name), "upstream", problem)
    }
}
