//! A service: where it is, which credential it takes, and what can be done there.

use std::sync::OnceLock;

use matchit::Router;
use serde::{Deserialize, Serialize};

use crate::catalog::origin::{Origin, Upstream};
use crate::catalog::pattern::is_between;
use crate::catalog::route::{NoRoute, Route, RouteMatch};
use crate::catalog::spec::ServiceSpec;
use crate::catalog::target::{Target, without_trailing_slash};
use crate::id::{CredentialName, ServiceName, is_deceptive};

/// An upstream that agents may call through an edge, checked.
///
/// Its TOML and JSON forms are the same (`spec/catalog.md`), and reading either checks everything. Immutable, and costly
/// enough to load that it is shared, not cloned, per request.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "ServiceSpec", into = "ServiceSpec")]
pub struct Service {
    pub(super) spec: ServiceSpec,
    pub(super) upstream: Upstream,
    pub(super) origins: Vec<Origin>,
    pub(super) routes: Vec<Route>,
    pub(super) tables: Vec<Table>,
    /// The texts around captures of its routes.
    pub(super) fixed: Vec<(Box<str>, Box<str>)>,
}

/// A method, and where its paths lead: an index into the routes.
pub(super) type Table = (Box<str>, Router<usize>);

/// Whose credential is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialPer {
    /// One for everybody.
    #[default]
    Shared,
    /// The one of the user that the writ was minted for.
    User,
}

/// A service or a set of services that cannot be loaded. Names the key to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// Not the form of a service: bad TOML, an unknown or missing key, a value of another type.
    #[error("{0}")]
    Malformed(String),
    /// A key's value cannot be.
    #[error("{place}: `{key}`: {problem}")]
    Invalid {
        /// The service, route and argument it stands in.
        place: String,
        /// The key.
        key: &'static str,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// Two routes match the same requests.
    #[error("{place}: `path`: a {method} request can match `{other}` as well; change one of the two paths")]
    AmbiguousRoute {
        /// The service and route.
        place: String,
        /// The method for which both are declared.
        method: Box<str>,
        /// The path of the route that was declared before.
        other: String,
    },
    /// Two services of one name.
    #[error("two services are called `{0}`: rename one")]
    DuplicateService(ServiceName),
}

impl CatalogError {
    /// The reason code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "service_malformed",
            Self::Invalid { .. } => "service_invalid",
            Self::AmbiguousRoute { .. } => "route_ambiguous",
            Self::DuplicateService(_) => "service_duplicate",
        }
    }
}

impl Service {
    /// The longest TOML file.
    pub const FILE_BYTES_MAX: usize = 1024 * 1024;
    /// The most routes of a service.
    pub const ROUTES_MAX: usize = 4096;
    /// The most arguments of a route, or of one of its calls.
    pub const ARGUMENTS_MAX: usize = 32;
    /// The most calls or fields that a route has entries for.
    pub const CALLS_MAX: usize = 512;
    /// The most methods of a route.
    pub const METHODS_MAX: usize = 16;
    /// The most origins beside the upstream's.
    pub const ORIGINS_MAX: usize = 16;
    /// The longest body of a route that looks at it and says nothing else.
    pub const BODY_BYTES_DEFAULT: usize = 64 * 1024;
    /// The longest body that a route may ask for.
    pub const BODY_BYTES_MAX: usize = 1024 * 1024;

    /// Reads and checks a service's TOML file.
    pub fn from_toml(text: &str) -> Result<Self, CatalogError> {
        if text.len() > Self::FILE_BYTES_MAX {
            return Err(CatalogError::Malformed(format!("the file is longer than {} bytes", Self::FILE_BYTES_MAX)));
        }
        let spec: ServiceSpec = toml::from_str(text).map_err(|error| {
            let message: String = error.message().chars().map(|c| if is_deceptive(c) { ' ' } else { c }).collect();
            CatalogError::Malformed(match error.span().and_then(|span| text.get(..span.start)) {
                Some(before) => format!("line {}: {message}", before.matches('\n').count() + 1),
                None => message,
            })
        })?;
        Self::try_from(spec)
    }

    /// The service as a TOML file that [`from_toml`](Self::from_toml) reads.
    pub fn to_toml(&self) -> String {
        // Expect safety: the form holds text, numbers, booleans and lists of tables only.
        toml::to_string(&self.spec).expect("a service's form is TOML")
    }

    /// Its name.
    pub const fn name(&self) -> &ServiceName {
        &self.spec.name
    }

    /// Where requests are sent.
    pub const fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// Whether the upstream may stand at a private or loopback address.
    pub const fn allow_private(&self) -> bool {
        self.spec.allow_private
    }

    /// The credential to inject, if it needs one.
    pub const fn credential(&self) -> Option<&CredentialName> {
        self.spec.credential.as_ref()
    }

    /// Whose credential that is.
    pub const fn credential_per(&self) -> CredentialPer {
        self.spec.credential_per
    }

    /// The origins by which a client's request is recognised as one for this service: those of its file, or the upstream's.
    pub fn origins(&self) -> &[Origin] {
        if self.origins.is_empty() { std::slice::from_ref(self.upstream.origin()) } else { &self.origins }
    }

    /// Its routes, as declared.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The route for `method` at `target`, which is below the service. Allocates only to refuse.
    ///
    /// Segments are compared from the left; a literal one wins over a capture with fixed text, and that over a bare capture.
    pub fn route<'s, 't>(&'s self, method: &'t str, target: &'t Target) -> Result<RouteMatch<'s, 't>, NoRoute> {
        let path = without_trailing_slash(target.path());
        let table = self.tables.iter().find(|(own, _)| **own == *method);
        if let Some(found) = table.and_then(|(_, table)| table.at(path).ok()) {
            let route = &self.routes[*found.value];
            if self.missed_one(method, path, route) {
                return Err(NoRoute::Path);
            }
            return Ok(RouteMatch {
                service: self,
                route,
                target,
                method,
                captures: found.params,
                resource: OnceLock::new(),
            });
        }
        let allowed: Vec<Box<str>> =
            self.tables.iter().filter(|(_, table)| table.at(path).is_ok()).map(|(method, _)| method.clone()).collect();
        Err(if allowed.is_empty() { NoRoute::Path } else { NoRoute::Method { allowed } })
    }

    /// Whether a route says `path` more exactly than the one that was `found`. The table does not come back from fixed text
    /// that led nowhere, and then finds what catches all: better no route than another one than the rule says.
    fn missed_one(&self, method: &str, path: &str, found: &Route) -> bool {
        let fixed = |segment: &str| self.fixed.iter().any(|(before, after)| is_between(segment, before, after));
        if self.fixed.is_empty() || !path.split('/').any(fixed) {
            return false;
        }
        let answers = |own: &str| *own == *method || (method == "HEAD" && *own == *"GET");
        let routes = self.routes.iter().filter(|route| route.methods.iter().any(|own| answers(own)));
        routes.map(|route| &route.pattern).any(|other| other.is_closer(&found.pattern) && other.matches(path))
    }
}

impl PartialEq for Service {
    fn eq(&self, other: &Self) -> bool {
        self.spec == other.spec
    }
}

impl Eq for Service {}

impl From<Service> for ServiceSpec {
    fn from(service: Service) -> Self {
        service.spec
    }
}
