//! The edge: from a request to an answer, with a credential in between that the caller never sees.
//!
//! Holds no database password and knows its authority by `wire` messages only. Without a valid lease it serves nothing.
//!
//! `server` (connections on their `workers`, `strict` framing) -> `door` -> `admit` (request to permit) -> `proxy` (`inject`, forward, `body`).
//! Beside them `follow` keeps `knowledge` fresh, `lend` borrows credentials, `journal` writes what was decided.

mod account;
mod admit;
pub mod approval;
mod body;
mod chains;
pub mod channel;
pub mod denial;
mod door;
pub mod follow;
pub mod framing;
mod inject;
pub mod join;
pub mod journal;
pub mod knowledge;
pub mod lend;
pub mod limits;
mod mutual;
mod nonce;
mod proxy;
mod replay;
mod room;
mod running;
mod server;
pub mod ship;
pub mod streams;
mod strict;
mod turns;
mod workers;

pub use running::{Bound, RunningEdge, StartError};
pub use server::ListenError;

/// Fresh random bytes of the machine.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], aws_lc_rs::error::Unspecified> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes)?;
    Ok(bytes)
}
