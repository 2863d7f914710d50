//! The writ: a profile of Biscuit, and the proof that its holder presents it. `spec/token.md` is the contract.
//!
//! `RawToken -verify-> Chain -current-> VerifiedToken -prove-> HeldToken`: each arrow is the only constructor of the
//! next type. Pure: time and randomness are arguments. Never decides whether a request is allowed.

mod block;
pub mod capability;
pub mod chain;
pub mod check;
pub mod claims;
mod compile;
mod container;
pub mod hop;
pub mod inspect;
pub mod limits;
pub mod mint;
pub mod operation;
pub mod prefix;
pub mod profile;
pub mod proof;
pub mod raw;
pub(crate) mod strict_json;
mod symbols;
pub mod value;
pub mod verify;

pub use capability::{Capability, Path};
pub use chain::{Chain, Hop, VerifiedToken};
pub use limits::Limits;
pub use operation::{Argument, Operation, Operations};
pub use proof::HeldToken;
pub use raw::{RawToken, ShownToken, TokenDigest};
pub use value::{Decimal, List, Value};
pub use verify::{RootKeys, TokenError, verify};
