//! Servers as processes: where they run, and what they have used.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use writ::clock::{Clock as _, Monotonic, SystemClock};

use crate::since;

/// The processes behind one address.
pub(crate) struct Process {
    children: Vec<Child>,
    /// Their settings; gone with them.
    dir: Option<TempDir>,
    began: Monotonic,
}

/// Where a process runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the servers' processor, alone.
    Server,
    /// On the others.
    Beside,
    /// Anywhere.
    Free,
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The load must not take what it measures. With one processor there is nothing to choose.
pub(crate) fn stay_off_the_servers_processor() {
    let all = processors();
    if all > 1 {
        let list = format!("1-{}", all - 1);
        let pinned = Command::new("taskset").args(["-acp", &list, &std::process::id().to_string()]).output();
        assert!(pinned.is_ok_and(|output| output.status.success()), "install util-linux: `taskset` is missing");
    }
}

/// A command for `program` at `place`.
pub(crate) fn command(place: Place, program: impl AsRef<Path>) -> Command {
    // A mask may name processors that are not there.
    let mask = match place {
        Place::Server => "0x1",
        Place::Free => "0xffffffffffffffff",
        // Where this process is.
        Place::Beside => return Command::new(program.as_ref()),
    };
    let mut command = Command::new("taskset");
    command.arg(mask).arg(program.as_ref());
    command
}

impl Process {
    /// A role of this very program, which says where it listens.
    pub(crate) fn role(place: Place, args: &[&str]) -> (Self, SocketAddr) {
        let began = SystemClock.monotonic();
        let mut child =
            command(place, std::env::current_exe().unwrap()).args(args).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        (Self { children: vec![child], dir: None, began }, line.trim().parse().unwrap())
    }

    /// Any program. What it says goes to `log` in `dir`.
    pub(crate) fn start(mut command: Command, dir: TempDir) -> Self {
        let began = SystemClock.monotonic();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        Self { children: vec![child], dir: Some(dir), began }
    }

    /// Together with another one, whose work counts as its own.
    pub(crate) fn with(mut self, mut other: Self) -> Self {
        self.children.append(&mut other.children);
        self
    }

    /// Ends it; answers the folder of its settings.
    pub(crate) fn ended(mut self) -> Option<TempDir> {
        self.end();
        self.dir.take()
    }

    fn end(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Processor time so far, of all threads.
    pub(crate) fn processor(&self) -> Duration {
        let of = |child: &Child| {
            let tasks = fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
            let nanoseconds = tasks.filter_map(|task| {
                let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
                text.split(' ').next()?.parse::<u64>().ok()
            });
            nanoseconds.sum::<u64>()
        };
        Duration::from_nanos(self.children.iter().map(of).sum())
    }

    /// The most memory that was resident at one time, in megabytes.
    pub(crate) fn peak_mb(&self) -> f64 {
        self.status("VmHWM:")
    }

    /// What is resident now, in megabytes.
    pub(crate) fn resident_mb(&self) -> f64 {
        self.status("VmRSS:")
    }

    fn status(&self, key: &str) -> f64 {
        let of = |child: &Child| {
            let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
        };
        self.children.iter().map(of).sum()
    }

    /// What it said.
    pub(crate) fn log(&self) -> String {
        self.dir.as_ref().and_then(|dir| fs::read_to_string(dir.path().join("log")).ok()).unwrap_or_default()
    }

    /// Waits until `path` is answered with 200. How long that took since the start; `None` if it never was.
    pub(crate) fn ready(&self, address: SocketAddr, path: &str) -> Option<Duration> {
        self.until(|| answers(address, path).is_some_and(|answer| answer.starts_with("HTTP/1.1 200")))
    }

    /// Waits until it can be connected to. How long that took since the start; `None` if it never could.
    pub(crate) fn listens(&self, address: SocketAddr) -> Option<Duration> {
        self.until(|| TcpStream::connect(address).is_ok())
    }

    fn until(&self, condition: impl Fn() -> bool) -> Option<Duration> {
        while since(self.began) < Duration::from_secs(60) {
            if condition() {
                return Some(since(self.began));
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
        None
    }
}

fn answers(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// An address that was free a moment ago, for a program that cannot say which one it took.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
