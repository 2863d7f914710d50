//! Edges that draw on one count over a network that loses, repeats and reorders, and that crash at any moment.
//!
//! A failure is a spent sum beyond the bound, in any order of events. A request that is refused early is none.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;

use super::{Allotted, Ask, Bucket, Ledger, LedgerLimits, Moment, Need, Reservation, Short, Spent, allot};
use crate::clock::{Monotonic, Timestamp};

const EDGES: usize = 3;
const COUNTS: usize = 2;
const LIMITS: LedgerLimits = LedgerLimits {
    counts_max: 8,
    fresh: Duration::from_secs(1),
    idle: Duration::from_secs(2),
    forget: Duration::from_secs(3),
    turn: Duration::from_secs(30),
};

#[derive(Clone, Debug)]
enum Step {
    /// A request of so much of one count, or of both.
    Reserve {
        edge: usize,
        amounts: [i64; COUNTS],
    },
    Spend {
        edge: usize,
        which: usize,
    },
    Release {
        edge: usize,
        which: usize,
    },
    Refund {
        edge: usize,
        which: usize,
    },
    /// The edge sends what it has to ask.
    Ask {
        edge: usize,
    },
    /// A question arrives: not always in order, perhaps once more.
    Arrive {
        which: usize,
        again: bool,
    },
    /// An answer arrives, or the edge gives up waiting for it.
    Answer {
        edge: usize,
        lost: bool,
    },
    Pass {
        secs: u64,
    },
    Tidy {
        edge: usize,
    },
    /// The edge is killed and starts anew, knowing nothing.
    Crash {
        edge: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let (edge, which) = (0..EDGES, 0..8_usize);
    prop_oneof![
        6 => (edge.clone(), prop::array::uniform2(0..9_i64)).prop_map(|(edge, amounts)| Step::Reserve { edge, amounts }),
        3 => (edge.clone(), which.clone()).prop_map(|(edge, which)| Step::Spend { edge, which }),
        1 => (edge.clone(), which.clone()).prop_map(|(edge, which)| Step::Release { edge, which }),
        1 => (edge.clone(), which.clone()).prop_map(|(edge, which)| Step::Refund { edge, which }),
        4 => edge.clone().prop_map(|edge| Step::Ask { edge }),
        4 => (which, prop::bool::weighted(0.3)).prop_map(|(which, again)| Step::Arrive { which, again }),
        4 => (edge.clone(), prop::bool::weighted(0.2)).prop_map(|(edge, lost)| Step::Answer { edge, lost }),
        1 => (0..4_u64).prop_map(|secs| Step::Pass { secs }),
        1 => edge.clone().prop_map(|edge| Step::Tidy { edge }),
        1 => edge.prop_map(|edge| Step::Crash { edge }),
    ]
}

struct Edge {
    ledger: Ledger,
    process: u64,
    sent: u64,
    reserved: Vec<Reservation>,
    spent: Vec<Spent>,
    /// What it waits for.
    asked: Option<(u64, Vec<Ask>)>,
}

struct Message {
    from: (usize, u64),
    seq: u64,
    asks: Vec<Ask>,
}

/// What the store keeps: as `store::sql::limits` does.
#[derive(Default)]
struct Authority {
    used: HashMap<Bucket, i64>,
    holdings: HashMap<(Bucket, u64, u64), (u64, i64)>,
}

struct World {
    max: i64,
    now: Duration,
    edges: Vec<Edge>,
    processes: u64,
    wire: Vec<Message>,
    answers: HashMap<(usize, u64, u64), Vec<Option<Allotted>>>,
    authority: Authority,
    /// What was sent on to the services, for good.
    sent: [i64; COUNTS],
}

impl World {
    fn new(max: i64) -> Self {
        let mut world = Self {
            max,
            now: Duration::ZERO,
            edges: Vec::new(),
            processes: 0,
            wire: Vec::new(),
            answers: HashMap::new(),
            authority: Authority::default(),
            sent: [0; COUNTS],
        };
        for _ in 0..EDGES {
            let edge = world.fresh();
            world.edges.push(edge);
        }
        world
    }

    fn fresh(&mut self) -> Edge {
        self.processes += 1;
        let (reserved, spent) = (Vec::new(), Vec::new());
        Edge { ledger: Ledger::new(LIMITS), process: self.processes, sent: 0, reserved, spent, asked: None }
    }

    fn moment(&self) -> Moment {
        let now = Timestamp::from_millis(i64::try_from(self.now.as_millis()).unwrap());
        Moment { now, at: Monotonic::from_origin(self.now) }
    }

    fn bucket(n: usize) -> Bucket {
        Bucket {
            tenant: "t".parse().unwrap(),
            limit: format!("l{n}").parse().unwrap(),
            counted: "calls".into(),
            key: "agent:a".into(),
            start: Timestamp::from_secs(0),
        }
    }

    fn need(&self, n: usize, amount: i64) -> Need {
        Need {
            bucket: Self::bucket(n),
            amount,
            max: self.max,
            ends: Timestamp::from_secs(1_000_000),
            holding: 0,
            noted: 0,
        }
    }

    fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let moment = self.moment();
        match *step {
            Step::Reserve { edge, amounts } => {
                let needs: Vec<Need> =
                    (0..COUNTS).filter(|n| amounts[*n] > 0).map(|n| self.need(n, amounts[n])).collect();
                if let Ok(reservation) = self.edges[edge].ledger.reserve(needs, moment) {
                    self.edges[edge].reserved.push(reservation);
                }
            }
            Step::Spend { edge, which } => {
                let edge = &mut self.edges[edge];
                if which < edge.reserved.len() {
                    let spent = edge.ledger.spend(edge.reserved.remove(which));
                    for need in &spent.0 {
                        let n = usize::from(need.bucket.limit.as_str() == "l1");
                        self.sent[n] += need.amount;
                    }
                    edge.spent.push(spent);
                }
            }
            Step::Release { edge, which } => {
                let edge = &mut self.edges[edge];
                if which < edge.reserved.len() {
                    edge.ledger.release(edge.reserved.remove(which));
                }
            }
            Step::Refund { edge, which } => {
                let edge = &mut self.edges[edge];
                if which < edge.spent.len() {
                    let spent = edge.spent.remove(which);
                    for need in &spent.0 {
                        let n = usize::from(need.bucket.limit.as_str() == "l1");
                        self.sent[n] -= need.amount;
                    }
                    edge.ledger.refund(spent);
                }
            }
            Step::Ask { edge: at } => {
                let edge = &mut self.edges[at];
                if edge.asked.is_none() {
                    let asks = edge.ledger.asks(moment, 8);
                    prop_assert!(asks.iter().all(Ask::is_sound));
                    edge.sent += 1;
                    edge.asked = Some((edge.sent, asks.clone()));
                    self.wire.push(Message { from: (at, edge.process), seq: edge.sent, asks });
                }
            }
            Step::Arrive { which, again } => {
                if which < self.wire.len() {
                    let message = self.wire.remove(which);
                    let answer = self.authority.allot(self.max, &message);
                    let (at, process) = message.from;
                    self.answers.entry((at, process, message.seq)).or_insert(answer);
                    if again {
                        self.wire.push(message);
                    }
                }
            }
            Step::Answer { edge: at, lost } => {
                let edge = &mut self.edges[at];
                let Some((seq, asks)) = edge.asked.take() else { return Ok(()) };
                match self.answers.remove(&(at, edge.process, seq)) {
                    Some(answers) if !lost => edge.ledger.answered(&asks, &answers, moment),
                    Some(_) => edge.ledger.failed(&asks),
                    None if lost => edge.ledger.failed(&asks),
                    None => edge.asked = Some((seq, asks)),
                }
            }
            Step::Pass { secs } => self.now += Duration::from_secs(secs),
            Step::Tidy { edge } => self.edges[edge].ledger.tidy(moment),
            Step::Crash { edge } => self.edges[edge] = self.fresh(),
        }
        self.check()
    }

    fn check(&self) -> Result<(), TestCaseError> {
        for n in 0..COUNTS {
            let bucket = Self::bucket(n);
            let used = self.authority.used.get(&bucket).copied().unwrap_or(0);
            prop_assert!((0..=self.max).contains(&used), "{used} of {} are handed out", self.max);
            prop_assert!(self.sent[n] <= self.max, "{} of {} were spent", self.sent[n], self.max);
            prop_assert!(self.sent[n] >= 0);
        }
        Ok(())
    }
}

impl Authority {
    fn allot(&mut self, max: i64, message: &Message) -> Vec<Option<Allotted>> {
        let answer = |ask: &Ask| {
            let key = (ask.bucket.clone(), message.from.1, ask.holding);
            let (seq, held) = self.holdings.get(&key).copied().unwrap_or((0, 0));
            if message.seq <= seq {
                return None;
            }
            let used = self.used.entry(ask.bucket.clone()).or_default();
            let allotted = allot(ask, max, *used, held);
            *used = allotted.used;
            self.holdings.insert(key, (message.seq, allotted.held));
            Some(allotted)
        };
        message.asks.iter().map(answer).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn however_edges_draw_crash_and_give_back_no_more_is_spent_than_the_bound(
        max in 1..60_i64, steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut world = World::new(max);
        for step in &steps {
            world.take(step)?;
        }
    }
}

/// One edge, whose questions are answered at once.
fn reserved(world: &mut World, edge: usize, amount: i64) -> Result<(), Short> {
    let need = world.need(0, amount);
    let mut needs = vec![need];
    for _ in 0..4 {
        let moment = world.moment();
        match world.edges[edge].ledger.reserve(needs, moment) {
            Ok(reservation) => {
                world.edges[edge].reserved.push(reservation);
                return Ok(());
            }
            Err((again, Short::Wait)) => {
                needs = again;
                world.take(&Step::Ask { edge }).unwrap();
                let which = world.wire.len() - 1;
                world.take(&Step::Arrive { which, again: false }).unwrap();
                world.take(&Step::Answer { edge, lost: false }).unwrap();
            }
            Err((_, short)) => return Err(short),
        }
    }
    Err(Short::Wait)
}

#[test]
fn a_budget_of_100_serves_exactly_ten_requests_of_10() {
    let mut world = World::new(100);
    for _ in 0..10 {
        assert_eq!(reserved(&mut world, 0, 10), Ok(()));
    }
    assert_eq!(reserved(&mut world, 0, 10), Err(Short::Over(0)));
    assert_eq!(reserved(&mut world, 0, 101), Err(Short::TooMuch(0)));
}

#[test]
fn what_an_edge_released_or_left_idle_serves_another() {
    let mut world = World::new(10);
    assert_eq!(reserved(&mut world, 0, 9), Ok(()));
    assert_eq!(reserved(&mut world, 1, 5), Err(Short::Over(0)));
    world.take(&Step::Release { edge: 0, which: 0 }).unwrap();
    for step in [Step::Pass { secs: 2 }, Step::Tidy { edge: 0 }, Step::Ask { edge: 0 }] {
        world.take(&step).unwrap();
    }
    world.take(&Step::Arrive { which: 0, again: false }).unwrap();
    world.take(&Step::Answer { edge: 0, lost: false }).unwrap();
    assert_eq!(reserved(&mut world, 1, 10), Ok(()));
}

#[test]
fn what_a_killed_edge_held_stays_used() {
    let mut world = World::new(10);
    assert_eq!(reserved(&mut world, 0, 9), Ok(()));
    world.take(&Step::Crash { edge: 0 }).unwrap();
    assert_eq!(reserved(&mut world, 0, 2), Err(Short::Over(0)));
    assert_eq!(reserved(&mut world, 0, 1), Ok(()));
}

#[test]
fn of_several_limits_a_request_takes_all_or_nothing() {
    let mut world = World::new(10);
    assert_eq!(reserved(&mut world, 0, 10), Ok(()));
    let moment = world.moment();
    let both = vec![world.need(1, 3), world.need(0, 1)];
    assert!(matches!(world.edges[0].ledger.reserve(both, moment), Err((_, Short::Over(1)))));
    assert_eq!(world.edges[0].ledger.used(&World::bucket(1)), None);
    assert_eq!(world.edges[0].ledger.used(&World::bucket(0)), Some(10));
}

#[test]
fn a_repeated_question_that_comes_late_takes_nothing_back() {
    let mut world = World::new(100);
    assert_eq!(reserved(&mut world, 0, 10), Ok(()));
    world.take(&Step::Release { edge: 0, which: 0 }).unwrap();
    for step in [Step::Pass { secs: 2 }, Step::Tidy { edge: 0 }, Step::Ask { edge: 0 }] {
        world.take(&step).unwrap();
    }
    // Given back, and the answer is lost; then it holds much again. The first question comes once more.
    world.take(&Step::Answer { edge: 0, lost: true }).unwrap();
    let late = world.wire.pop().unwrap();
    assert_eq!(reserved(&mut world, 0, 100), Ok(()));
    world.wire.push(late);
    world.take(&Step::Arrive { which: 0, again: false }).unwrap();
    assert_eq!(reserved(&mut world, 1, 1), Err(Short::Over(0)));
}

#[test]
fn what_is_on_its_way_back_is_not_spent() {
    let mut world = World::new(10);
    assert_eq!(reserved(&mut world, 0, 9), Ok(()));
    world.take(&Step::Release { edge: 0, which: 0 }).unwrap();
    for step in [Step::Pass { secs: 2 }, Step::Tidy { edge: 0 }, Step::Ask { edge: 0 }] {
        world.take(&step).unwrap();
    }
    let (needs, moment) = (vec![world.need(0, 1)], world.moment());
    assert!(matches!(world.edges[0].ledger.reserve(needs, moment), Err((_, Short::Wait))));
}

#[test]
fn what_was_spent_of_a_forgotten_holding_is_not_refunded_to_the_next() {
    let mut world = World::new(10);
    assert_eq!(reserved(&mut world, 0, 10), Ok(()));
    for step in [Step::Spend { edge: 0, which: 0 }, Step::Pass { secs: 3 }, Step::Tidy { edge: 0 }] {
        world.take(&step).unwrap();
    }
    assert!(world.edges[0].ledger.is_empty());
    assert_eq!(reserved(&mut world, 0, 1), Err(Short::Over(0)));
    world.take(&Step::Refund { edge: 0, which: 0 }).unwrap();
    assert_eq!(reserved(&mut world, 0, 1), Err(Short::Over(0)));
}
