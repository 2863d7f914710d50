//! From what a service's file says to a checked service. Every refusal names the key to change.

mod calls;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use crate::catalog::argument::{Kind, Place};
use crate::catalog::body::{BodyKind, BodyRule};
use crate::catalog::origin::{Origin, Scheme, Upstream};
use crate::catalog::route::{Route, Unknown};
use crate::catalog::service::{CatalogError, CredentialPer, Service};
use crate::catalog::spec::{ArgumentSpec, RouteSpec, ServiceSpec};
use crate::id::shown;
use crate::token::Path;

pub(super) use tables::FixedText;

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
        one_type_for_each_name(&routes, &place)?;
        let tables = tables::tables(&routes, &place)?;
        let fixed = routes.iter().flat_map(|route| route.pattern.fixed_text());
        let fixed: HashSet<_> = fixed.map(|(_, before, after)| (Box::from(before), Box::from(after))).collect();
        let fixed = fixed.into_iter().collect();
        Ok(Self { spec, upstream, origins, routes, tables, fixed })
    }
}

pub(super) fn invalid(place: &str, key: &'static str, problem: impl ToString) -> CatalogError {
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
    let body = body(spec, &place)?;
    let kind = body.map(|body| body.kind);
    let calls = calls::calls(spec, &pattern, kind, &place)?;
    let several = matches!(kind, Some(BodyKind::JsonRpc | BodyKind::Graphql));
    if spec.closed && (spec.unknown_query.is_some() || spec.unknown_body.is_some()) {
        return Err(invalid(&place, "closed", "it says the same as `unknown_query` and `unknown_body`: keep one"));
    }
    if spec.unknown_body.is_some() && body.is_none() {
        return Err(invalid(&place, "unknown_body", "the route does not look at its body: say what it is with `body`"));
    }
    let unknown = |said: Option<Unknown>, usual| if spec.closed { Unknown::Deny } else { said.unwrap_or(usual) };
    // Some servers take the query or the method from the URL and leave the body alone.
    let usual = if several { Unknown::Deny } else { Unknown::Allow };
    Ok(Route {
        methods: spec.methods.clone(),
        pattern,
        body,
        unknown_query: unknown(spec.unknown_query, usual),
        unknown_body: unknown(spec.unknown_body, Unknown::Allow),
        calls,
    })
}

/// The body's kind, as the file says it or as the arguments need it.
fn body(spec: &RouteSpec, place: &str) -> Result<Option<BodyRule>, CatalogError> {
    let from = |part: Place| spec.arguments.iter().any(|argument: &ArgumentSpec| argument.from == part);
    let kind = match (spec.body, from(Place::Json), from(Place::Form)) {
        (kind, false, false) => kind,
        (None | Some(BodyKind::Json), true, false) => Some(BodyKind::Json),
        (None | Some(BodyKind::Form), false, true) => Some(BodyKind::Form),
        (Some(BodyKind::JsonRpc | BodyKind::Graphql), ..) => {
            return Err(invalid(
                place,
                "argument",
                "declare arguments below each `[[route.call]]` or `[[route.field]]`",
            ));
        }
        _ => return Err(invalid(place, "body", "the arguments are taken from bodies of another kind")),
    };
    let Some(kind) = kind else {
        return match spec.body_bytes_max {
            None => Ok(None),
            Some(_) => Err(invalid(
                place,
                "body_bytes_max",
                "only a route that says `body`, or has an argument `from = \"json\"` or `\"form\"`, reads the body: remove it",
            )),
        };
    };
    if spec.methods.iter().any(|method| matches!(&**method, "GET" | "HEAD" | "OPTIONS")) {
        return Err(invalid(place, "methods", "GET, HEAD and OPTIONS carry no body to look at"));
    }
    if matches!(kind, BodyKind::JsonRpc | BodyKind::Graphql) && spec.methods.iter().any(|method| **method != *"POST") {
        return Err(invalid(place, "methods", "JSON-RPC and GraphQL bodies are sent by POST"));
    }
    let bytes_max = spec.body_bytes_max.unwrap_or(Service::BODY_BYTES_DEFAULT);
    if !(1..=Service::BODY_BYTES_MAX).contains(&bytes_max) {
        return Err(invalid(place, "body_bytes_max", format!("use 1 to {}", Service::BODY_BYTES_MAX)));
    }
    Ok(Some(BodyRule { kind, bytes_max }))
}

/// A policy is written for an action: an argument's name has one type in all routes of the action.
fn one_type_for_each_name(routes: &[Route], place: &str) -> Result<(), CatalogError> {
    let mut types: HashMap<(&Path, &str), (Kind, bool)> = HashMap::new();
    for call in routes.iter().flat_map(Route::calls) {
        for rule in call.arguments() {
            let own = (rule.kind(), rule.is_list());
            if *types.entry((call.action(), rule.name())).or_insert(own) != own {
                let place = format!("{place}, action `{}`, argument `{}`", call.action(), rule.name());
                return Err(invalid(
                    &place,
                    "type",
                    "routes of one action give it several types: rename one of the arguments",
                ));
            }
        }
    }
    Ok(())
}

pub(super) fn methods(methods: &[Box<str>], place: &str) -> Result<(), CatalogError> {
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
