//! The lease protocol of `spec/revocation.md`, explored state by state: messages lost, delayed, repeated and out of order, processes
//! that crash or stand still, an edge's clock that runs slow, a database that fails over while a replica still reads the old one.
//!
//! One entry, one edge, two replicas: a receipt waits for each edge on its own account, and an entry for no other, so more of
//! either adds states and no behaviour. Every rule that the proof uses can be left out, and then the use after a receipt is found.

mod protocol;

use protocol::{Flaw, Protocol};
use stateright::{Checker as _, Model as _};

/// Explores every state; fails on a use after a receipt, and on a model in which nothing of interest happens.
fn holds(protocol: Protocol) {
    let checker = protocol.checker().threads(1).spawn_bfs().join();
    checker.assert_properties();
}

/// Explores until it finds a use after a receipt.
fn is_caught(flaw: Flaw, failover: bool) {
    let checker = Protocol { flaw: Some(flaw), failover }.checker().threads(1).spawn_bfs().join();
    assert!(checker.discovery(protocol::NO_USE_AFTER_A_RECEIPT).is_some(), "{flaw:?} changes nothing");
}

#[test]
fn no_credential_is_used_after_a_receipt_whatever_is_lost_delayed_stopped_or_slow() {
    holds(Protocol { flaw: None, failover: false });
}

#[test]
fn no_credential_is_used_after_a_receipt_across_a_failover_of_the_database() {
    holds(Protocol { flaw: None, failover: true });
}

#[test]
fn each_rule_is_needed() {
    for flaw in Flaw::WITHOUT_FAILOVER {
        is_caught(flaw, false);
    }
}

#[test]
fn a_replica_that_reads_an_old_primary_needs_the_fence() {
    is_caught(Flaw::LeaseWithoutAFence, true);
}
