//! The moments that a random schedule meets too rarely, each brought about on purpose.
//!
//! A failure is a request, a byte or an event for something revoked that is later than its receipt, as in the other runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Method;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use writ::clock::{Clock as _, SystemClock};

use crate::http::request;
use crate::load::head_of;
use crate::proxy::Link;
use crate::system::{Edge, IN_THE_END, Size, System, Ways, elapsed, eventually};
use crate::upstream::{Mark, Seen};
use crate::writs::{Agent, Family, Writ, Writs};

const FEED: &str = "/v1/edge/feed";
const LEND: &str = "/v1/edge/lend";

/// An installation, and an agent that is given whatever it asks for.
struct Stage {
    system: System,
    writs: Writs,
    agent: Agent,
    next: AtomicU64,
}

impl Stage {
    async fn set(authorities: usize, lease_ms: u64) -> Self {
        let size = Size { authorities, edges: 1, lease_ms, ways: Ways::Breakable };
        let system = System::raise(size, Duration::from_millis(1)).await;
        let agent = Agent::register(&system, "agent").await;
        Self { system, writs: Writs::default(), agent, next: AtomicU64::new(0) }
    }

    fn edge(&self) -> &Edge {
        &self.system.edges[0]
    }

    async fn family(&self) -> Family {
        self.writs.family(&self.system, 0, &self.agent, IN_THE_END).await.unwrap()
    }

    fn path(&self, action: &str, writ: &Writ) -> String {
        format!("/{action}/{}/{}", writ.number, self.next.fetch_add(1, Ordering::Relaxed))
    }

    fn url(&self, path: &str) -> String {
        format!("{}/load{path}", self.edge().url)
    }

    /// Calls once. The status, or none without an answer.
    async fn call(&self, writ: &Writ) -> Option<u16> {
        self.call_at(writ, &self.path("call", writ)).await
    }

    async fn call_at(&self, writ: &Writ, path: &str) -> Option<u16> {
        let url = self.url(path);
        let asked = request(Method::GET, &url, writ.headers("GET", &url), "");
        Some(self.system.http.send(asked, IN_THE_END).await.ok()?.status.as_u16())
    }

    /// Calls until it is served: from then on the edge has the credential.
    async fn served(&self, writ: &Writ) {
        eventually("a live writ is served", async || self.call(writ).await == Some(200)).await;
    }

    /// Calls until the edge has an opinion about it, which is that it is revoked.
    async fn refused(&self, writ: &Writ) {
        let mut status = None;
        let decided = async || {
            status = self.call(writ).await;
            status != Some(503)
        };
        eventually("the edge has a lease", decided).await;
        assert_eq!(status, Some(401));
    }

    /// Revokes, and answers how the edge came to it, and where in the upstream's order the receipt came.
    async fn revoked(&self, writ: &Writ) -> (String, Mark) {
        let own = writ.targets.iter().rfind(|target| target.starts_with("block:")).unwrap();
        let receipt: Value = self.system.revoke(own).await;
        let mark = self.system.upstream.mark();
        (receipt["edges"][0]["how"].as_str().unwrap().to_owned(), mark)
    }

    /// Opens a stream and reads of it. On a busy machine an edge may be without a lease for a while.
    async fn stream(&self, writ: &Writ) -> Stream {
        let begun = SystemClock.monotonic();
        while elapsed(begun) < IN_THE_END {
            let path = self.path("stream", writ);
            let url = self.url(&path);
            let asked = request(Method::GET, &url, writ.headers("GET", &url), "");
            let answer = self.system.http.open(asked, IN_THE_END).await.unwrap();
            let mut stream = Stream { path, body: answer.into_body(), last: None };
            if stream.next().await && stream.last.is_some() {
                return stream;
            }
        }
        panic!("no stream was opened in time");
    }

    /// A request with half of its body sent, and that half seen by the upstream.
    async fn half_uploaded(&self, writ: &Writ) -> (String, TcpStream) {
        let begun = SystemClock.monotonic();
        while elapsed(begun) < IN_THE_END {
            let path = self.path("upload", writ);
            let mut upload = self.connection().await;
            let head = head_of(writ, "POST", &self.url(&path), "content-length: 20\r\n");
            upload.write_all(format!("{head}0123456789").as_bytes()).await.unwrap();
            let half = || self.system.upstream.seen_at(&path).first().is_some_and(|seen| seen.body_bytes == 10);
            // An answer before its time is a refusal.
            while !half()
                && upload.try_read(&mut [0; 1]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
            {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            if half() {
                return (path, upload);
            }
        }
        panic!("no upload was begun in time");
    }

    /// A connection to the edge on which nothing has been said.
    async fn connection(&self) -> TcpStream {
        TcpStream::connect(self.edge().address).await.unwrap()
    }

    /// What the upstream got for `writ` later than the receipt.
    fn after(&self, writ: &Writ, mark: Mark) -> Vec<Seen> {
        // Whatever is under way is taken in.
        self.system.upstream.mark();
        let seen = self.system.upstream.seen();
        seen.into_iter().filter(|seen| seen.writ == writ.number && seen.last_byte > mark).collect()
    }

    /// So many callers try `writ` until `length` is over.
    async fn try_for(&self, writ: &Arc<Writ>, length: Duration) {
        let begun = SystemClock.monotonic();
        let caller = async || {
            while elapsed(begun) < length {
                self.call(writ).await;
            }
        };
        tokio::join!(caller(), caller(), caller());
    }
}

/// An open stream.
struct Stream {
    path: String,
    body: Incoming,
    last: Option<Mark>,
}

impl Stream {
    /// Reads the next piece; whether there was one.
    async fn next(&mut self) -> bool {
        let Some(Ok(frame)) = self.body.frame().await else { return false };
        let Ok(data) = frame.into_data() else { return true };
        let text = String::from_utf8_lossy(&data).into_owned();
        let last = text.lines().filter_map(|line| Mark::from_event(line.strip_prefix("data: ")?)).max();
        self.last = last.max(self.last);
        true
    }

    /// Reads to the end: nothing in it was sent later than `mark`.
    async fn ends_before(mut self, stage: &Stage, mark: Mark) {
        while tokio::time::timeout(IN_THE_END, self.next()).await.unwrap() {
            assert!(self.last <= Some(mark), "{:?} was delivered, sent after the receipt at {mark:?}", self.last);
        }
        let upstream = &stage.system.upstream;
        eventually("the edge ends the stream", async || upstream.seen_at(&self.path).iter().all(|seen| !seen.open))
            .await;
    }
}

/// The raw bytes of a call.
fn call_bytes(stage: &Stage, writ: &Writ, path: &str) -> Vec<u8> {
    head_of(writ, "GET", &stage.url(path), "").into_bytes()
}

/// The status of the next answer; none if the connection ends.
async fn status(stream: &mut TcpStream) -> Option<u16> {
    let mut answer = [0; 12];
    let read = tokio::time::timeout(IN_THE_END, stream.read_exact(&mut answer)).await.unwrap();
    read.ok()?;
    std::str::from_utf8(&answer[9..]).unwrap().parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_waits_for_its_credential_across_a_receipt_is_refused() {
    let stage = Stage::set(1, 1000).await;
    for _ in 0..3 {
        let family = stage.family().await;
        let feed = &stage.edge().feeds[0];
        let held = feed.next_held();
        feed.set(Link::AnswersHeld(LEND));
        let path = stage.path("call", &family.first);
        let (asked, ()) = tokio::join!(stage.call_at(&family.first, &path), async {
            // Admitted, its decision written: only the credential is missing. Or refused, if there was no lease.
            let _ = tokio::time::timeout(IN_THE_END / 9, held).await;
            stage.revoked(&family.first).await;
            feed.set(Link::Open);
        });
        assert!(matches!(asked, Some(401 | 503)), "{asked:?}");
        assert!(stage.system.upstream.seen_at(&path).is_empty());
        stage.served(&family.root).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_comes_after_the_receipt_renews_no_lease() {
    // So short that a receipt comes before the edge gives up on its request.
    let stage = Stage::set(1, 100).await;
    let mut timely = 0;
    for _ in 0..12 {
        let family = stage.family().await;
        stage.served(&family.first).await;
        let feed = &stage.edge().feeds[0];
        let held = feed.next_held();
        feed.set(Link::AnswersHeld(FEED));
        // The authority has answered, and does not know of what comes next.
        held.await;
        let begun = SystemClock.monotonic();
        let (_, mark) = stage.revoked(&family.first).await;
        timely += u32::from(elapsed(begun) < Duration::from_millis(200));
        feed.set(Link::AnswersOnly);
        stage.try_for(&family.first, Duration::from_millis(150)).await;
        assert_eq!(stage.after(&family.first, mark).len(), 0, "{:?}", stage.after(&family.first, mark));
        feed.set(Link::Open);
        if timely == 3 {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_delivers_nothing_that_was_sent_after_the_receipt() {
    let stage = Stage::set(1, 1000).await;
    let mut acknowledged = 0;
    for _ in 0..5 {
        let family = stage.family().await;
        stage.served(&family.second).await;
        let mut streams = Vec::new();
        for writ in [&family.first, &family.second] {
            streams.push(stage.stream(writ).await);
        }
        let (how, mark) = stage.revoked(&family.first).await;
        acknowledged += u32::from(how == "acknowledged");
        for stream in streams {
            stream.ends_before(&stage, mark).await;
        }
        // A sibling lives.
        drop(stage.stream(&family.other).await);
    }
    assert!(acknowledged > 0, "no round was about an acknowledgement");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_edge_that_goes_on_after_the_receipt_refuses_what_waits_in_its_sockets() {
    let stage = Stage::set(1, 300).await;
    for round in 0..6 {
        let family = stage.family().await;
        stage.served(&family.first).await;
        let mut streams = Vec::new();
        for _ in 0..4 {
            streams.push(stage.stream(&family.first).await);
        }
        let (edge, feed) = (stage.edge(), &stage.edge().feeds[0]);
        let paths = [stage.path("call", &family.first), stage.path("call", &family.root)];
        let mut connections = [stage.connection().await, stage.connection().await];
        if round % 2 == 0 {
            // Its request for a new lease is answered while it is stopped.
            let held = feed.next_held();
            feed.set(Link::AnswersHeld(FEED));
            held.await;
        }
        edge.process.stop();
        // What the upstream sends from now on the edge can only read when it goes on, and then its lease is over.
        let stopped = stage.system.upstream.mark();
        for ((connection, path), writ) in connections.iter_mut().zip(&paths).zip([&family.first, &family.root]) {
            connection.write_all(&call_bytes(&stage, writ, path)).await.unwrap();
        }
        feed.set(Link::Open);
        let (how, mark) = stage.revoked(&family.first).await;
        assert_eq!(how, "lease_ended");
        edge.process.go_on();
        let refused = status(&mut connections[0]).await;
        assert!(matches!(refused, None | Some(401 | 503)), "{refused:?}");
        assert!(stage.system.upstream.seen_at(&paths[0]).is_empty());
        // The other one is answered, served or not.
        assert!(status(&mut connections[1]).await.is_some());
        for stream in streams {
            stream.ends_before(&stage, stopped).await;
        }
        stage.try_for(&family.first, Duration::from_millis(50)).await;
        assert!(stage.after(&family.first, mark).is_empty(), "{:?}", stage.after(&family.first, mark));
        stage.served(&family.root).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_that_is_cut_off_serves_nothing_after_the_receipt() {
    let stage = Stage::set(1, 500).await;
    for link in [Link::Stalled, Link::HalfOpen, Link::Cut] {
        let family = stage.family().await;
        stage.served(&family.first).await;
        let stream = stage.stream(&family.first).await;
        stage.edge().set_feeds(link);
        let ((how, mark), ()) =
            tokio::join!(stage.revoked(&family.first), stage.try_for(&family.first, Duration::from_millis(1200)));
        assert_eq!(how, "lease_ended");
        assert!(stage.after(&family.first, mark).is_empty(), "{:?}", stage.after(&family.first, mark));
        stream.ends_before(&stage, mark).await;
        stage.edge().set_feeds(Link::Open);
        stage.served(&family.root).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_cut_off_from_the_store_renews_no_lease() {
    let stage = Stage::set(2, 500).await;
    // The edge follows the second replica, the operator asks the first.
    stage.edge().feeds[0].set(Link::Cut);
    for link in [Link::Stalled, Link::HalfOpen, Link::Cut] {
        let family = stage.family().await;
        stage.served(&family.first).await;
        stage.system.authorities[1].store.set(link);
        let ((how, mark), ()) =
            tokio::join!(stage.revoked(&family.first), stage.try_for(&family.first, Duration::from_millis(1200)));
        assert_eq!(how, "lease_ended");
        assert!(stage.after(&family.first, mark).is_empty(), "{:?}", stage.after(&family.first, mark));
        stage.system.authorities[1].store.set(Link::Open);
        stage.served(&family.root).await;
        stage.refused(&family.first).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_a_receipt_overtakes_sends_nothing_more() {
    let stage = Stage::set(1, 1000).await;
    for stopped in [false, true] {
        let family = stage.family().await;
        stage.served(&family.first).await;
        let (path, mut upload) = stage.half_uploaded(&family.first).await;
        if stopped {
            stage.edge().process.stop();
            upload.write_all(b"0123456789").await.unwrap();
        }
        let (how, mark) = stage.revoked(&family.first).await;
        if stopped {
            assert_eq!(how, "lease_ended");
            stage.edge().process.go_on();
        } else {
            // The edge may have closed the connection already.
            let _ = upload.write_all(b"0123456789").await;
        }
        assert_ne!(status(&mut upload).await, Some(200));
        assert!(stage.after(&family.first, mark).is_empty());
        assert_eq!(stage.system.upstream.seen_at(&path)[0].body_bytes, 10);
        stage.served(&family.root).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_read_across_a_receipt_is_refused_before_the_upstream_sees_anything() {
    let stage = Stage::set(1, 1000).await;
    for stopped in [false, true] {
        let family = stage.family().await;
        stage.served(&family.first).await;
        let path = stage.path("submit", &family.first);
        let mut submit = stage.connection().await;
        let (body, more) = (r#"{"text":"#, "content-type: application/json\r\ncontent-length: 13\r\n");
        let head = head_of(&family.first, "POST", &stage.url(&path), more);
        submit.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        if stopped {
            stage.edge().process.stop();
            submit.write_all(br#""ab"}"#).await.unwrap();
        }
        let (_, mark) = stage.revoked(&family.first).await;
        if stopped {
            stage.edge().process.go_on();
        } else {
            // The edge may have closed the connection already.
            let _ = submit.write_all(br#""ab"}"#).await;
        }
        let refused = status(&mut submit).await;
        assert!(matches!(refused, Some(401 | 503)), "{refused:?}");
        assert!(stage.after(&family.first, mark).is_empty());
        assert!(stage.system.upstream.seen_at(&path).is_empty());
        stage.served(&family.root).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_that_is_killed_and_started_again_serves_nothing_until_it_has_the_log() {
    let stage = Stage::set(1, 300).await;
    for _ in 0..2 {
        let family = stage.family().await;
        stage.served(&family.first).await;
        let edge = stage.edge();
        edge.process.kill();
        let (how, mark) = stage.revoked(&family.first).await;
        assert_eq!(how, "lease_ended");
        edge.set_feeds(Link::Stalled);
        edge.process.start();
        for writ in [&family.first, &family.root] {
            let unavailable = async || stage.call(writ).await == Some(503);
            eventually("the edge answers that it serves nothing", unavailable).await;
        }
        edge.set_feeds(Link::Open);
        stage.served(&family.root).await;
        stage.refused(&family.first).await;
        assert!(stage.after(&family.first, mark).is_empty());
    }
}
