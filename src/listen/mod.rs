//! What every listener of ours does with its connections: how many there may be, who makes room for others, and who is taken for gone.

pub(crate) mod places;
pub(crate) mod stall;
