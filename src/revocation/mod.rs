//! What was revoked, how fresh that knowledge must be, and the step from a held token to a live one.
//!
//! Pure: the edge's follower feeds it, the authority fills the log. There is no way to take an entry back.

pub mod entry;
pub mod lease;
pub mod loan;
pub mod receipt;
pub mod set;
mod shards;
pub mod statement;

pub use entry::{Entry, Target};
pub use lease::Lease;
pub use loan::{Borrowed, Loan, Use};
pub use receipt::{NoReceipt, Receipt};
pub use set::{LiveToken, NotLive, RevocationSet};
pub use statement::{DeadBlock, ForgetAfter, OutOfSequence, Statement};
