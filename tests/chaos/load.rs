//! Callers who never rest: single calls, open streams and slow uploads at every edge, by writs that live, that have just
//! been revoked, and that were handed on from revoked ones. And operators who revoke all the while.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use http::Method;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use writ::clock::{Clock as _, Monotonic, SystemClock};

use crate::http::request;
use crate::random::Random;
use crate::system::{IN_THE_END, System, elapsed};
use crate::upstream::Mark;
use crate::writs::{Agent, Family, Writ, Writs};

/// How long a caller waits for an edge, which may be stopped.
const PATIENCE: Duration = Duration::from_secs(3);
/// How many families are kept alive.
const FAMILIES: usize = 8;

/// One run: what is called, by whom, and what came of it.
pub(crate) struct Run {
    pub(crate) system: System,
    pub(crate) writs: Writs,
    agents: Vec<Agent>,
    living: RwLock<Vec<Family>>,
    pub(crate) revocations: Mutex<Vec<Revocation>>,
    /// The last event of its streams that a writ's holder got.
    pub(crate) delivered: Mutex<HashMap<usize, Mark>>,
    /// Refusals of writs that nobody had begun to revoke.
    pub(crate) wrongly_refused: Mutex<Vec<String>>,
    pub(crate) tally: Tally,
    pub(crate) log: Log,
    seed: u64,
    next_call: AtomicU64,
    stop: watch::Sender<bool>,
}

/// A call to `POST /v1/revocations`, repeated under one name until it was answered.
#[derive(Clone, Debug)]
pub(crate) struct Revocation {
    pub(crate) name: String,
    pub(crate) target: String,
    pub(crate) begun: Monotonic,
    pub(crate) settled: Option<Settled>,
}

/// Its receipt, and where in the upstream's order it came.
#[derive(Clone, Debug)]
pub(crate) struct Settled {
    pub(crate) mark: Mark,
    pub(crate) at: Monotonic,
    pub(crate) receipt: Value,
    /// Byte for byte as it came.
    pub(crate) text: String,
}

impl Revocation {
    /// The body of the call, the same each time.
    pub(crate) fn body(&self) -> Value {
        json!({ "target": self.target, "idempotency_key": self.name })
    }
}

/// How much of everything there was.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) served: AtomicU64,
    /// Refusals of writs for which there was a receipt before they were asked with.
    pub(crate) refused_dead: AtomicU64,
    pub(crate) unavailable: AtomicU64,
    pub(crate) unanswered: AtomicU64,
    pub(crate) streams: AtomicU64,
    /// Streams that broke off after their writ was doomed.
    pub(crate) streams_cut: AtomicU64,
    pub(crate) uploads: AtomicU64,
    pub(crate) acknowledged: AtomicU64,
    pub(crate) lease_ended: AtomicU64,
    pub(crate) retried: AtomicU64,
}

impl Tally {
    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn of(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}

/// What happened when, to be read when something went wrong.
pub(crate) struct Log {
    begun: Monotonic,
    lines: Mutex<Vec<String>>,
}

impl Log {
    pub(crate) fn add(&self, line: impl std::fmt::Display) {
        let line = format!("{:>9.3} {line}", elapsed(self.begun).as_secs_f64());
        self.lines.lock().unwrap().push(line);
    }

    pub(crate) fn text(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }
}

impl Run {
    pub(crate) async fn new(system: System, seed: u64) -> Self {
        let mut agents = Vec::new();
        for n in 0..4 {
            agents.push(Agent::register(&system, &format!("agent-{n}")).await);
        }
        Self {
            system,
            writs: Writs::default(),
            agents,
            living: RwLock::default(),
            revocations: Mutex::default(),
            delivered: Mutex::default(),
            wrongly_refused: Mutex::default(),
            tally: Tally::default(),
            log: Log { begun: SystemClock.monotonic(), lines: Mutex::default() },
            seed,
            next_call: AtomicU64::new(0),
            stop: watch::Sender::new(false),
        }
    }

    /// Ends everything that [`Run::start`] began, once what is under way has been answered.
    pub(crate) fn finish(&self) {
        self.stop.send_replace(true);
    }

    fn going_on(&self) -> bool {
        !*self.stop.borrow()
    }

    /// Waits, but not beyond the end.
    pub(crate) async fn pause(&self, length: Duration) {
        let mut stop = self.stop.subscribe();
        let _ = tokio::time::timeout(length, stop.wait_for(|stop| *stop)).await;
    }

    /// Begins load and revocations. They end after [`Run::finish`].
    pub(crate) fn start(self: &Arc<Self>, revokers: usize, between: Duration) -> tokio::task::JoinSet<()> {
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(self.clone().keep_minting());
        for edge in 0..self.system.edges.len() {
            for lane in 0..2 {
                tasks.spawn(self.clone().call_on(edge, lane));
                tasks.spawn(self.clone().stream_on(edge, lane));
            }
            tasks.spawn(self.clone().upload_on(edge));
        }
        for revoker in 0..revokers {
            tasks.spawn(self.clone().keep_revoking(revoker, between));
        }
        tasks
    }

    /// Whether some revocation that has begun may kill it.
    fn is_doomed(&self, writ: &Writ) -> bool {
        let revocations = self.revocations.lock().unwrap();
        let ended = |revocation: &Revocation| revocation.settled.as_ref().map(|settled| settled.at);
        revocations.iter().any(|revocation| writ.may_be_killed_by(&revocation.target, ended(revocation)))
    }

    async fn keep_minting(self: Arc<Self>) {
        let mut random = Random::new(self.seed, 1);
        while self.going_on() {
            self.living.write().unwrap().retain(|family| !self.is_doomed(&family.root));
            let enough = self.living.read().unwrap().len() >= FAMILIES;
            if enough {
                self.pause(Duration::from_millis(20)).await;
                continue;
            }
            let replica = random.below(self.system.authorities.len());
            let agent = random.one_of(&self.agents);
            match self.writs.family(&self.system, replica, agent, PATIENCE).await {
                Ok(family) => self.living.write().unwrap().push(family),
                Err(error) => {
                    self.log.add(format_args!("no writ of {} from authority-{replica}: {error}", agent.name));
                    self.pause(Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// A writ to call with: mostly one that lives, often one that is revoked, and sometimes a new one below a revoked one.
    fn any_writ(&self, random: &mut Random) -> Option<Arc<Writ>> {
        let dead = {
            let revocations = self.revocations.lock().unwrap();
            let recent = &revocations[revocations.len().saturating_sub(20)..];
            (!recent.is_empty()).then(|| random.one_of(recent).target.clone())
        };
        let die = random.below(10);
        match dead {
            Some(target) if die < 4 => {
                let all = self.writs.all();
                let dead: Vec<_> = all.iter().filter(|writ| writ.targets.contains(&target)).collect();
                let writ = (!dead.is_empty()).then(|| random.one_of(&dead))?;
                let room = writ.targets.iter().filter(|target| target.starts_with("block:")).count() < 5;
                Some(if die == 0 && room { self.writs.hand_on(writ) } else { Arc::clone(writ) })
            }
            _ => self.living_writ(random),
        }
    }

    fn living_writ(&self, random: &mut Random) -> Option<Arc<Writ>> {
        let living = self.living.read().unwrap();
        let family = (!living.is_empty()).then(|| random.one_of(&living))?;
        Some(Arc::clone(family.writs()[random.below(4)]))
    }

    fn url(&self, edge: usize, action: &str, writ: &Writ) -> String {
        let n = self.next_call.fetch_add(1, Ordering::Relaxed);
        format!("{}/load/{action}/{}/{n}", self.system.edges[edge].url, writ.number)
    }

    async fn call_on(self: Arc<Self>, edge: usize, lane: u64) {
        let mut random = Random::new(self.seed, 100 + 10 * edge as u64 + lane);
        while self.going_on() {
            let Some(writ) = self.any_writ(&mut random) else {
                self.pause(Duration::from_millis(10)).await;
                continue;
            };
            let url = self.url(edge, "call", &writ);
            let dead = self.receipt_before(&writ, SystemClock.monotonic());
            let asked = request(Method::GET, &url, writ.headers("GET", &url), "");
            match self.system.http.send(asked, PATIENCE).await {
                Ok(answer) => match answer.status.as_u16() {
                    200 => Tally::count(&self.tally.served),
                    401 if dead => Tally::count(&self.tally.refused_dead),
                    401 => self.check_refusal(&writ, &url, &answer.text()),
                    502..=504 => Tally::count(&self.tally.unavailable),
                    _ => self.wrong(&url, &format!("{} {}", answer.status, answer.text())),
                },
                Err(_) => Tally::count(&self.tally.unanswered),
            }
            self.pause(Duration::from_millis(random.between(5, 25))).await;
        }
    }

    fn check_refusal(&self, writ: &Writ, url: &str, told: &str) {
        if !self.is_doomed(writ) {
            self.wrong(url, told);
        }
    }

    fn wrong(&self, url: &str, told: &str) {
        self.wrongly_refused.lock().unwrap().push(format!("{url}: {told}"));
    }

    /// Whether a receipt for `writ` was there at `now`.
    fn receipt_before(&self, writ: &Writ, now: Monotonic) -> bool {
        self.revocations.lock().unwrap().iter().any(|revocation| {
            let settled = revocation.settled.as_ref().is_some_and(|settled| settled.at < now);
            settled && writ.is_killed_by(&revocation.target, revocation.begun)
        })
    }

    async fn stream_on(self: Arc<Self>, edge: usize, lane: u64) {
        let mut random = Random::new(self.seed, 1000 + 10 * edge as u64 + lane);
        while self.going_on() {
            let opened = match self.living_writ(&mut random) {
                Some(writ) => {
                    let url = self.url(edge, "stream", &writ);
                    let asked = request(Method::GET, &url, writ.headers("GET", &url), "");
                    let opened = self.system.http.open(asked, PATIENCE).await;
                    opened.ok().filter(|answer| answer.status() == 200).map(|answer| (writ, answer.into_body()))
                }
                None => None,
            };
            let Some((writ, mut body)) = opened else {
                self.pause(Duration::from_millis(30)).await;
                continue;
            };
            Tally::count(&self.tally.streams);
            let length = Duration::from_millis(random.between(500, 5000));
            let mut stop = self.stop.subscribe();
            let read = async {
                while let Some(Ok(frame)) = body.frame().await {
                    if let Ok(data) = frame.into_data() {
                        self.deliver(&writ, &String::from_utf8_lossy(&data));
                    }
                }
            };
            let broke_off = tokio::select! {
                () = read => true,
                () = tokio::time::sleep(length) => false,
                _ = stop.wait_for(|stop| *stop) => false,
            };
            if broke_off && self.is_doomed(&writ) {
                Tally::count(&self.tally.streams_cut);
            }
        }
    }

    fn deliver(&self, writ: &Writ, text: &str) {
        let last = text.lines().filter_map(|line| Mark::from_event(line.strip_prefix("data: ")?)).max();
        if let Some(last) = last {
            let mut delivered = self.delivered.lock().unwrap();
            let known = delivered.entry(writ.number).or_insert(last);
            *known = last.max(*known);
        }
    }

    /// Uploads that take long: head first, then byte by byte.
    async fn upload_on(self: Arc<Self>, edge: usize) {
        let mut random = Random::new(self.seed, 2000 + edge as u64);
        while self.going_on() {
            if let Some(writ) = self.living_writ(&mut random) {
                let url = self.url(edge, "upload", &writ);
                let pieces = random.between(5, 40);
                let _ = tokio::time::timeout(PATIENCE, self.upload(edge, &writ, &url, pieces)).await;
            }
            self.pause(Duration::from_millis(random.between(20, 200))).await;
        }
    }

    async fn upload(&self, edge: usize, writ: &Writ, url: &str, pieces: u64) -> std::io::Result<()> {
        let mut stream = TcpStream::connect(self.system.edges[edge].address).await?;
        let head = head_of(writ, "POST", url, &format!("content-length: {pieces}\r\n"));
        stream.write_all(head.as_bytes()).await?;
        Tally::count(&self.tally.uploads);
        for _ in 0..pieces {
            stream.write_all(b"x").await?;
            self.pause(Duration::from_millis(30)).await;
        }
        stream.read_u8().await?;
        Ok(())
    }

    async fn keep_revoking(self: Arc<Self>, revoker: usize, between: Duration) {
        let mut random = Random::new(self.seed, 3000 + revoker as u64);
        let mut n = 0;
        while self.going_on() {
            self.pause(between.mul_f64(random.between(50, 150) as f64 / 100.0)).await;
            let family = {
                let living = self.living.read().unwrap();
                if living.is_empty() { continue } else { random.one_of(&living).clone() }
            };
            let target = target(&family, &mut random);
            n += 1;
            self.revoke(&target, &format!("revoker-{revoker}-{n}"), &mut random).await;
        }
    }

    /// Asks one replica after the other until there is a receipt. An error says nothing; the name of the request settles it.
    pub(crate) async fn revoke(&self, target: &str, name: &str, random: &mut Random) -> Settled {
        let begun = SystemClock.monotonic();
        let revocation = Revocation { name: name.into(), target: target.into(), begun, settled: None };
        let body = revocation.body();
        let place = {
            let mut revocations = self.revocations.lock().unwrap();
            revocations.push(revocation);
            revocations.len() - 1
        };
        self.log.add(format_args!("{name} revokes {target}"));
        loop {
            assert!(elapsed(begun) < IN_THE_END, "{name} ({target}) was never answered\n{}", self.log.text());
            let replica = random.below(self.system.authorities.len());
            let asked = self.system.ask(replica, Method::POST, "/v1/revocations", Some(&body), 2 * PATIENCE).await;
            // At once: whatever reaches the upstream after this was sent after the receipt.
            let mark = self.system.upstream.mark();
            let told = match asked {
                Ok(answer) if answer.status == 200 => {
                    let (at, receipt, text) = (SystemClock.monotonic(), answer.json(), answer.text());
                    let settled = Settled { mark, at, receipt, text };
                    self.settle(place, name, settled.clone());
                    return settled;
                }
                Ok(answer) if answer.status.is_server_error() => answer.text(),
                Ok(answer) => panic!("{name} ({target}): {} {}", answer.status, answer.text()),
                Err(error) => error,
            };
            Tally::count(&self.tally.retried);
            self.log.add(format_args!("{name}: no receipt from authority-{replica}: {told}"));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn settle(&self, place: usize, name: &str, settled: Settled) {
        let mut how = Vec::new();
        for edge in settled.receipt["edges"].as_array().unwrap() {
            let counter = match edge["how"].as_str().unwrap() {
                "acknowledged" => &self.tally.acknowledged,
                "lease_ended" => &self.tally.lease_ended,
                other => panic!("{other}"),
            };
            Tally::count(counter);
            how.push(format!("{}: {}", edge["edge"].as_str().unwrap(), edge["how"].as_str().unwrap()));
        }
        let (seq, elapsed) = (&settled.receipt["seq"], &settled.receipt["elapsed_ms"]);
        self.log.add(format_args!(
            "{name}: receipt, seq {seq}, after {elapsed} ms, {:?}; {}",
            settled.mark,
            how.join(", ")
        ));
        self.revocations.lock().unwrap()[place].settled = Some(settled);
    }
}

/// What of a family is to end: mostly a part of one writ, sometimes the user, the grant or the agent.
fn target(family: &Family, random: &mut Random) -> String {
    let own = |writ: &Writ, kind: &str| {
        // The last of its kind is the writ's own: the others are its ancestors'.
        let found = writ.targets.iter().rfind(|target| target.starts_with(kind));
        found.unwrap().clone()
    };
    match random.below(12) {
        0 | 1 => own(&family.root, "block:"),
        2..=4 => own(&family.first, "block:"),
        5 => own(&family.second, "block:"),
        6 => own(&family.other, "block:"),
        7 | 8 => own(&family.first, "holder:"),
        9 => format!("grant:{}", family.grant),
        10 => format!("subject:default/{}", family.subject),
        _ => format!("agent:default/{}", family.agent),
    }
}

/// The head of a request as text, with these header fields beside those of the writ.
pub(crate) fn head_of(writ: &Writ, method: &str, url: &str, more: &str) -> String {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_at(rest.find('/').unwrap());
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n{more}");
    for (name, value) in &writ.headers(method, url) {
        head.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
    }
    head.push_str("\r\n");
    head
}
