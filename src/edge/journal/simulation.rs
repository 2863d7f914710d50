//! Random lives of an edge: calls, shipments whose answers get lost, power cuts in the middle of a write, restarts.
//!
//! Failure is: an authority that gets anything but one whole chain, a record that it got and the edge lost, a call that was
//! let through and ends with no outcome or with two. Not failure: records that were never shipped and are lost in a power cut.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::audit::{Decision, Record, Verdict};
use crate::clock::{ManualClock, Timestamp};

#[derive(Clone, Debug)]
enum Step {
    /// A call is let through.
    Decide,
    /// The oldest open call ends.
    Finish,
    /// The authority takes up to this many records; its answer may get lost.
    Ship { records: usize, answered: bool },
    /// Time passes.
    Wait,
    /// The process ends; of what was never shipped, the disk loses up to this many bytes. It may ask the authority where
    /// its chain ends before it goes on.
    Restart { lost_bytes: usize, asks: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Decide),
        2 => Just(Step::Finish),
        3 => (1_usize..12, prop::bool::weighted(0.8)).prop_map(|(records, answered)| Step::Ship { records, answered }),
        2 => Just(Step::Wait),
        1 => (0_usize..1500, any::<bool>()).prop_map(|(lost_bytes, asks)| Step::Restart { lost_bytes, asks }),
    ];
    prop::collection::vec(step, 1..60)
}

struct World {
    dir: tempfile::TempDir,
    clock: Arc<ManualClock>,
    journal: Option<Journal>,
    /// What the authority has.
    stored: Vec<Record>,
    /// The last place that was handed out to be shipped: the disk has it.
    handed_out: u64,
    open: Vec<RequestId>,
    requests: u64,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            dir: tests::folder(),
            clock: Arc::new(ManualClock::at(Timestamp::from_secs(1_795_000_000))),
            journal: None,
            stored: Vec::new(),
            handed_out: 0,
            open: Vec::new(),
            requests: 0,
        };
        world.start(None);
        world
    }

    fn start(&mut self, stored: Option<&Head>) {
        let settings = Settings { segment_bytes: 1000, ..Settings::default() };
        let source = Source::Edge("edge-1".parse().unwrap());
        let (journal, found) = Journal::open(self.dir.path(), source, stored, self.clock.clone(), settings).unwrap();
        assert!(found.head.seq >= self.handed_out);
        self.journal = Some(journal);
        self.open.clear();
    }

    fn journal(&self) -> &Journal {
        self.journal.as_ref().unwrap()
    }

    fn stored_head(&self) -> Head {
        self.stored.last().map_or_else(Head::empty, Record::head)
    }

    async fn decide(&mut self) {
        self.requests += 1;
        let request = RequestId::from_bytes(u128::from(self.requests).to_be_bytes());
        let proof =
            UsedProof { id: request.to_string().into(), until: self.clock.now().after(Duration::from_secs(30)) };
        let decision = Decision {
            request,
            verdict: Verdict::Allowed,
            reason: "allowed".into(),
            detail: None,
            who: None,
            method: "GET".into(),
            path: "/".into(),
            what: None,
            capability: None,
            also: Vec::new(),
            credential: None,
            policy: None,
            approval: None,
            revocation_seq: 0,
            proof: Some(proof),
            by_connection: false,
            client: None,
        };
        self.journal().append(&Event::Decision(Box::new(decision))).await.unwrap();
        self.open.push(request);
    }

    async fn finish(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let Event::Outcome(outcome) = unknown_outcome(self.open.remove(0)) else { unreachable!() };
        let event = Event::Outcome(Outcome { finish: Finish::Completed, ..outcome });
        self.journal().append(&event).await.unwrap();
    }

    async fn ship(&mut self, records: usize, answered: bool) -> usize {
        let batch = self.journal().next_batch(records, usize::MAX).await.unwrap().records().unwrap();
        self.handed_out = batch.last().map_or(self.handed_out, |record| record.seq.max(self.handed_out));
        for record in &batch {
            match self.stored.get(usize::try_from(record.seq).unwrap() - 1) {
                Some(known) => assert_eq!(known.hash, record.hash),
                None => {
                    record.follows(&self.stored_head()).unwrap();
                    self.stored.push(record.clone());
                }
            }
        }
        if answered {
            self.journal().shipped(self.stored_head()).await.unwrap();
        }
        batch.len()
    }

    fn restart(&mut self, lost_bytes: usize, asks: bool) {
        self.journal = None;
        cut_unshipped(self.dir.path(), self.handed_out, lost_bytes);
        let stored = self.stored_head();
        self.start(asks.then_some(&stored));
    }

    async fn live(&mut self, step: Step) {
        match step {
            Step::Decide => self.decide().await,
            Step::Finish => self.finish().await,
            Step::Ship { records, answered } => drop(self.ship(records, answered).await),
            Step::Wait => self.clock.advance(Duration::from_secs(40)),
            Step::Restart { lost_bytes, asks } => self.restart(lost_bytes, asks),
        }
    }
}

/// Cuts up to `bytes` off the last segment, but no record up to `kept`.
fn cut_unshipped(dir: &Path, kept: u64, bytes: usize) {
    let path: PathBuf = segment::path(dir, *segment::list(dir).unwrap().last().unwrap());
    let text = std::fs::read_to_string(&path).unwrap();
    let is_kept = |line: &&str| serde_json::from_str::<Record>(line).unwrap().seq <= kept;
    let floor: usize = text.split_inclusive('\n').take_while(is_kept).map(str::len).sum();
    let end = text.len().saturating_sub(bytes).max(floor);
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(end as u64).unwrap();
}

fn assert_every_call_has_one_outcome(records: &[Record]) {
    let mut outcomes: HashMap<RequestId, usize> = HashMap::new();
    for record in records {
        match record.read().unwrap() {
            Event::Decision(decision) => assert!(outcomes.insert(decision.request, 0).is_none()),
            Event::Outcome(outcome) => *outcomes.get_mut(&outcome.request).expect("an outcome has a decision") += 1,
            Event::Change(_) => unreachable!(),
        }
    }
    assert!(outcomes.values().all(|count| *count == 1), "{outcomes:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn whatever_happens_the_authority_gets_one_whole_chain_with_one_outcome_for_each_call(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            for step in steps {
                world.live(step).await;
            }
            world.restart(0, true);
            while world.ship(3, true).await > 0 {}
            assert_every_call_has_one_outcome(&world.stored);
        });
    }
}
