//! The edge's journal and a real `SIGKILL`: what was answered for is there, the chain is whole, and the proofs are known.
//!
//! Not failure: records on disk whose answer never came out of the dead process.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use writ::audit::event::UsedProof;
use writ::audit::{Checker, Decision, Event, Head, Source, Verdict};
use writ::clock::{Clock, SystemClock};
use writ::edge::journal::{Journal, Recovered, Settings};
use writ::id::RequestId;

const DIR: &str = "WRIT_TEST_JOURNAL";

fn source() -> Source {
    "edge:killed".parse().unwrap()
}

fn open(dir: &Path) -> (Journal, Recovered) {
    let settings = Settings { segment_bytes: 20_000, ..Settings::default() };
    Journal::open(dir, source(), None, Arc::new(SystemClock), settings).unwrap()
}

fn decision(n: u64) -> Event {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&n.to_be_bytes());
    Event::Decision(Box::new(Decision {
        request: RequestId::from_bytes(id),
        verdict: Verdict::Allowed,
        reason: "allowed".into(),
        detail: None,
        who: None,
        method: "GET".into(),
        path: "/notes".into(),
        what: None,
        capability: None,
        also: Vec::new(),
        credential: None,
        policy: None,
        approval: None,
        revocation_seq: 0,
        proof: Some(UsedProof { id: n.to_string().into(), until: SystemClock.now().after(Duration::from_secs(600)) }),
        by_connection: false,
        client: None,
    }))
}

/// The process that is killed: says each place on its standard output once the journal has answered for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the test that kills it"]
#[expect(clippy::disallowed_methods, reason = "how a test tells its own process where to write")]
async fn victim() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let (journal, found) = open(Path::new(&dir));
    let first = found.head.seq + 1;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8 {
        let journal = journal.clone();
        tasks.spawn(async move {
            for n in 0_u64.. {
                let head = journal.append(&decision(first + 8 * n + task)).await.unwrap();
                println!("\nanswered {}", head.seq);
            }
        });
    }
    tasks.join_all().await;
}

/// Runs the victim until it has answered `answers` times, kills it, and returns the last place it answered for.
fn killed_after(dir: &Path, answers: usize) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "journal::victim", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let answered = lines.filter_map(|line| line.ok()?.strip_prefix("answered ")?.parse::<u64>().ok());
    let mut last = 0;
    for (count, seq) in answered.enumerate() {
        last = last.max(seq);
        if count == answers {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(last > 0, "the victim answered nothing");
    last
}

#[tokio::test]
async fn a_killed_edge_loses_nothing_that_it_answered_for() {
    let dir = crate::canaries::folder();
    let mut end = 0;
    for answers in [1, 40, 300] {
        let answered = killed_after(dir.path(), answers);
        let (journal, found) = open(dir.path());
        assert!(answered > end && found.head.seq >= answered, "{answered} was answered for, {:?} is there", found.head);
        // Each decision of this run is open, and its proof is known, as are those of the runs before.
        let decided = found.head.seq - found.unfinished.len() as u64 - end;
        assert_eq!(found.unfinished.len() as u64, decided);
        assert!(found.used_proofs.len() as u64 >= decided);
        end = found.head.seq;

        let records = journal.next_batch(usize::MAX, usize::MAX).await.unwrap().records().unwrap();
        let mut checker = Checker::new(source(), Head::empty(), &[], &[]);
        records.iter().for_each(|record| checker.push(record));
        let report = checker.finish();
        assert!(report.is_sound() && report.head == found.head, "{report:?}");
    }
}
