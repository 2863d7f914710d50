//! What may be issued and what may be done: `LiveToken` + `Operation` to `Permit`. Pure; denies unless something allows.

pub mod approval;
pub mod asked;
pub mod grant;
pub mod permit;
pub mod role;
#[cfg(feature = "server")]
pub mod rules;

pub use approval::{Approval, ApprovalState, Approved, Demand, Expected, NotApproved};
pub use asked::{Asked, Asker, InvalidAsked};
pub use grant::{Grant, GrantSubject, Issuance, IssuanceDenied};
pub use permit::{Cleared, DenialReason, Denied, Permit, authorize};
pub use role::{InvalidRole, Role};
