//! What breaks, when, and for how long: drawn from the seed before anything runs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use writ::clock::{Clock as _, SystemClock};

use crate::load::Run;
use crate::postgres::Ending;
use crate::proxy::Link;
use crate::random::Random;

/// One thing that breaks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    StopEdge(usize),
    StopAuthority(usize),
    KillEdge(usize),
    KillAuthority(usize),
    /// Between an edge and one replica, or all of them.
    Feed(usize, Option<usize>, Link),
    /// Between a replica and Postgres.
    Store(usize, Link),
    RestartPostgres(Ending),
}

/// When it breaks, and when it is mended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planned {
    after: Duration,
    lasts: Duration,
    fault: Fault,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StopEdge(edge) => write!(f, "SIGSTOP of edge-{edge}"),
            Self::StopAuthority(authority) => write!(f, "SIGSTOP of authority-{authority}"),
            Self::KillEdge(edge) => write!(f, "kill -9 of edge-{edge}"),
            Self::KillAuthority(authority) => write!(f, "kill -9 of authority-{authority}"),
            Self::Feed(edge, Some(authority), link) => {
                write!(f, "between edge-{edge} and authority-{authority}: {link:?}")
            }
            Self::Feed(edge, None, link) => write!(f, "between edge-{edge} and every authority: {link:?}"),
            Self::Store(authority, link) => write!(f, "between authority-{authority} and Postgres: {link:?}"),
            Self::RestartPostgres(ending) => write!(f, "restart of Postgres: {ending:?}"),
        }
    }
}

/// The kinds of faults: a plan deals them all before it repeats one.
const KINDS: usize = 14;

/// Faults for so long. Each kind comes once before any comes twice.
pub(crate) fn plan(seed: u64, length: Duration, edges: usize, authorities: usize) -> Vec<Planned> {
    let mut random = Random::new(seed, 0);
    let length_ms = u64::try_from(length.as_millis()).unwrap();
    let kinds = KINDS as u64;
    // Every kind fits in, and on a long run something breaks all the time.
    let gap_ms = (length_ms * 8 / 10 / kinds).min(700);
    let (mut planned, mut at_ms, mut deck) = (Vec::new(), gap_ms / 2, Vec::new());
    while planned.len() < KINDS || at_ms < length_ms * 9 / 10 {
        if deck.is_empty() {
            deck = (0..KINDS).collect();
            random.shuffle(&mut deck);
        }
        // Expect safety: it was filled if it was empty.
        let kind = deck.pop().expect("the deck has cards");
        let fault = fault(kind, &mut random, edges, authorities);
        let lasts = Duration::from_millis(random.between(100, 2500));
        planned.push(Planned { after: Duration::from_millis(at_ms), lasts, fault });
        at_ms += random.between(gap_ms / 2, gap_ms + gap_ms / 2);
    }
    planned
}

fn fault(kind: usize, random: &mut Random, edges: usize, authorities: usize) -> Fault {
    let (edge, authority) = (random.below(edges), random.below(authorities));
    let one_or_all = [Some(authority), None][random.below(2)];
    let slow = Link::Slow(Duration::from_millis(random.between(5, 400)));
    match kind {
        0 | 1 => Fault::StopEdge(edge),
        2 => Fault::StopAuthority(authority),
        3 => Fault::KillEdge(edge),
        4 => Fault::KillAuthority(authority),
        5 => Fault::Feed(edge, one_or_all, Link::Cut),
        6 => Fault::Feed(edge, one_or_all, Link::Stalled),
        7 => Fault::Feed(edge, one_or_all, Link::HalfOpen),
        8 => Fault::Feed(edge, None, slow),
        9 => Fault::Store(authority, Link::Cut),
        10 => Fault::Store(authority, Link::Stalled),
        11 => Fault::Store(authority, Link::HalfOpen),
        12 => Fault::Store(authority, slow),
        _ => Fault::RestartPostgres([Ending::Fast, Ending::Immediate][random.below(2)]),
    }
}

impl Planned {
    /// Breaks it when it is time, and mends it.
    pub(crate) async fn happen(self, run: Arc<Run>) {
        let Self { after, lasts, fault } = self;
        let begun = SystemClock.monotonic();
        run.pause(after).await;
        run.log.add(format_args!("{fault}, for {} ms", lasts.as_millis()));
        set(&run, fault, false).await;
        run.pause(lasts).await;
        set(&run, fault, true).await;
        run.log.add(format_args!("{fault}: over after {:?}", SystemClock.monotonic().since(begun) - after));
    }
}

async fn set(run: &Arc<Run>, fault: Fault, mend: bool) {
    let system = &run.system;
    let to = |link: Link| if mend { Link::Open } else { link };
    match fault {
        Fault::StopEdge(edge) => stop(&system.edges[edge].process, mend),
        Fault::StopAuthority(authority) => stop(&system.authorities[authority].process, mend),
        Fault::KillEdge(edge) => kill(&system.edges[edge].process, mend),
        Fault::KillAuthority(authority) => kill(&system.authorities[authority].process, mend),
        Fault::Feed(edge, Some(authority), link) => system.edges[edge].feeds[authority].set(to(link)),
        Fault::Feed(edge, None, link) => system.edges[edge].set_feeds(to(link)),
        Fault::Store(authority, link) => system.authorities[authority].store.set(to(link)),
        Fault::RestartPostgres(_) if mend => {}
        Fault::RestartPostgres(ending) => {
            let run = run.clone();
            tokio::task::spawn_blocking(move || run.system.postgres.restart(ending)).await.unwrap();
        }
    }
}

fn stop(process: &crate::system::Process, go_on: bool) {
    if go_on { process.go_on() } else { process.stop() }
}

fn kill(process: &crate::system::Process, start: bool) {
    if start { process.start() } else { process.kill() }
}
