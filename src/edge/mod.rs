//! The edge: from a request to an answer, with a credential in between that the caller never sees.
//!
//! Holds no database password and knows its authority by `wire` messages only. Without a valid lease it serves nothing.

pub mod channel;
pub mod follow;
pub mod join;
pub mod journal;
pub mod knowledge;
pub mod lend;
pub mod ship;
pub mod streams;

/// Fresh random bytes of the machine.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], aws_lc_rs::error::Unspecified> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes)?;
    Ok(bytes)
}
