//! The whole system under faults: real authority replicas on a real Postgres, real edges, callers who never rest.
//!
//! A failure is one of these, and nothing else:
//! - the upstream gets a request, or a byte of one, for something that was revoked, *later than the receipt for it*; or a
//!   caller gets an event that the upstream sent later than that. "Later" is an order, not a time: everything that lies in
//!   the upstream's sockets when the receipt is there counts as before it (`upstream::Upstream::mark`).
//! - a stream of something that was revoked does not end at the upstream;
//! - a revocation that was answered is not in the log, or more than once; the log has a gap;
//! - a receipt does not hold offline, or whoever asks again gets another one;
//! - a request that the upstream saw has no decision in the audit log, or two; a decision has no outcome; a chain is broken;
//! - a writ is refused with 401 that nobody has begun to revoke;
//! - the run was vacuous: too little was revoked, served or refused for the rest to mean anything.
//!
//! An error answer, a 503 and a call that is never answered are no failures: that is what faults are for. No assertion
//! depends on how fast this machine is.
//!
//! `scripts/chaos --help` says how to run it longer, with another seed, and against mutants of the code.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot set itself up has failed, and says where its traces are"
)]

#[path = "../it/world/address.rs"]
mod address;
mod check;
mod directed;
mod faults;
mod http;
mod load;
#[expect(dead_code, reason = "the other tests use more of it")]
#[path = "../it/support/postgres.rs"]
mod postgres;
mod proxy;
mod random;
mod schedule;
mod system;
mod upstream;
mod writs;
