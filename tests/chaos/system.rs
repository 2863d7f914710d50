//! An installation as it runs in earnest: authority replicas on one Postgres and edges, each a process of its own, with a
//! fault proxy on every way between them.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, header};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use writ::clock::{Clock as _, Monotonic, SystemClock};

use crate::address::free_address;
use crate::http::{Answer, Http, request};
use crate::postgres::Server;
use crate::proxy::{Behind, Link, Proxy};
use crate::upstream::{SECRET, SECRET_HEADER, Upstream};
use crate::writs::fresh;

/// How long anything may take that must happen in the end, on a machine that is busy with something else.
pub(crate) const IN_THE_END: Duration = Duration::from_secs(90);

/// What is to be started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) authorities: usize,
    pub(crate) edges: usize,
    pub(crate) lease_ms: u64,
    pub(crate) ways: Ways,
}

/// How the processes reach each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ways {
    /// Through fault proxies.
    Breakable,
    /// Directly, but for the first edge's: a proxy on every way would be measured with the rest.
    Direct,
}

/// Everything but the callers.
pub(crate) struct System {
    pub(crate) http: Http,
    pub(crate) issuer: String,
    operator: HeaderMap,
    pub(crate) edges: Vec<Edge>,
    pub(crate) authorities: Vec<Authority>,
    pub(crate) upstream: Upstream,
    pub(crate) postgres: Server,
    ways: Ways,
    dir: Option<TempDir>,
}

/// One authority replica.
pub(crate) struct Authority {
    pub(crate) process: Process,
    pub(crate) url: String,
    /// Its way to Postgres.
    pub(crate) store: Proxy,
}

/// One edge.
pub(crate) struct Edge {
    pub(crate) process: Process,
    pub(crate) url: String,
    pub(crate) address: SocketAddr,
    /// Its way to each replica.
    pub(crate) feeds: Vec<Proxy>,
}

impl Edge {
    pub(crate) fn set_feeds(&self, link: Link) {
        self.feeds.iter().for_each(|feed| feed.set(link));
    }
}

/// A process that can be stopped, continued, killed and started again, and that ends with the test.
pub(crate) struct Process {
    name: String,
    dir: PathBuf,
    args: Vec<String>,
    child: Mutex<Option<Child>>,
}

impl Process {
    fn new(name: &str, dir: &Path, args: &[&str]) -> Self {
        let args = args.iter().map(ToString::to_string).collect();
        Self { name: name.into(), dir: dir.into(), args, child: Mutex::new(None) }
    }

    /// Starts it, if it does not run: an authority that finds no database when it starts ends, and somebody starts it again.
    pub(crate) fn start(&self) {
        self.start_with(&[]);
    }

    fn start_with(&self, more: &[&str]) {
        let mut child = self.child.lock().unwrap();
        if child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none()) {
            return;
        }
        let log = fs::File::options().create(true).append(true).open(self.log_path()).unwrap();
        let args: Vec<&str> = self.args.iter().map(String::as_str).chain(more.iter().copied()).collect();
        let mut command = command(&self.dir, &args);
        command.stdout(log.try_clone().unwrap()).stderr(log);
        *child = Some(command.spawn().unwrap());
    }

    /// `kill -9`, whatever state it is in.
    pub(crate) fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Returns once none of its threads runs.
    pub(crate) fn stop(&self) {
        self.signal(Signal::STOP);
        let Some(pid) = self.child.lock().unwrap().as_ref().map(Child::id) else { return };
        // A thread that ends meanwhile does not run either. Somebody else may let the process go on meanwhile.
        let runs = |task: fs::DirEntry| {
            let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            stat.rsplit(')').next().is_some_and(|rest| [" R", " S", " D"].iter().any(|state| rest.starts_with(state)))
        };
        for _ in 0..1000 {
            let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
            if !tasks.into_iter().any(runs) {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    pub(crate) fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &*self.child.lock().unwrap() {
            kill_process(Pid::from_child(child), signal).unwrap();
        }
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join(format!("{}.log", self.name))
    }

    /// The end of what it has said.
    fn log(&self) -> String {
        let text = fs::read_to_string(self.log_path()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// The first panic that it reported.
    pub(crate) fn panicked(&self) -> Option<String> {
        let text = fs::read_to_string(self.log_path()).unwrap_or_default();
        let line = text.lines().find(|line| line.contains("panicked at"))?;
        Some(format!("{}: {line}", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl System {
    /// Everything started, joined and serving: the service `load`, and who may use it comes later.
    pub(crate) async fn raise(size: Size, events_every: Duration) -> Self {
        let dir = TempDir::new().unwrap();
        let upstream = Upstream::start(events_every);
        let postgres = tokio::task::spawn_blocking(|| Server::start(&[])).await.unwrap();
        let database = postgres.empty().await;

        let home = dir.path().join("authority-0");
        let listen = free_address();
        let issuer = format!("http://{listen}");
        fs::write(dir.path().join("store"), postgres.text_url("postgres", &database)).unwrap();
        let args = ["init", "authority-0", "--listen", &listen.to_string(), "--store-file", "store", "--save-secret"];
        writ(dir.path(), &args, "");
        let secret = fs::read_to_string(home.join("operator-secret")).unwrap();
        let mut operator = HeaderMap::new();
        operator.insert(header::AUTHORIZATION, format!("Bearer {}", secret.trim()).parse().unwrap());

        let mut authorities = Vec::new();
        for n in 0..size.authorities {
            let at = if n == 0 { listen } else { free_address() };
            let store = Proxy::start(Behind::Unix(postgres.socket())).await;
            let url = match size.ways {
                Ways::Breakable => format!("postgres://postgres@{}/{database}", store.address),
                Ways::Direct => postgres.text_url("postgres", &database),
            };
            authorities.push(authority(dir.path(), n, at, &issuer, store, &url, size.lease_ms));
        }
        let mut system = Self {
            http: Http::new(),
            issuer,
            operator,
            edges: Vec::new(),
            authorities,
            upstream,
            postgres,
            ways: size.ways,
            dir: Some(dir),
        };
        for authority in &system.authorities {
            system.answers(&authority.process, &format!("{}/readyz", authority.url)).await;
        }
        system.offer();
        for _ in 0..size.edges {
            system.add_edge().await;
        }
        system
    }

    pub(crate) fn dir(&self) -> &Path {
        // Expect safety: it is taken when the system is dropped.
        self.dir.as_ref().expect("the system is up").path()
    }

    fn offer(&self) {
        let add = ["credential", "add", "load-key", "--header", SECRET_HEADER];
        writ(self.dir(), &self.operators(&add), SECRET);
        fs::write(self.dir().join("load.toml"), service(self.upstream.address)).unwrap();
        writ(self.dir(), &self.operators(&["service", "add", "load.toml"]), "");
    }

    /// The arguments of an operator's command.
    fn operators<'a>(&'a self, args: &[&'a str]) -> Vec<&'a str> {
        [args, &["--url", &self.issuer, "--operator-secret-file", "authority-0/operator-secret"]].concat()
    }

    /// Checks every chain of the audit log by the command line; what it says if one is broken.
    pub(crate) fn audit_broken(&self) -> Option<String> {
        refused(command(self.dir(), &self.operators(&["audit", "verify"])))
    }

    /// Checks a receipt by the command line; what it says if it does not hold.
    pub(crate) fn receipt_refused(&self, receipt: &str, key: &str) -> Option<String> {
        fs::write(self.dir().join("receipt"), receipt).unwrap();
        refused(command(self.dir(), &["receipt", "verify", "receipt", "--key", key]))
    }

    /// One more, joined and serving.
    pub(crate) async fn add_edge(&mut self) {
        let name = format!("edge-{}", self.edges.len());
        let ticket = self.operate(Method::POST, "/v1/edges/tickets", Some(serde_json::json!({ "name": name }))).await;
        let home = self.dir().join(&name);
        fs::create_dir(&home).unwrap();
        fs::write(home.join("ticket"), ticket["ticket"].as_str().unwrap()).unwrap();
        let mut feeds = Vec::new();
        for authority in &self.authorities {
            let address = authority.url.strip_prefix("http://").unwrap().parse().unwrap();
            feeds.push(Proxy::start(Behind::Tcp(address)).await);
        }
        let direct = self.ways == Ways::Direct && !self.edges.is_empty();
        let urls: Vec<String> = match direct {
            true => self.authorities.iter().map(|authority| format!("\"{}\"", authority.url)).collect(),
            false => feeds.iter().map(|feed| format!("\"http://{}\"", feed.address)).collect(),
        };
        let at = free_address();
        let settings = format!(
            "listen = [\"{at}\"]\norigin = \"http://{at}\"\nstate = \"state\"\nauthorities = [{}]\n",
            urls.join(", ")
        );
        fs::write(home.join("edge.toml"), settings).unwrap();
        let process = Process::new(&name, &home, &["edge", "--log", "warn"]);
        // It counts once: from now on the edge starts without.
        process.start_with(&["--ticket", "ticket"]);
        let edge = Edge { process, url: format!("http://{at}"), address: at, feeds };
        self.answers(&edge.process, &format!("{}/.writ/readyz", edge.url)).await;
        self.edges.push(edge);
    }

    /// Waits until `url` is answered with 200, as whoever keeps processes running does.
    pub(crate) async fn answers(&self, process: &Process, url: &str) {
        let begun = SystemClock.monotonic();
        loop {
            let asked = self.http.send(request(Method::GET, url, HeaderMap::new(), ""), Duration::from_secs(2)).await;
            if asked.is_ok_and(|answer| answer.status == 200) {
                return;
            }
            assert!(elapsed(begun) < IN_THE_END, "{} does not answer\n{}", process.name, process.log());
            process.start();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A call of the operator to one replica.
    pub(crate) async fn ask(
        &self,
        replica: usize,
        method: Method,
        path: &str,
        body: Option<&Value>,
        within: Duration,
    ) -> Result<Answer, String> {
        let mut headers = self.operator.clone();
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        headers.insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
        let url = format!("{}{path}", self.authorities[replica].url);
        self.http.send(request(method, &url, headers, body), within).await
    }

    /// A call of the operator that had to succeed, while nothing is broken.
    pub(crate) async fn operate(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        self.ask(0, method, path, body.as_ref(), IN_THE_END).await.unwrap().ok()
    }

    /// Revokes at the first replica, and answers the receipt. An error is answered by asking again by the same name.
    pub(crate) async fn revoke(&self, target: &str) -> Value {
        let name = hex::encode(fresh::<8>());
        let body = serde_json::json!({ "target": target, "idempotency_key": name });
        let begun = SystemClock.monotonic();
        loop {
            match self.ask(0, Method::POST, "/v1/revocations", Some(&body), IN_THE_END).await {
                Ok(answer) if answer.status.is_server_error() && elapsed(begun) < IN_THE_END => {}
                answer => return answer.unwrap().ok(),
            }
        }
    }

    /// Mends every way, continues and starts every process, and waits until all of them serve.
    pub(crate) async fn heal(&self) {
        for authority in &self.authorities {
            authority.store.set(Link::Open);
            authority.process.go_on();
            authority.process.start();
        }
        for edge in &self.edges {
            edge.set_feeds(Link::Open);
            edge.process.go_on();
            edge.process.start();
        }
        for authority in &self.authorities {
            self.answers(&authority.process, &format!("{}/readyz", authority.url)).await;
        }
        for edge in &self.edges {
            self.answers(&edge.process, &format!("{}/.writ/readyz", edge.url)).await;
        }
    }
}

impl Drop for System {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(dir) = self.dir.take()
        {
            eprintln!("settings, journals and logs of all processes are kept in {}", dir.keep().display());
        }
    }
}

fn authority(
    dir: &Path,
    n: usize,
    at: SocketAddr,
    issuer: &str,
    store: Proxy,
    store_url: &str,
    lease_ms: u64,
) -> Authority {
    let name = format!("authority-{n}");
    let home = dir.join(&name);
    fs::create_dir_all(&home).unwrap();
    let settings = format!(
        "[authority]\nlisten = \"{at}\"\nissuer = \"{issuer}\"\nlease_ms = {lease_ms}\ncheckpoint_every_s = 2\n\
         [store]\nurl = \"{store_url}\"\n[vault]\nkek_files = [\"../authority-0/kek\"]\n"
    );
    fs::write(home.join("writ.toml"), settings).unwrap();
    let process = Process::new(&name, &home, &["serve", "--log", "warn"]);
    process.start();
    Authority { process, url: format!("http://{at}"), store }
}

/// What can be asked of the service. `submit` has its body read by the edge, the others have not.
fn service(upstream: SocketAddr) -> String {
    let route = |method: &str, action: &str| {
        format!(
            "[[route]]\nmethods = [\"{method}\"]\npath = \"/{action}/{{writ}}/{{n}}\"\naction = \"{action}\"\n\
             resource = \"{{writ}}/{{n}}\"\n"
        )
    };
    let argument = "[[route.argument]]\nname = \"text\"\nfrom = \"json\"\ntype = \"string\"\n";
    format!(
        "name = \"load\"\nupstream = \"http://{upstream}\"\nallow_private = true\ncredential = \"load-key\"\n{}{}{}{}{argument}",
        route("GET", "call"),
        route("GET", "stream"),
        route("POST", "upload"),
        route("POST", "submit"),
    )
}

/// The binary: this build's, or the one that is named, of a copy of the tree with a fault put into it.
fn binary() -> String {
    #[expect(clippy::disallowed_methods, reason = "the tests of this test name a binary to try it on")]
    let named = std::env::var("WRIT_CHAOS_BINARY");
    named.unwrap_or_else(|_| env!("CARGO_BIN_EXE_writ").into())
}

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(args).current_dir(dir).env_clear().stdin(Stdio::null());
    command
}

/// What a command says that does not succeed.
fn refused(mut command: Command) -> Option<String> {
    let output = command.output().unwrap();
    let told = || format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (!output.status.success()).then(told)
}

/// Runs `writ`, which must succeed.
fn writ(dir: &Path, args: &[&str], input: &str) {
    let mut command = command(dir, args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

pub(crate) fn elapsed(since: Monotonic) -> Duration {
    SystemClock.monotonic().since(since)
}

/// Waits until `done`, with a deadline.
pub(crate) async fn eventually(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let begun = SystemClock.monotonic();
    while !done().await {
        assert!(elapsed(begun) < IN_THE_END, "it did not happen in time that {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
