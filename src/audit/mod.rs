//! What happened, by whom, and why: events, the hash chain that makes a change visible, and the check of it. Pure.
//!
//! Token bytes and secrets never appear here, only digests, ids and public keys.

pub mod ends;
pub mod event;
pub mod record;
pub mod shown;
mod text;
pub mod verify;

pub use ends::Injected;
pub use event::{Actor, Change, Decision, Event, Finish, Outcome, Verdict};
pub use record::{ChainError, Checkpoint, Head, Record, Source};
pub use shown::Shown;
pub use verify::{Checker, Finding, Report};
