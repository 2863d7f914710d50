//! What may be issued and what may be done: `LiveToken` + `Operation` to `Permit`. Pure; denies unless something allows.

pub mod grant;
pub mod permit;
pub mod role;

pub use grant::{Grant, GrantSubject, Issuance, IssuanceDenied};
pub use permit::{Cleared, DenialReason, Denied, Permit, authorize};
pub use role::{InvalidRole, Role};
