//! Which origins lead to which services of the edge. Everything else is refused.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Limited};
use serde::Deserialize;

use crate::catalog::Origin;
use crate::cli::failure::Failure;
use crate::cli::run::forward::{Edge, empty};
use crate::cli::run::holder::Holder;
use crate::id::ServiceName;
use crate::token::proof::ProvenRequest;

/// Where an edge lists the services of a writ's tenant.
pub(super) const SERVICES_PATH: &str = "/.writ/services";
const LIST_BYTES_MAX: usize = 1 << 20;

/// The services that a program may reach.
#[derive(Debug, Default)]
pub(super) struct Services(Vec<Offered>);

/// A service, and how a program's own URLs lead to it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Offered {
    /// Its name, the first path segment at the edge.
    pub(super) name: ServiceName,
    /// The origins that programs know it by.
    #[serde(default)]
    origins: Vec<Origin>,
    /// What its paths begin with there; the edge adds it by itself.
    #[serde(default)]
    base_path: String,
}

#[derive(Deserialize)]
struct List {
    services: Vec<Offered>,
    #[serde(default)]
    by_connection: bool,
}

impl Services {
    /// What the command line names.
    pub(super) fn named(named: Vec<(ServiceName, Origin)>) -> Self {
        let offered = |(name, origin)| Offered { name, origins: vec![origin], base_path: String::new() };
        Self(named.into_iter().map(offered).collect())
    }

    /// What the edge offers to the holder of this writ.
    pub(super) async fn of_edge(edge: &Edge, origin: &Origin, holder: &Holder) -> Result<Self, Failure> {
        let url = format!("{origin}{SERVICES_PATH}");
        let held = holder.held().await;
        // Twice: the first answer may only say which nonce the edge wants.
        for _ in 0..2 {
            let mut request = Request::builder().method(Method::GET).uri(SERVICES_PATH).body(empty())?;
            let proven = ProvenRequest { method: "GET", url: &url, query: None, body_sha256: None };
            holder.prove(&held, &proven, request.headers_mut())?;
            let answer = edge.send(request).await?;
            let again = holder.learn(answer.headers()) && answer.status() == http::StatusCode::UNAUTHORIZED;
            if again {
                continue;
            }
            let status = answer.status();
            let body = Limited::new(answer.into_body(), LIST_BYTES_MAX).collect().await;
            let body = body.map_err(|_| Failure::new("the edge's list of services broke off"))?.to_bytes();
            let List { services, by_connection } = listed(status, &body)?;
            holder.prove_by_connection(by_connection);
            return Ok(Self(services));
        }
        Err(Failure::new("the edge keeps asking for another nonce: is its clock right?"))
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Offered> {
        self.0.iter()
    }

    /// The service that answers at `origin`.
    pub(super) fn at(&self, origin: &Origin) -> Option<&Offered> {
        self.0.iter().find(|offered| offered.origins.contains(origin))
    }

    /// The service of this name.
    pub(super) fn called(&self, name: &str) -> Option<&Offered> {
        self.0.iter().find(|offered| offered.name.as_str() == name)
    }

    /// Their names, for a person.
    pub(super) fn told(&self) -> String {
        let mut text = String::new();
        for (index, offered) in self.0.iter().enumerate() {
            let _ = write!(text, "{}{}", if index > 0 { ", " } else { "" }, offered.name);
        }
        if text.is_empty() { "no service".to_owned() } else { text }
    }
}

fn listed(status: http::StatusCode, body: &Bytes) -> Result<List, Failure> {
    #[derive(Deserialize)]
    struct Problem {
        detail: String,
    }
    if status.is_success() {
        return Ok(serde_json::from_slice(body)?);
    }
    Err(match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => Failure::new(format!("the edge refuses the writ: {}", problem.detail)),
        Err(_) => Failure::new(format!("the edge answered {status}: is `--edge` the origin of a writ edge?")),
    })
}

impl Offered {
    /// The path at the edge for `path` (with its query) at the service's own origin; `None` where the service has nothing.
    pub(super) fn at_edge(&self, path: &str) -> Option<String> {
        let below = path.strip_prefix(&*self.base_path)?;
        match below.chars().next() {
            None => Some(format!("/{}", self.name)),
            Some('/' | '?') => Some(format!("/{}{below}", self.name)),
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn services() -> Services {
        let json = br#"{"services":[{"name":"notes","origins":["https://api.notes.example"],"base_path":"/v1"}]}"#;
        Services(listed(http::StatusCode::OK, &Bytes::from_static(json)).unwrap().services)
    }

    #[test]
    fn an_origin_leads_to_its_service_and_no_other_does() {
        let services = services();
        assert!(services.at(&"https://api.notes.example".parse().unwrap()).is_some());
        for other in ["http://api.notes.example", "https://api.notes.example:8443", "https://notes.example"] {
            assert!(services.at(&other.parse().unwrap()).is_none(), "{other}");
        }
    }

    #[test]
    fn the_base_path_is_the_edges_to_add() {
        let services = services();
        let notes = services.called("notes").unwrap();
        assert_eq!(notes.at_edge("/v1/notes/team?x=1").as_deref(), Some("/notes/notes/team?x=1"));
        assert_eq!(notes.at_edge("/v1").as_deref(), Some("/notes"));
        assert_eq!(notes.at_edge("/v1?x"), Some("/notes?x".into()));
        assert_eq!(notes.at_edge("/v10/notes"), None);
        assert_eq!(notes.at_edge("/"), None);
    }
}
