//! The journal reaches the authority: each record once, whatever is lost on the way.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use writ::audit::{Decision, Event, Head, Source, Verdict};
use writ::clock::SystemClock;
use writ::edge::channel::Channel;
use writ::edge::journal::{Journal, JournalError, Settings};
use writ::edge::ship::{ShipLimits, ShipStopped, Shipper, stored_head};
use writ::id::RequestId;

use super::double::{Double, Fault};
use super::{channel, clock, eventually};

fn source() -> Source {
    "edge:edge-1".parse().unwrap()
}

fn journal(dir: &Path, stored: Option<&Head>) -> Journal {
    Journal::open(dir, source(), stored, Arc::new(SystemClock), Settings::default()).unwrap().0
}

fn denial(n: u8) -> Event {
    Event::Decision(Box::new(Decision {
        request: RequestId::from_bytes([n; 16]),
        verdict: Verdict::Denied,
        reason: "no_route".into(),
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
        proof: None,
        by_connection: false,
        client: None,
    }))
}

const LIMITS: ShipLimits = ShipLimits {
    records_max: 10,
    bytes_max: 1 << 20,
    timeout: Duration::from_millis(200),
    gather: Duration::from_millis(1),
    pause_max: Duration::from_millis(50),
};

fn shipper(channel: &Arc<Channel>, journal: &Journal) -> Shipper {
    Shipper::new(channel.clone(), journal.clone(), source(), Arc::new(SystemClock), LIMITS)
}

fn shipping(double: &Double, journal: &Journal) -> JoinHandle<ShipStopped> {
    tokio::spawn(shipper(&Arc::new(channel(&[double])), journal).run())
}

pub(super) async fn append(journal: &Journal, range: std::ops::Range<u8>) {
    for n in range {
        journal.append(&denial(n)).await.unwrap();
    }
}

fn stored(double: &Double) -> Vec<u64> {
    double.mind().records.iter().map(|record| record.seq).collect()
}

#[tokio::test]
async fn records_arrive_in_order_and_the_journal_lets_go_of_them() {
    let (double, dir) = (Double::start(&clock()).await, crate::canaries::folder());
    let journal = journal(dir.path(), None);
    append(&journal, 0..25).await;
    let shipping = shipping(&double, &journal);
    eventually("25 records", || stored(&double) == (1..=25).collect::<Vec<_>>()).await;
    append(&journal, 25..30).await;
    eventually("30 records", || stored(&double).len() == 30).await;
    eventually("the journal's consent", || journal.unshipped_bytes() == 0).await;
    shipping.abort();
}

#[tokio::test]
async fn a_shipment_whose_answer_is_lost_is_stored_once() {
    let (double, dir) = (Double::start(&clock()).await, crate::canaries::folder());
    let journal = journal(dir.path(), None);
    append(&journal, 0..5).await;
    double.fault(Fault::LostAnswer);
    let shipping = shipping(&double, &journal);
    eventually("a repeated shipment", || double.mind().shipments > 2).await;
    append(&journal, 5..7).await;
    double.fault(Fault::None);
    eventually("the journal's consent", || journal.unshipped_bytes() == 0).await;
    assert_eq!(stored(&double), (1..=7).collect::<Vec<_>>());
    shipping.abort();
}

#[tokio::test]
async fn an_edge_that_died_before_it_heard_the_answer_ships_on_where_it_stood() {
    let (double, dir) = (Double::start(&clock()).await, crate::canaries::folder());
    {
        let journal = journal(dir.path(), None);
        append(&journal, 0..5).await;
        double.fault(Fault::LostAnswer);
        let shipping = shipping(&double, &journal);
        eventually("a shipment", || double.mind().shipments > 0).await;
        shipping.abort();
        assert!(shipping.await.unwrap_err().is_cancelled());
    }
    double.fault(Fault::None);
    let journal = journal(dir.path(), None);
    append(&journal, 5..8).await;
    let shipping = shipping(&double, &journal);
    eventually("the journal's consent", || journal.unshipped_bytes() == 0).await;
    assert_eq!(stored(&double), (1..=8).collect::<Vec<_>>());
    shipping.abort();
}

#[tokio::test]
async fn an_edge_that_lost_its_disk_continues_the_chain_that_the_authority_has() {
    let double = Double::start(&clock()).await;
    let channel = Arc::new(channel(&[&double]));
    let (first, second) = (crate::canaries::folder(), crate::canaries::folder());
    let before = journal(first.path(), None);
    append(&before, 0..5).await;
    shipper(&channel, &before).flush().await.unwrap();
    let head = stored_head(&channel, Duration::from_secs(5)).await.unwrap();
    assert_eq!(head.seq, 5);
    let after = journal(second.path(), Some(&head));
    append(&after, 5..7).await;
    shipper(&channel, &after).flush().await.unwrap();
    assert_eq!(stored(&double), (1..=7).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_second_edge_under_the_same_name_stops_shipping_and_keeps_its_records() {
    let double = Double::start(&clock()).await;
    let channel = Arc::new(channel(&[&double]));
    let (first, second) = (crate::canaries::folder(), crate::canaries::folder());
    let (one, other) = (journal(first.path(), None), journal(second.path(), None));
    append(&one, 0..3).await;
    append(&other, 7..9).await;
    shipper(&channel, &one).flush().await.unwrap();
    let stopped = shipper(&channel, &other).run().await;
    assert!(matches!(stopped, ShipStopped::Conflict(_)), "{stopped}");
    assert_eq!(other.next_batch(10, 1 << 20).await.unwrap().texts().len(), 2);
    assert_eq!(stored(&double).len(), 3);
}

#[tokio::test]
async fn a_conflict_that_the_authority_states_stops_shipping() {
    let (double, dir) = (Double::start(&clock()).await, crate::canaries::folder());
    let journal = journal(dir.path(), None);
    append(&journal, 0..1).await;
    double.fault(Fault::Conflict);
    let stopped = shipping(&double, &journal).await.unwrap();
    assert!(stopped.to_string().contains("they differ at 1"), "{stopped}");
}

#[tokio::test]
async fn an_answer_that_nobody_signed_moves_nothing() {
    for fault in [Fault::Forged, Fault::Gateway, Fault::Tampered] {
        let (double, dir) = (Double::start(&clock()).await, crate::canaries::folder());
        let journal = journal(dir.path(), None);
        append(&journal, 0..2).await;
        double.fault(fault);
        let shipping = shipping(&double, &journal);
        eventually("several shipments", || double.mind().shipments > 2).await;
        assert!(journal.unshipped_bytes() > 0, "{fault:?} was believed");
        assert!(!shipping.is_finished());
        shipping.abort();
    }
}

#[tokio::test]
async fn a_closed_journal_ends_shipping() {
    let (double, dir) = (Double::start(&clock()).await, crate::canaries::folder());
    let journal = journal(dir.path(), None);
    // Another journal's head: not what this one wrote.
    let foreign = Head { seq: 9, hash: "0".repeat(64).into() };
    assert!(matches!(journal.shipped(foreign).await, Err(JournalError::Diverged(9))));
    drop(double);
}
