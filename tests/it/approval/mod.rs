//! Approval by a person, from the edge's desk to the authority and back, over real sockets.
//!
//! A failure is an approval that counts for anything but the one request that the approver saw, twice, or by somebody whom the
//! policy does not name. Not failure: an approval that is lost.

mod call;
mod desk;
