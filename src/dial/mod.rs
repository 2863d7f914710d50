//! Outgoing connections: to which address, over which certificate, with which patience.
//!
//! A host name is resolved once, every address it has is checked, and the connection goes to a checked address: a name
//! that changes its mind in between (DNS rebinding) changes nothing. Nothing is written before the peer's certificate holds.

pub mod address;
pub mod authority;
mod connect;
mod resolve;
pub(crate) mod stall;
pub mod tls;
pub mod upstream;

pub use address::AddressRule;
pub use authority::{Answer, AuthorityClient, AuthorityUrl};
pub use connect::{DialError, Gate};
pub use resolve::{Resolve, SystemResolver};
pub use tls::TrustedRoots;
pub use upstream::{Dialer, Limits, Upstream, UpstreamError};
