//! revocations
