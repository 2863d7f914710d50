//! What may be issued and what may be done: `LiveToken` + `Operation` to `Permit`. Pure; denies unless something allows.

pub mod approval;
pub mod asked;
pub mod grant;
pub mod limit;
pub mod permit;
pub mod role;
#[cfg(feature = "server")]
pub mod rules;

pub use approval::{Approval, ApprovalState, Approved, Demand, Expected, NotApproved};
pub use asked::{Asked, Asker, InvalidAsked};
pub use grant::{Grant, GrantSubject, Issuance, IssuanceDenied};
#[cfg(feature = "server")]
pub use permit::{Cleared, Facts, NotClear, Permit, Permitted, authorize};
pub use permit::{Decided, DenialReason, Denied};
pub use role::{InvalidRole, Role};
