//! Failure is: a record that was answered for and is gone, a chain that does not verify, a refusal to start after a mere
//! kill, a start on a chain that was changed. Not failure: a record on disk that nobody was answered for.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use futures_util::FutureExt as _;

use super::*;
use crate::audit::{Decision, Record, Verdict};
use crate::clock::{ManualClock, Timestamp};
use crate::edge::journal::segment::Tail;
use crate::edge::journal::ship::Watermark;

const START: Timestamp = Timestamp::from_secs(1_795_000_000);

/// What the disk does next.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// How many of the next writes stop half way.
    writes: AtomicUsize,
    /// How many of the next cuts fail.
    cuts: AtomicUsize,
    /// How many of the next syncs fail.
    syncs: AtomicUsize,
    /// The next write hangs until the other end of this is dropped.
    hangs: Mutex<Option<mpsc::Receiver<()>>>,
}

pub(super) struct FaultyTail {
    file: File,
    faults: Arc<Faults>,
}

impl FaultyTail {
    pub(super) const fn new(file: File, faults: Arc<Faults>) -> Self {
        Self { file, faults }
    }
}

fn fails(left: &AtomicUsize) -> io::Result<()> {
    match left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) {
        Ok(_) => Err(io::Error::from(io::ErrorKind::StorageFull)),
        Err(_) => Ok(()),
    }
}

impl Tail for FaultyTail {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(hangs) = self.faults.hangs.lock().unwrap().take() {
            let _ = hangs.recv();
        }
        if let Err(error) = fails(&self.faults.writes) {
            self.file.append(&bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        self.file.append(bytes)
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        fails(&self.faults.cuts)?;
        self.file.cut(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        fails(&self.faults.syncs)?;
        self.file.sync()
    }
}

/// In memory where that is possible: hundreds of starts, each with its syncs, would wait for a busy disk for minutes.
pub(super) fn folder() -> tempfile::TempDir {
    let in_memory = Path::new("/dev/shm");
    if in_memory.is_dir() { tempfile::tempdir_in(in_memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

struct Bench {
    dir: tempfile::TempDir,
    clock: Arc<ManualClock>,
    settings: Settings,
    faults: Arc<Faults>,
}

impl Bench {
    fn new() -> Self {
        Self {
            dir: folder(),
            clock: Arc::new(ManualClock::at(START)),
            settings: Settings::default(),
            faults: Arc::default(),
        }
    }

    fn with(settings: Settings) -> Self {
        Self { settings, ..Self::new() }
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("journal")
    }

    fn try_open(&self, stored: Option<&Head>) -> Result<(Journal, Recovered), OpenError> {
        let disk = Disk::Faulty(Arc::clone(&self.faults));
        Journal::open_on(disk, &self.path(), source(), stored, self.clock.clone(), self.settings)
    }

    fn open(&self) -> (Journal, Recovered) {
        self.try_open(None).unwrap()
    }

    fn segments(&self) -> Vec<std::path::PathBuf> {
        segment::list(&self.path()).unwrap().into_iter().map(|first| segment::path(&self.path(), first)).collect()
    }
}

fn source() -> Source {
    Source::Edge("edge-1".parse().unwrap())
}

fn request(n: u8) -> RequestId {
    RequestId::from_bytes([n; 16])
}

fn decision(n: u8, verdict: Verdict, proof_until: Option<Timestamp>) -> Event {
    Event::Decision(Box::new(Decision {
        request: request(n),
        verdict,
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
        proof: proof_until.map(|until| UsedProof { id: hex::encode([n; 16]).into(), until }),
        by_connection: false,
        client: None,
    }))
}

fn denied(n: u8) -> Event {
    decision(n, Verdict::Denied, None)
}

fn allowed(n: u8) -> Event {
    decision(n, Verdict::Allowed, None)
}

fn outcome(n: u8) -> Event {
    let Event::Outcome(outcome) = unknown_outcome(request(n)) else { unreachable!() };
    Event::Outcome(Outcome { finish: Finish::Completed, ..outcome })
}

async fn everything(journal: &Journal) -> Vec<Record> {
    journal.next_batch(usize::MAX, usize::MAX).await.unwrap().records().unwrap()
}

fn assert_chain(records: &[Record]) {
    let mut head = Head::empty();
    for record in records {
        record.follows(&head).unwrap();
        head = record.head();
    }
}

#[tokio::test]
async fn a_record_that_was_answered_for_is_there_after_a_restart_and_the_chain_goes_on() {
    let bench = Bench::new();
    let (journal, found) = bench.open();
    assert_eq!(found.head, Head::empty());
    journal.append(&denied(1)).await.unwrap();
    let head = journal.append(&denied(2)).await.unwrap();
    drop(journal);

    let (journal, found) = bench.open();
    assert_eq!(found.head, head);
    assert_eq!(journal.append(&denied(3)).await.unwrap().seq, 3);
    let records = everything(&journal).await;
    assert_chain(&records);
    assert_eq!(records.iter().map(|r| r.read().unwrap()).collect::<Vec<_>>(), [denied(1), denied(2), denied(3)]);
}

#[tokio::test]
async fn a_kill_at_any_byte_of_a_write_leaves_the_records_before_it() {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    let first = journal.append(&denied(1)).await.unwrap();
    let kept = std::fs::metadata(&bench.segments()[0]).unwrap().len();
    journal.append(&allowed(2)).await.unwrap();
    drop(journal);
    let whole = std::fs::read(&bench.segments()[0]).unwrap();

    for end in usize::try_from(kept).unwrap()..whole.len() {
        std::fs::write(&bench.segments()[0], &whole[..end]).unwrap();
        let (journal, found) = bench.open();
        assert_eq!((found.head, found.torn_bytes), (first.clone(), end as u64 - kept), "{end}");
        assert_eq!(journal.append(&denied(3)).await.unwrap().seq, 2);
        assert_chain(&everything(&journal).await);
    }
}

#[tokio::test]
async fn a_chain_that_was_changed_elsewhere_than_at_its_end_does_not_open() {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    for n in 1..=3 {
        journal.append(&denied(n)).await.unwrap();
    }
    drop(journal);
    let path = &bench.segments()[0];
    let whole = std::fs::read_to_string(path).unwrap();
    let lines: Vec<&str> = whole.lines().collect();

    for (what, text) in [
        ("changed", whole.replacen("/notes", "/other", 1)),
        ("unreadable", whole.replacen("{\"source", "<\"source", 1)),
        ("removed", format!("{}\n{}\n", lines[0], lines[2])),
        ("first removed", format!("{}\n{}\n", lines[1], lines[2])),
        ("swapped", format!("{}\n{}\n{}\n", lines[1], lines[0], lines[2])),
        ("repeated", format!("{}\n{}\n", lines[0], lines[0])),
    ] {
        std::fs::write(path, text).unwrap();
        assert!(matches!(bench.try_open(None), Err(OpenError::Broken { .. })), "{what}");
    }
    std::fs::write(path, &whole).unwrap();
    assert_eq!(bench.open().1.head.seq, 3);
}

#[tokio::test]
async fn a_journal_belongs_to_one_edge_and_to_one_process() {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    journal.append(&denied(1)).await.unwrap();
    assert!(matches!(bench.try_open(None), Err(OpenError::Locked(_))));
    drop(journal);
    let other = Source::Edge("edge-2".parse().unwrap());
    let opened = Journal::open(&bench.path(), other, None, bench.clock.clone(), bench.settings);
    assert!(matches!(opened, Err(OpenError::Foreign { .. })));
}

#[tokio::test]
async fn nobody_else_can_read_a_journal() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = Bench::new();
    let (journal, _) = bench.open();
    let head = journal.append(&denied(1)).await.unwrap();
    journal.shipped(head).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&bench.path()), 0o700);
    for file in std::fs::read_dir(bench.path()).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
}

#[tokio::test]
async fn used_proofs_are_known_after_a_restart_as_long_as_a_replay_is_in_time() {
    let bench = Bench::with(Settings { segment_bytes: 1, ..Settings::default() });
    let (journal, _) = bench.open();
    let until = |s| START.after(Duration::from_secs(s));
    journal.append(&decision(1, Verdict::Denied, Some(until(10)))).await.unwrap();
    let head = journal.append(&decision(2, Verdict::Denied, Some(until(30)))).await.unwrap();
    // Shipping a segment does not make the edge forget the proofs in it.
    journal.shipped(head).await.unwrap();
    drop(journal);

    let ids = |found: Recovered| found.used_proofs.iter().map(|proof| proof.id[..2].to_owned()).collect::<Vec<_>>();
    assert_eq!(ids(bench.open().1), ["01", "02"]);
    bench.clock.advance(Duration::from_secs(11));
    assert_eq!(ids(bench.open().1), ["02"]);
    bench.clock.advance(Duration::from_secs(30));
    assert!(ids(bench.open().1).is_empty());
}

#[tokio::test]
async fn a_call_that_was_let_through_gets_an_unknown_outcome_after_a_kill_and_only_once() {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    for event in [allowed(1), allowed(2), denied(3), outcome(1)] {
        journal.append(&event).await.unwrap();
    }
    drop(journal);

    let (journal, found) = bench.open();
    assert_eq!(found.unfinished, [request(2)]);
    assert_eq!(everything(&journal).await[4].read().unwrap(), unknown_outcome(request(2)));
    drop(journal);
    assert!(bench.open().1.unfinished.is_empty());
}

#[tokio::test]
async fn a_call_is_still_unfinished_when_its_decision_was_shipped_and_dropped() {
    let bench = Bench::with(Settings { segment_bytes: 1, ..Settings::default() });
    let (journal, _) = bench.open();
    journal.append(&allowed(1)).await.unwrap();
    let head = journal.append(&denied(2)).await.unwrap();
    journal.shipped(head).await.unwrap();
    assert_eq!(bench.segments().len(), 1);
    // Also when more was shipped since, with nothing to drop.
    let head = journal.append(&denied(3)).await.unwrap();
    journal.shipped(head.clone()).await.unwrap();
    journal.shipped(head).await.unwrap();
    drop(journal);
    assert_eq!(bench.open().1.unfinished, [request(1)]);
}

#[tokio::test]
async fn concurrent_appends_form_one_chain_and_each_is_answered_with_its_own_place() {
    let bench = Bench::with(Settings { segment_bytes: 1, ..Settings::default() });
    let (journal, _) = bench.open();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..200 {
        let journal = journal.clone();
        tasks.spawn(async move { (n, journal.append(&denied(n)).await.unwrap()) });
    }
    let answers = tasks.join_all().await;
    let records = everything(&journal).await;
    assert_chain(&records);
    assert_eq!(records.len(), 200);
    for (n, head) in answers {
        let record = &records[usize::try_from(head.seq).unwrap() - 1];
        assert_eq!((record.read().unwrap(), record.head()), (denied(n), head));
    }
}

#[tokio::test]
async fn a_failed_write_refuses_the_call_and_leaves_no_half_record() {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    journal.append(&denied(1)).await.unwrap();
    bench.faults.writes.store(2, Ordering::SeqCst);
    for _ in 0..2 {
        assert!(matches!(journal.append(&allowed(2)).await, Err(JournalError::Write(_))));
    }
    // Space again.
    assert_eq!(journal.append(&denied(3)).await.unwrap().seq, 2);
    assert_chain(&everything(&journal).await);
    drop(journal);
    let (journal, found) = bench.open();
    assert_eq!((found.head.seq, found.torn_bytes), (2, 0));
    assert!(found.unfinished.is_empty());
    assert_eq!(everything(&journal).await[1].read().unwrap(), denied(3));
}

#[tokio::test]
async fn when_half_a_record_cannot_be_taken_back_the_journal_refuses_until_it_is_opened_again() {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    let head = journal.append(&denied(1)).await.unwrap();
    bench.faults.writes.store(1, Ordering::SeqCst);
    bench.faults.cuts.store(1, Ordering::SeqCst);
    assert!(matches!(journal.append(&allowed(2)).await, Err(JournalError::Write(_))));
    assert!(matches!(journal.append(&allowed(3)).await, Err(JournalError::Stopped)));
    assert_eq!(everything(&journal).await.len(), 1);
    drop(journal);
    let (_journal, found) = bench.open();
    assert_eq!(found.head, head);
    assert!(found.torn_bytes > 0);
}

#[tokio::test]
async fn after_a_failed_sync_the_journal_refuses_until_it_is_opened_again() {
    let bench = Bench::with(Settings { durability: Durability::Disk, ..Settings::default() });
    let (journal, _) = bench.open();
    journal.append(&denied(1)).await.unwrap();
    bench.faults.syncs.store(1, Ordering::SeqCst);
    assert!(matches!(journal.append(&allowed(2)).await, Err(JournalError::Write(_))));
    assert!(matches!(journal.append(&denied(3)).await, Err(JournalError::Stopped)));
    drop(journal);
    // The decision may be on disk: its call did not happen, which the unknown outcome leaves open.
    let (journal, found) = bench.open();
    assert_eq!(found.unfinished, [request(2)]);
    assert_chain(&everything(&journal).await);
}

#[tokio::test]
async fn what_no_authority_takes_fills_the_journal_and_then_every_new_call_is_refused() {
    let bench = Bench::with(Settings { unshipped_bytes_max: 2000, ..Settings::default() });
    let (journal, _) = bench.open();
    journal.append(&allowed(1)).await.unwrap();
    let mut last = Ok(Head::empty());
    for n in 2..20 {
        last = journal.append(&allowed(n)).await;
    }
    assert!(matches!(last, Err(JournalError::Full(2000))));
    // A call that was let through may still be finished.
    let head = journal.append(&outcome(1)).await.unwrap();
    assert!(journal.unshipped_bytes() > 1500);
    // Back-pressure ends when the authority is back.
    journal.shipped(head).await.unwrap();
    assert_eq!(journal.unshipped_bytes(), 0);
    journal.append(&allowed(20)).await.unwrap();
}

#[tokio::test]
async fn a_flood_of_denials_leaves_room_for_calls_that_are_let_through() {
    let bench = Bench::with(Settings { unshipped_bytes_max: 8000, ..Settings::default() });
    let (journal, _) = bench.open();
    let mut recorded = 0;
    while journal.append(&denied(recorded)).await.is_ok() {
        recorded += 1;
    }
    assert!(recorded > 4, "{recorded}");
    assert!(matches!(journal.append(&denied(recorded)).await, Err(JournalError::Full(8000))));
    journal.append(&allowed(100)).await.unwrap();
    journal.append(&outcome(100)).await.unwrap();

    let queue = Queue::new(4);
    let push = |event: &Event| queue.push(Waiting::new(event, None).unwrap());
    for n in 1..=3 {
        push(&denied(n)).unwrap();
    }
    assert!(matches!(push(&denied(4)), Err(JournalError::Busy)));
    push(&allowed(4)).unwrap();
}

#[test]
fn a_queue_that_is_full_refuses_new_calls_and_still_takes_outcomes() {
    let queue = Queue::new(2);
    let push = |event: &Event| queue.push(Waiting::new(event, None).unwrap());
    push(&allowed(1)).unwrap();
    push(&allowed(2)).unwrap();
    assert!(matches!(push(&allowed(3)), Err(JournalError::Busy)));
    push(&outcome(1)).unwrap();
    queue.linger();
    assert!(queue.wait());
    assert_eq!(queue.take().len(), 3);
    push(&allowed(3)).unwrap();
    queue.close();
    assert!(matches!(push(&allowed(4)), Err(JournalError::Stopped)));
    assert!(queue.wait());
    assert_eq!(queue.take().len(), 1);
    assert!(!queue.wait());
}

#[tokio::test]
async fn an_event_too_long_to_record_is_refused() {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    let Event::Decision(mut long) = denied(1) else { unreachable!() };
    long.detail = Some("x".repeat(Event::TEXT_BYTES_MAX).into());
    assert!(matches!(journal.append(&Event::Decision(long)).await, Err(JournalError::TooLong)));
}

#[tokio::test]
async fn a_batch_is_repeated_until_it_is_shipped_and_then_the_next_one_follows() {
    let bench = Bench::with(Settings { segment_bytes: 900, ..Settings::default() });
    let (journal, _) = bench.open();
    for n in 1..=10 {
        journal.append(&denied(n)).await.unwrap();
    }
    let seqs = |batch: &[Record]| batch.iter().map(|r| r.seq).collect::<Vec<_>>();
    let next = async |records, bytes| journal.next_batch(records, bytes).await.unwrap().records().unwrap();
    let batch = next(4, usize::MAX).await;
    assert_eq!(seqs(&batch), [1, 2, 3, 4]);
    assert_eq!(seqs(&next(4, usize::MAX).await), [1, 2, 3, 4]);
    journal.shipped(batch[3].head()).await.unwrap();
    // The answer was lost and the shipment repeated: the authority answers with the same head.
    journal.shipped(batch[3].head()).await.unwrap();
    journal.shipped(batch[1].head()).await.unwrap();
    assert_eq!(seqs(&next(100, 1).await), [5]);
    drop(journal);

    let (journal, _) = bench.open();
    let rest = everything(&journal).await;
    assert_eq!(seqs(&rest), [5, 6, 7, 8, 9, 10]);
    journal.shipped(rest[5].head()).await.unwrap();
    assert!(everything(&journal).await.is_empty());
    assert_eq!(bench.segments().len(), 1);
    drop(journal);
    let (journal, found) = bench.open();
    assert_eq!(found.head.seq, 10);
    assert_eq!(journal.append(&denied(11)).await.unwrap().seq, 11);
    assert_eq!(seqs(&everything(&journal).await), [11]);
}

#[tokio::test]
async fn an_authority_with_other_records_under_this_name_is_noticed() {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    let head = journal.append(&denied(1)).await.unwrap();
    let other = Head { seq: 1, hash: "f".repeat(64).into() };
    assert!(matches!(journal.shipped(other.clone()).await, Err(JournalError::Diverged(1))));
    let ahead = Head { seq: 2, ..head.clone() };
    assert!(matches!(journal.shipped(ahead).await, Err(JournalError::Diverged(2))));
    drop(journal);
    assert!(matches!(bench.try_open(Some(&other)), Err(OpenError::Broken { .. })));
    assert_eq!(bench.try_open(Some(&head)).unwrap().1.head, head);
}

#[tokio::test]
async fn an_edge_that_lost_its_disk_continues_the_chain_that_the_authority_has() {
    let bench = Bench::new();
    let stored = Head { seq: 500, hash: "ab".repeat(32).into() };
    let (journal, found) = bench.try_open(Some(&stored)).unwrap();
    assert_eq!(found.head, stored);
    journal.append(&denied(1)).await.unwrap();
    drop(journal);
    // Also without asking the authority again.
    let (journal, _) = bench.open();
    let records = everything(&journal).await;
    records[0].follows(&stored).unwrap();
    assert_eq!(journal.append(&denied(2)).await.unwrap().seq, 502);
}

#[tokio::test]
async fn a_journal_that_lost_its_end_continues_behind_what_was_shipped() {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    journal.append(&allowed(1)).await.unwrap();
    let head = journal.append(&denied(2)).await.unwrap();
    journal.shipped(head.clone()).await.unwrap();
    drop(journal);
    let path = &bench.segments()[0];
    let first_line = std::fs::read_to_string(path).unwrap().lines().next().unwrap().len() as u64 + 1;
    std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(first_line).unwrap();

    let (journal, found) = bench.open();
    assert_eq!(found.unfinished, [request(1)]);
    let records = everything(&journal).await;
    records[0].follows(&head).unwrap();
    assert_eq!(found.head, records[0].head());
}

#[tokio::test]
async fn an_authority_that_lost_records_gets_them_again_while_they_are_here_and_is_noticed_when_they_are_not() {
    let bench = Bench::with(Settings { segment_bytes: 1, ..Settings::default() });
    let (journal, _) = bench.open();
    let first = journal.append(&decision(1, Verdict::Denied, Some(START))).await.unwrap();
    let second = journal.append(&denied(2)).await.unwrap();
    journal.shipped(second.clone()).await.unwrap();
    drop(journal);
    let (journal, _) = bench.try_open(Some(&first)).unwrap();
    assert_eq!(everything(&journal).await[0].seq, 2);
    bench.clock.advance(Duration::from_secs(1));
    journal.append(&denied(3)).await.unwrap();
    let third = everything(&journal).await.last().unwrap().head();
    journal.shipped(third).await.unwrap();
    drop(journal);
    assert!(matches!(bench.try_open(Some(&first)), Err(OpenError::Gone { stored: 1, first: 3, .. })));
}

#[tokio::test]
async fn a_record_that_was_changed_on_disk_is_never_shipped() {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    journal.append(&denied(1)).await.unwrap();
    let path = &bench.segments()[0];
    let text = std::fs::read_to_string(path).unwrap().replace("/notes", "/other");
    std::fs::write(path, text).unwrap();
    // As it was written; and once the first attempt has failed, what the disk has.
    let batch = journal.next_batch(10, 1000).await.unwrap().records().unwrap();
    assert!(batch[0].is_whole().is_ok() && batch[0].event.get().contains("/notes"));
    assert!(matches!(journal.next_batch(10, 1000).await, Err(JournalError::Damaged(ChainError::Changed(1)))));
}

#[tokio::test]
async fn what_is_appended_together_is_one_write_before_the_thread_waits() {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    let before_waiting = journal.before_waiting();
    for n in 0..20 {
        let (first, second) = (allowed(2 * n + 1), denied(2 * n + 2));
        let appending = futures_util::future::join(journal.append(&first), journal.append(&second));
        let mut appending = std::pin::pin!(appending);
        let (first, second) = match appending.as_mut().now_or_never() {
            // The journal's own thread was faster.
            Some(written) => written,
            None => {
                before_waiting();
                appending.await
            }
        };
        assert_eq!(second.unwrap().seq, first.unwrap().seq + 1);
    }
    assert_chain(&everything(&journal).await);
    drop(journal);
    // It holds nothing open.
    before_waiting();
    assert_eq!(bench.open().1.unfinished.len(), 20);
}

#[tokio::test]
async fn what_is_appended_together_is_written_though_the_thread_never_waits() {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    for n in 0..5 {
        journal.append(&denied(n)).await.unwrap();
    }
    assert_eq!(journal.heads().borrow().seq, 5);
}

#[tokio::test]
async fn a_call_that_comes_while_the_shipper_writes_is_not_left_in_line() {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    let shipping = tokio::spawn({
        let journal = journal.clone();
        async move {
            loop {
                journal.submit(&outcome(1)).unwrap();
                everything(&journal).await;
            }
        }
    });
    let appends = async {
        for n in 0..200 {
            journal.append(&denied(n)).await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(60), appends).await.expect("each was written");
    shipping.abort();
}

#[tokio::test]
async fn the_watermark_is_written_before_records_are_dropped_and_at_the_end() {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    journal.append(&denied(1)).await.unwrap();
    let ship = async |journal: &Journal| {
        let batch = journal.next_batch(usize::MAX, usize::MAX).await.unwrap();
        journal.shipped(batch.head().unwrap().clone()).await.unwrap();
    };
    ship(&journal).await;
    let noted = || Watermark::read(&bench.path()).unwrap().map(|watermark| watermark.shipped.seq);
    assert_eq!(noted(), None);
    drop(journal);
    assert_eq!(noted(), Some(1));

    let bench = Bench::with(Settings { segment_bytes: 1, ..Settings::default() });
    let (journal, _) = bench.open();
    for n in 1..=3 {
        journal.append(&denied(n)).await.unwrap();
    }
    ship(&journal).await;
    assert_eq!(bench.segments().len(), 1);
    assert_eq!(Watermark::read(&bench.path()).unwrap().unwrap().shipped.seq, 3);
}

#[tokio::test]
async fn what_nobody_waits_for_is_in_the_batch_of_an_edge_that_ends() {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    journal.append(&allowed(1)).await.unwrap();
    for _ in 0..50 {
        journal.submit(&outcome(1)).unwrap();
        let batch = everything(&journal).await;
        journal.shipped(batch.last().unwrap().head()).await.unwrap();
        assert_eq!(journal.unshipped_bytes(), 0);
        assert!(everything(&journal).await.is_empty());
    }
}

#[tokio::test]
async fn the_shipper_is_woken_by_a_record_and_an_outcome_needs_nobody_to_wait_for_it() {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    let mut heads = journal.heads();
    journal.submit(&outcome(1)).unwrap();
    heads.wait_for(|head| head.seq == 1).await.unwrap();
    journal.submit(&outcome(2)).unwrap();
    // Dropping the journal writes what is queued.
    drop(journal);
    assert_eq!(bench.open().1.head.seq, 2);
}

#[tokio::test]
async fn a_disk_that_hangs_refuses_in_time_and_what_it_takes_at_last_is_in_the_chain() {
    let bench = Bench::with(Settings { write_timeout: Duration::from_millis(50), ..Settings::default() });
    let (journal, _) = bench.open();
    let (goes_on, hangs) = mpsc::channel();
    *bench.faults.hangs.lock().unwrap() = Some(hangs);
    for n in 1..=2 {
        let error = journal.append(&allowed(n)).await.unwrap_err();
        assert!(matches!(error, JournalError::Late(_)), "{error}");
        journal.submit(&unknown_outcome(request(n))).unwrap();
    }
    drop(goes_on);
    let patient = async {
        loop {
            match journal.append(&denied(3)).await {
                Ok(head) => return head,
                Err(error) => assert!(matches!(error, JournalError::Late(_)), "{error}"),
            }
        }
    };
    let head = tokio::time::timeout(Duration::from_secs(60), patient).await.unwrap();
    assert!(head.seq >= 5, "{head:?}: the two decisions, their outcomes, and one more");
    assert_chain(&everything(&journal).await);
    drop(journal);
    assert_eq!(bench.open().1.unfinished, []);
}
