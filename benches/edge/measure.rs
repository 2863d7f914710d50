//! The rounds: every case in turn, again and again.

use std::collections::HashMap;
use std::net::SocketAddr;

use tokio::runtime::Runtime;

use crate::cases::{Body, Case, Http, Server, Shown};
use crate::contenders::{self, Served};
use crate::process::{Place, Process};
use crate::world::{Ask, Edge, Setup, Writ};
use crate::{Options, load, tls};

/// How many requests find out how many there can be.
const TRIAL: usize = 320;
/// The most in a round: proofs must still be in time when it ends.
const REQUESTS_MAX: usize = 60_000;
/// The most where each needs a chain of its own.
const COLD_MAX: usize = 3_000;

/// One round of one case.
#[derive(Clone, Copy)]
pub(crate) struct Round {
    pub(crate) per_second: f64,
    /// Processor microseconds of the server for each request.
    pub(crate) microseconds: f64,
    /// Milliseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// All rounds of a case.
pub(crate) struct Measured {
    pub(crate) case: Case,
    pub(crate) rounds: Vec<Round>,
    pub(crate) peak_mb: f64,
}

enum Running {
    Other(Served),
    Edge(Edge),
}

impl Running {
    fn served(&self) -> &Served {
        match self {
            Self::Other(served) => served,
            Self::Edge(edge) => &edge.served,
        }
    }
}

/// Everything that runs, and one token for those that look at none.
struct Bench<'a> {
    background: &'a Runtime,
    upstream: SocketAddr,
    token: Writ,
    running: Vec<(Server, Option<Running>)>,
    warm: HashMap<String, Writ>,
}

pub(crate) fn run(options: &Options, background: &Runtime, mut cases: Vec<Case>) -> Vec<Measured> {
    // Ratios need their floor.
    for case in cases.clone() {
        if !cases.iter().any(|other| other.is_floor() && other.is_asked_like(&case)) {
            cases.insert(0, case.floor());
        }
    }
    if cases.iter().any(|case| !case.is_ours() && !case.is_floor()) {
        contenders::install();
    }
    let (_service, upstream) = Process::role(Place::Beside, &["serve-upstream"]);
    let stranger = background.block_on(crate::authority::StandIn::start(Vec::new()));
    let token = Writ::bearer(&stranger);
    let mut bench = Bench { background, upstream, token, running: Vec::new(), warm: HashMap::new() };
    // The load has a thread of its own, so that the authority's heartbeats do not wait for it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let round_s = options.seconds / options.rounds as f64;
    let mut all: Vec<(Measured, usize)> = Vec::new();
    for case in cases {
        let Some(trial) = bench.round(&runtime, &case, TRIAL) else { continue };
        let again = bench.round(&runtime, &case, TRIAL).unwrap_or(trial);
        let most = if case.is_cold() { COLD_MAX } else { REQUESTS_MAX };
        let requests = ((again.per_second * round_s) as usize).clamp(TRIAL, most);
        all.push((Measured { case, rounds: Vec::new(), peak_mb: 0.0 }, requests));
    }
    for _ in 0..options.rounds {
        for (measured, requests) in &mut all {
            let round = bench.round(&runtime, &measured.case, *requests);
            measured.rounds.extend(round);
        }
    }
    for (measured, _) in &mut all {
        measured.peak_mb = bench.running(measured.case.server).map_or(0.0, |one| one.served().process.peak_mb());
    }
    all.into_iter().map(|(measured, _)| measured).collect()
}

impl Bench<'_> {
    /// Serves such a case; `None` if it can't be had.
    fn running(&mut self, server: Server) -> Option<&Running> {
        if !self.running.iter().any(|(known, _)| *known == server) {
            let started = self.started(server);
            self.running.push((server, started));
        }
        self.running.iter().find(|(known, _)| *known == server)?.1.as_ref()
    }

    fn started(&self, server: Server) -> Option<Running> {
        let edge = |setup| Edge::start(self.background, Place::Server, self.upstream, setup, "");
        Some(match server {
            Server::Floor => {
                let upstream = self.upstream.to_string();
                let (process, http1) = Process::role(Place::Server, &["serve-floor", "h1", &upstream]);
                let (two, http2) = Process::role(Place::Server, &["serve-floor", "h2", &upstream]);
                Running::Other(Served { process: process.with(two), http1, http2: Some(http2) })
            }
            Server::Nginx => Running::Other(contenders::nginx(self.upstream, false)?),
            Server::NginxHeader => Running::Other(contenders::nginx(self.upstream, true)?),
            Server::Haproxy => Running::Other(contenders::haproxy(self.upstream)?),
            Server::Envoy => Running::Other(contenders::envoy(self.upstream, self.token.token.text())?),
            Server::Edge(setup) => Running::Edge(edge(setup)),
            Server::ColdEdge => Running::Edge(edge(Setup::default())),
        })
    }

    /// One round of so many requests; `None` if nobody serves it.
    fn round(&mut self, runtime: &Runtime, case: &Case, requests: usize) -> Option<Round> {
        self.running(case.server)?;
        let to = {
            let served = self.running(case.server)?.served();
            match case.http {
                Http::One => served.http1,
                Http::Two => served.http2?,
            }
        };
        let asks = self.asks(case, to, requests);
        let proven =
            self.warm.get(&case.who()).and_then(|writ| writ.holder.clone()).filter(|_| case.shown == Shown::Proven);
        let running = self.running(case.server)?;
        let certificate = match running {
            Running::Edge(edge) => edge.certificate.as_ref(),
            Running::Other(_) => None,
        };
        let tls = certificate.map(|certificate| tls::connector(certificate, proven.as_deref()));
        let process = &running.served().process;
        let before = process.processor();
        let mut taken = load::fire(runtime, to, tls.as_ref(), case, &asks);
        let processor = process.processor() - before;
        if let Running::Edge(edge) = running {
            edge.authority.forget_shipped();
        }
        taken.latencies.sort();
        let count = taken.latencies.len();
        let at = |part: f64| taken.latencies[((part * count as f64) as usize).min(count - 1)].as_secs_f64() * 1e3;
        Some(Round {
            per_second: count as f64 / taken.wall.as_secs_f64(),
            microseconds: processor.as_secs_f64() * 1e6 / count as f64,
            p50: at(0.5),
            p99: at(0.99),
        })
    }

    fn asks(&mut self, case: &Case, to: SocketAddr, requests: usize) -> Vec<Ask> {
        let method = match case.body {
            Body::None => "GET",
            Body::Large => "POST",
        };
        let authority = match self.running(case.server) {
            Some(Running::Edge(edge)) => edge.authority.clone(),
            _ => return (0..requests).map(|_| Ask::unproven(method, &self.token)).collect(),
        };
        let scheme = if matches!(case.server, Server::Edge(Setup { tls: true, .. })) { "https" } else { "http" };
        let one = |writ: &Writ| Ask::new(scheme, to, method, writ);
        let mut warm = |make: &dyn Fn() -> Writ| self.warm.entry(case.who()).or_insert_with(make).clone();
        match case.shown {
            Shown::Bearer => {
                let writ = warm(&|| Writ::bearer(&authority));
                (0..requests).map(|_| one(&writ)).collect()
            }
            Shown::Bound { hops } => {
                let writ = warm(&|| Writ::bound(&authority).handed_on(hops));
                (0..requests).map(|_| one(&writ)).collect()
            }
            Shown::Proven => {
                let writ = warm(&|| Writ::bound(&authority));
                (0..requests).map(|_| Ask::unproven(method, &writ)).collect()
            }
            Shown::NewBearer => (0..requests).map(|_| one(&Writ::bearer(&authority))).collect(),
            Shown::NewBound { hops } => (0..requests).map(|_| one(&Writ::bound(&authority).handed_on(hops))).collect(),
            Shown::NewHop { hops } => {
                let known = warm(&|| Writ::bound(&authority).handed_on(hops - 1));
                let new = (1..requests).map(|_| one(&known.clone().handed_on(1)));
                std::iter::once(one(&known)).chain(new).collect()
            }
        }
    }
}
