//! Downstream secrets: sealed under a key that never leaves the authority, applied to one request at an edge. Pure.
//!
//! There is no function that shows a secret to a person.

pub mod credential;
pub mod scrub;
pub mod seal;
pub mod spelling;

pub use credential::{Apply, CredentialKind, InvalidCredential, Lent};
pub use scrub::{Scrubber, Scrubbing};
pub use seal::{Binding, Kek, KekId, Keyring, Sealed, VaultError};
