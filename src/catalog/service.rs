//! A service: where it is, which credential it takes, and what can be done there.

use matchit::{InsertError, Router};
use serde::{Deserialize, Serialize};

use crate::catalog::json::Pointer;
use crate::catalog::origin::{Origin, Scheme, Upstream};
use crate::catalog::route::{ArgumentRule, JsonBodyRule, NoRoute, Place, Route, RouteMatch, Source};
use crate::catalog::spec::{ArgumentSpec, RouteSpec, ServiceSpec};
use crate::catalog::target::{Target, without_trailing_slash};
use crate::id::{CredentialName, ServiceName, shown};
use crate::token::Path;

/// An upstream that agents may call through an edge, checked.
///
/// Its TOML and JSON forms are the same (`spec/catalog.md`), and reading either checks everything. Immutable, and costly
/// enough to load that it is shared, not cloned, per request.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "ServiceSpec", into = "ServiceSpec")]
pub struct Service {
    spec: ServiceSpec,
    upstream: Upstream,
    origins: Vec<Origin>,
    routes: Vec<Route>,
    /// For each method, where its paths lead: an index into `routes`.
    tables: Vec<(Box<str>, Router<usize>)>,
}

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
    /// The most routes of a service.
    pub const ROUTES_MAX: usize = 1024;
    /// The most arguments of a route.
    pub const ARGUMENTS_MAX: usize = 16;
    /// The most methods of a route.
    pub const METHODS_MAX: usize = 16;
    /// The most origins beside the upstream's.
    pub const ORIGINS_MAX: usize = 16;
    /// The longest JSON body of a route that says nothing else.
    pub const BODY_BYTES_DEFAULT: usize = 64 * 1024;
    /// The longest JSON body that a route may ask for.
    pub const BODY_BYTES_MAX: usize = 1024 * 1024;

    /// Reads and checks a service's TOML file.
    pub fn from_toml(text: &str) -> Result<Self, CatalogError> {
        let spec: ServiceSpec = toml::from_str(text).map_err(|error| {
            let message = error.message().replace('\n', "; ");
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
    /// Segments are compared from the left, and a literal one wins over a capture.
    pub fn route<'s, 't>(&'s self, method: &'t str, target: &'t Target) -> Result<RouteMatch<'s, 't>, NoRoute> {
        let path = without_trailing_slash(target.path());
        let table = self.tables.iter().find(|(own, _)| **own == *method);
        if let Some(found) = table.and_then(|(_, table)| table.at(path).ok()) {
            let route = &self.routes[*found.value];
            return Ok(RouteMatch { service: self, route, target, method, captures: found.params });
        }
        let allowed: Vec<Box<str>> =
            self.tables.iter().filter(|(_, table)| table.at(path).is_ok()).map(|(method, _)| method.clone()).collect();
        Err(if allowed.is_empty() { NoRoute::Path } else { NoRoute::Method { allowed } })
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

impl TryFrom<ServiceSpec> for Service {
    type Error = CatalogError;

    fn try_from(spec: ServiceSpec) -> Result<Self, Self::Error> {
        let place = format!("service `{}`", spec.name);
        let upstream = upstream(&spec, &place)?;
        let origins = origins(&spec, &place)?;
        if spec.credential.is_none() && spec.credential_per == CredentialPer::User {
            return Err(invalid(&place, "credential", "`credential_per = \"user\"` needs the name of a credential"));
        }
        if !(1..=Self::ROUTES_MAX).contains(&spec.routes.len()) {
            return Err(invalid(&place, "route", format!("declare 1 to {} routes", Self::ROUTES_MAX)));
        }
        let routes: Vec<Route> =
            spec.routes.iter().map(|route| checked_route(route, &place)).collect::<Result<_, _>>()?;
        let tables = tables(&routes, &place)?;
        Ok(Self { spec, upstream, origins, routes, tables })
    }
}

fn invalid(place: &str, key: &'static str, problem: impl ToString) -> CatalogError {
    CatalogError::Invalid { place: place.to_owned(), key, problem: problem.to_string() }
}

fn upstream(spec: &ServiceSpec, place: &str) -> Result<Upstream, CatalogError> {
    let upstream: Upstream = spec.upstream.parse().map_err(|error| invalid(place, "upstream", error))?;
    let origin = upstream.origin();
    if origin.scheme() == Scheme::Http && !origin.host().is_loopback() {
        return Err(invalid(
            place,
            "upstream",
            "plain `http://` would show the credential to the network: use `https://`; only a service on this machine (`localhost`, `127.0.0.1`, `[::1]`) may be plain",
        ));
    }
    if origin.host().is_loopback() && !spec.allow_private {
        return Err(invalid(place, "upstream", "a service on this machine needs `allow_private = true`"));
    }
    Ok(upstream)
}

fn origins(spec: &ServiceSpec, place: &str) -> Result<Vec<Origin>, CatalogError> {
    if spec.origins.len() > Service::ORIGINS_MAX {
        return Err(invalid(place, "origins", format!("at most {} origins", Service::ORIGINS_MAX)));
    }
    let parse =
        |text: &str| text.parse().map_err(|error| invalid(place, "origins", format!("`{}`: {error}", shown(text))));
    spec.origins.iter().map(|text| parse(text)).collect()
}

fn checked_route(spec: &RouteSpec, service: &str) -> Result<Route, CatalogError> {
    let place = format!("{service}, route `{} {}`", shown(&spec.methods.join(",")), shown(&spec.path));
    methods(&spec.methods, &place)?;
    let pattern = spec.path.parse().map_err(|error| invalid(&place, "path", error))?;
    let action: Path = spec.action.parse().map_err(|error| invalid(&place, "action", error))?;
    if action == Path::root() {
        return Err(invalid(&place, "action", "name what is done, as in `events/read`"));
    }
    let route = Route {
        methods: spec.methods.clone(),
        action,
        template: spec.resource.parse().map_err(|error| invalid(&place, "resource", error))?,
        arguments: arguments(&spec.arguments, &place)?,
        body: body(spec, &place)?,
        pattern,
    };
    route.template.check(&route.pattern).map_err(|error| invalid(&place, "resource", error))?;
    for rule in &route.arguments {
        if let Source::Path(name) = &rule.source
            && !route.pattern.captures(name)
        {
            let place = format!("{place}, argument `{}`", rule.name);
            return Err(invalid(&place, "key", format!("`{{{name}}}` is not captured by the route's path")));
        }
    }
    Ok(route)
}

fn methods(methods: &[Box<str>], place: &str) -> Result<(), CatalogError> {
    let wrong = |problem: String| Err(invalid(place, "methods", problem));
    if !(1..=Service::METHODS_MAX).contains(&methods.len()) {
        return wrong(format!("name 1 to {} methods", Service::METHODS_MAX));
    }
    for (i, method) in methods.iter().enumerate() {
        let is_token = (1..=32).contains(&method.len()) && method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
        if !is_token {
            return wrong(format!("`{}` is not a method: use upper-case letters, as in `GET`", shown(method)));
        }
        if methods[..i].contains(method) {
            return wrong(format!("`{method}` stands there twice"));
        }
        match &**method {
            "TRACE" | "TRACK" | "CONNECT" | "DEBUG" | "PRI" => {
                return wrong(format!("`{method}` cannot be forwarded safely: remove it"));
            }
            "COPY" | "MOVE" | "BIND" | "REBIND" | "UNBIND" | "LINK" | "UNLINK" => {
                return wrong(format!("`{method}` names a second resource that no route can authorise: remove it"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn body(spec: &RouteSpec, place: &str) -> Result<Option<JsonBodyRule>, CatalogError> {
    let takes_json = spec.arguments.iter().any(|argument| argument.from == Place::Json);
    match spec.body_bytes_max {
        Some(_) if !takes_json => Err(invalid(
            place,
            "body_bytes_max",
            "only a route with an argument `from = \"json\"` reads the body: remove it",
        )),
        Some(bytes_max) if !(1..=Service::BODY_BYTES_MAX).contains(&bytes_max) => {
            Err(invalid(place, "body_bytes_max", format!("use 1 to {}", Service::BODY_BYTES_MAX)))
        }
        _ if !takes_json => Ok(None),
        _ if spec.methods.iter().any(|method| matches!(&**method, "GET" | "HEAD" | "OPTIONS")) => {
            Err(invalid(place, "methods", "GET, HEAD and OPTIONS carry no body to take a JSON argument from"))
        }
        bytes_max => Ok(Some(JsonBodyRule { bytes_max: bytes_max.unwrap_or(Service::BODY_BYTES_DEFAULT) })),
    }
}

fn arguments(specs: &[ArgumentSpec], route: &str) -> Result<Vec<ArgumentRule>, CatalogError> {
    if specs.len() > Service::ARGUMENTS_MAX {
        return Err(invalid(route, "argument", format!("a route has at most {} arguments", Service::ARGUMENTS_MAX)));
    }
    let mut rules: Vec<ArgumentRule> = Vec::with_capacity(specs.len());
    for spec in specs {
        let place = format!("{route}, argument `{}`", shown(&spec.name));
        let is_name = (1..=64).contains(&spec.name.len())
            && spec.name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
        if !is_name {
            return Err(invalid(&place, "name", "use 1 to 64 letters, digits, `_`, `-` and `.`"));
        }
        if rules.iter().any(|rule| rule.name == spec.name) {
            return Err(invalid(&place, "name", "another argument of the route has it: rename one"));
        }
        rules.push(ArgumentRule {
            name: spec.name.clone(),
            source: source(spec, &place)?,
            kind: spec.kind,
            required: spec.required,
            loggable: spec.loggable,
        });
    }
    Ok(rules)
}

/// Without a `key`, the argument's name is the parameter, the capture, or the top-level member of the body.
fn source(spec: &ArgumentSpec, place: &str) -> Result<Source, CatalogError> {
    let key = spec.key.as_ref().unwrap_or(&spec.name);
    match spec.from {
        Place::Query if key.is_empty() || key.len() > 128 || key.chars().any(char::is_control) || key.contains('[') => {
            Err(invalid(place, "key", "use 1 to 128 characters without brackets or control characters"))
        }
        Place::Query => Ok(Source::Query(key.clone())),
        Place::Path => Ok(Source::Path(key.clone())),
        Place::Json if spec.key.is_none() => Ok(Source::Json(Pointer::member(key))),
        Place::Json => key.parse().map(Source::Json).map_err(|error| invalid(place, "key", error)),
    }
}

/// One table for each method. `HEAD` gets every `GET` route whose paths no `HEAD` route claims.
fn tables(routes: &[Route], place: &str) -> Result<Vec<(Box<str>, Router<usize>)>, CatalogError> {
    let mut tables = Tables { routes, place, tables: Vec::new(), claimed: std::collections::HashSet::new() };
    for (i, route) in routes.iter().enumerate() {
        for method in &route.methods {
            tables.insert(method, i)?;
        }
    }
    for (i, route) in routes.iter().enumerate() {
        let head = ("HEAD".into(), route.pattern.shape());
        if route.methods.iter().any(|method| **method == *"GET") && !tables.claimed.contains(&head) {
            tables.insert("HEAD", i)?;
        }
    }
    Ok(tables.tables)
}

struct Tables<'a> {
    routes: &'a [Route],
    place: &'a str,
    tables: Vec<(Box<str>, Router<usize>)>,
    claimed: std::collections::HashSet<(Box<str>, String)>,
}

impl Tables<'_> {
    fn insert(&mut self, method: &str, index: usize) -> Result<(), CatalogError> {
        let pattern = &self.routes[index].pattern;
        let at = self.tables.iter().position(|(own, _)| **own == *method).unwrap_or_else(|| {
            self.tables.push((method.into(), Router::new()));
            self.tables.len() - 1
        });
        let inserted = self.tables[at].1.insert(pattern.to_string(), index);
        self.claimed.insert((method.into(), pattern.shape()));
        inserted.map_err(|error| {
            let place = format!("{}, route `{method} {}`", self.place, shown(&pattern.to_string()));
            match error {
                InsertError::Conflict { with } => {
                    CatalogError::AmbiguousRoute { place, method: method.into(), other: shown(&with) }
                }
                other => invalid(&place, "path", other),
            }
        })
    }
}
