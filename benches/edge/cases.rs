//! What is measured: who serves, what is shown, and how it is asked.

use crate::world::Setup;

/// Who serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    Floor,
    Nginx,
    NginxHeader,
    Haproxy,
    Envoy,
    Edge(Setup),
    /// An edge whose memory of chains is full of strangers.
    ColdEdge,
}

/// What each request shows. Contenders get a bearer writ too; only Envoy has somebody look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Bearer,
    /// With so many hops, and a fresh proof for each request.
    Bound {
        hops: u8,
    },
    /// A bound writ, its key proven by TLS, once for each connection.
    Proven,
    /// A bearer writ that was never seen.
    NewBearer,
    /// A bound writ that was never seen, nor any part of it.
    NewBound {
        hops: u8,
    },
    /// Of which all but the last hop was seen.
    NewHop {
        hops: u8,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Http {
    One,
    /// Connections are streams of one then.
    Two,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    None,
    /// 64 kB that nobody looks into.
    Large,
}

/// One line of the results.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) server: Server,
    pub(crate) shown: Shown,
    pub(crate) connections: usize,
    pub(crate) http: Http,
    pub(crate) body: Body,
}

impl Case {
    const fn new(server: Server, shown: Shown) -> Self {
        Self { server, shown, connections: 16, http: Http::One, body: Body::None }
    }

    /// What the case is compared with.
    pub(crate) fn floor(&self) -> Self {
        Self { server: Server::Floor, shown: Shown::Bearer, ..self.clone() }
    }

    pub(crate) fn is_floor(&self) -> bool {
        self.server == Server::Floor
    }

    pub(crate) fn is_ours(&self) -> bool {
        matches!(self.server, Server::Edge(_) | Server::ColdEdge)
    }

    /// Whether `other` is asked in the same way.
    pub(crate) fn is_asked_like(&self, other: &Self) -> bool {
        (self.connections, self.http, self.body) == (other.connections, other.http, other.body)
    }

    /// Of which `--only` takes a part.
    pub(crate) fn name(&self) -> String {
        let way = match (self.http, self.body) {
            (Http::One, Body::None) => "get",
            (Http::One, Body::Large) => "post",
            (Http::Two, _) => "h2",
        };
        format!("{}/{way}/{}", self.who(), self.connections)
    }

    /// Who serves what.
    pub(crate) fn who(&self) -> String {
        match (self.server, self.shown) {
            (Server::Floor, _) => "floor".into(),
            (Server::Nginx, _) => "nginx-plain".into(),
            (Server::NginxHeader, _) => "nginx-header".into(),
            (Server::Haproxy, _) => "haproxy".into(),
            (Server::Envoy, _) => "envoy".into(),
            (Server::Edge(Setup { revocations: 1.., .. }), _) => "revocations".into(),
            (Server::Edge(Setup { policies: Some(count), .. }), _) => format!("policies-{count}"),
            (Server::Edge(Setup { tls: true, .. }), Shown::Bearer) => "tls-bearer".into(),
            (Server::Edge(Setup { tls: true, .. }), Shown::Bound { .. }) => "tls-bound".into(),
            (_, Shown::Proven) => "tls-proven".into(),
            (_, Shown::Bearer) => "bearer".into(),
            (_, Shown::Bound { hops: 0 }) => "bound".into(),
            (_, Shown::Bound { hops }) => format!("hops-{hops}"),
            (_, Shown::NewBearer) => "cold-bearer".into(),
            (_, Shown::NewBound { hops }) => format!("cold-{hops}"),
            (_, Shown::NewHop { hops }) => format!("new-hop-{hops}"),
        }
    }

    /// For people.
    pub(crate) fn title(&self) -> String {
        let hops = |n: u8| if n == 1 { "1 hop".to_owned() } else { format!("{n} hops") };
        match (self.server, self.shown) {
            (Server::Floor, _) => "minimal hyper proxy: checks and injects nothing".into(),
            (Server::Nginx, _) => "nginx 1.22: checks and injects nothing".into(),
            (Server::NginxHeader, _) => "nginx 1.22, injects a fixed header".into(),
            (Server::Haproxy, _) => "HAProxy 2.6, injects a fixed header".into(),
            (Server::Envoy, _) => "Envoy 1.40 with `ext_authz`: a bearer token looked up, a header injected".into(),
            (Server::Edge(Setup { revocations: count @ 1.., .. }), _) => {
                format!("edge, bearer writ, {count} revocations")
            }
            (Server::Edge(Setup { policies: Some(1), .. }), _) => "edge, bearer writ, 1 policy".into(),
            (Server::Edge(Setup { policies: Some(count), .. }), _) => format!("edge, bearer writ, {count} policies"),
            (Server::Edge(Setup { tls: true, .. }), Shown::Bearer) => "edge over TLS, bearer writ".into(),
            (Server::Edge(Setup { tls: true, .. }), Shown::Bound { .. }) => {
                "edge over TLS, bound writ, a fresh proof for each request".into()
            }
            (_, Shown::Proven) => "edge over TLS, bound writ, its key proven once by the connection".into(),
            (_, Shown::Bearer) => "edge, bearer writ".into(),
            (_, Shown::Bound { hops: 0 }) => "edge, bound writ, a fresh proof for each request".into(),
            (_, Shown::Bound { hops: n }) => format!("edge, bound writ, {}", hops(n)),
            (_, Shown::NewBearer) => "edge, a bearer writ never seen before".into(),
            (_, Shown::NewBound { hops: 0 }) => "edge, a bound writ never seen before".into(),
            (_, Shown::NewBound { hops: n }) => format!("edge, a chain of {} never seen before", hops(n)),
            (_, Shown::NewHop { hops: n }) => format!("edge, a new last hop of {n} on a known chain"),
        }
    }

    /// Whether the service must have seen its credential.
    pub(crate) fn injects(&self) -> bool {
        !matches!(self.server, Server::Floor | Server::Nginx)
    }

    /// Whether every request must be made anew, for each round.
    pub(crate) fn is_cold(&self) -> bool {
        matches!(self.shown, Shown::NewBearer | Shown::NewBound { .. } | Shown::NewHop { .. })
    }
}

/// Everyone at 16 connections; and those that matter most at 1 and 64, with bodies, and by HTTP/2.
pub(crate) fn all() -> Vec<Case> {
    use Server::{ColdEdge, Edge, Envoy, Floor, Haproxy, Nginx, NginxHeader};
    let edge = Edge(Setup::default());
    let mut cases = vec![
        Case::new(Floor, Shown::Bearer),
        Case::new(Nginx, Shown::Bearer),
        Case::new(NginxHeader, Shown::Bearer),
        Case::new(Haproxy, Shown::Bearer),
        Case::new(Envoy, Shown::Bearer),
        Case::new(edge, Shown::Bearer),
        Case::new(Edge(Setup { revocations: 1_000_000, ..Setup::default() }), Shown::Bearer),
        Case::new(Edge(Setup { policies: Some(1), ..Setup::default() }), Shown::Bearer),
        Case::new(Edge(Setup { policies: Some(100), ..Setup::default() }), Shown::Bearer),
        Case::new(edge, Shown::Bound { hops: 0 }),
    ];
    // The profile allows six blocks: the first, and five hops.
    cases.extend([1, 4, 5].map(|hops| Case::new(edge, Shown::Bound { hops })));
    let over_tls = Edge(Setup { tls: true, ..Setup::default() });
    cases.extend([Shown::Bearer, Shown::Bound { hops: 0 }, Shown::Proven].map(|shown| Case::new(over_tls, shown)));
    cases.push(Case::new(ColdEdge, Shown::NewBearer));
    cases.extend([0, 1, 4, 5].map(|hops| Case::new(ColdEdge, Shown::NewBound { hops })));
    cases.push(Case::new(ColdEdge, Shown::NewHop { hops: 4 }));
    let most = [
        Case::new(Floor, Shown::Bearer),
        Case::new(NginxHeader, Shown::Bearer),
        Case::new(Envoy, Shown::Bearer),
        Case::new(edge, Shown::Bearer),
        Case::new(edge, Shown::Bound { hops: 0 }),
    ];
    for case in most {
        cases.push(Case { connections: 1, ..case.clone() });
        cases.push(Case { connections: 64, ..case.clone() });
        cases.push(Case { body: Body::Large, ..case.clone() });
        cases.push(Case { http: Http::Two, ..case });
    }
    cases
}
