//! The run with a schedule drawn from a seed: `CHAOS_SEED` and `CHAOS_SECONDS`, which `scripts/chaos` sets.

use std::sync::Arc;
use std::time::Duration;

use crate::check::findings;
use crate::faults::plan;
use crate::load::{Run, Tally};
use crate::random::Random;
use crate::system::{IN_THE_END, Size, System, Ways, elapsed};
use writ::clock::{Clock as _, SystemClock};

const SECONDS: u64 = 15;
/// Shorter than the default: leases end more often in the same time.
const SIZE: Size = Size { authorities: 2, edges: 5, lease_ms: 500, ways: Ways::Breakable };

/// A number from the environment.
fn setting(name: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "the seed of a run that failed is given from outside")]
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a whole number, got `{text}`")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_injected_after_a_receipt_and_nothing_is_lost_whatever_breaks() {
    let seed = setting("CHAOS_SEED").unwrap_or_else(|| u64::from_le_bytes(crate::writs::fresh()) >> 32);
    let length = Duration::from_secs(setting("CHAOS_SECONDS").unwrap_or(SECONDS));
    println!("chaos: seed {seed}, {} s: repeat it with `scripts/chaos --seed {seed}`", length.as_secs());

    let run = Arc::new(Run::new(System::raise(SIZE, Duration::from_millis(10)).await, seed).await);
    let planned = plan(seed, length, SIZE.edges, SIZE.authorities);
    let broken = planned.len();
    let mut faults = tokio::task::JoinSet::new();
    planned.into_iter().for_each(|planned| drop(faults.spawn(planned.happen(run.clone()))));
    let mut load = run.start(3, Duration::from_millis(60));

    run.pause(length).await;
    while let Some(ended) = faults.join_next().await {
        ended.unwrap();
    }
    run.system.heal().await;
    run.log.add("everything is mended");
    until_it_means_something(&run).await;
    run.finish();
    while let Some(ended) = load.join_next().await {
        ended.unwrap();
    }
    // One that goes without a fault: nothing that broke stays broken.
    let last = Random::new(seed, 9).next();
    run.revoke(&format!("block:{:032x}", u128::from(last)), "the last", &mut Random::new(seed, 10)).await;

    let findings = findings(&run).await;
    let revocations = run.revocations.lock().unwrap().len();
    println!("chaos: {broken} faults, {revocations} revocations, {:?}", run.tally);
    let shown = findings.iter().take(20).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(findings.is_empty(), "seed {seed}\n{}\n\n{} findings:\n{shown}", run.log.text(), findings.len());
}

/// A slow machine gets more time, not a weaker test.
async fn until_it_means_something(run: &Run) {
    let begun = SystemClock.monotonic();
    let tally = &run.tally;
    let wanted = [
        ("calls served", &tally.served, 200),
        ("refusals after a receipt", &tally.refused_dead, 50),
        ("calls refused for want of a lease", &tally.unavailable, 1),
        ("streams", &tally.streams, 10),
        ("streams cut", &tally.streams_cut, 3),
        ("uploads", &tally.uploads, 5),
        ("acknowledgements in receipts", &tally.acknowledged, 50),
        ("leases that ended in receipts", &tally.lease_ended, 1),
    ];
    while let Some((what, counter, least)) = wanted.iter().find(|(_, counter, least)| Tally::of(counter) < *least) {
        let so_far = Tally::of(counter);
        assert!(elapsed(begun) < IN_THE_END, "vacuous: {what}: {so_far} of {least}\n{}", run.log.text());
        run.pause(Duration::from_millis(50)).await;
    }
}
