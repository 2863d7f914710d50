//! What a token may cost before it is believed.

/// Caps on a token, enforced before any signature is checked or, for the contents of blocks, before any check runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest token text in bytes.
    pub text_bytes_max: usize,
    /// The most blocks, the authority block included; 1 to 16.
    pub blocks_max: usize,
    /// The most facts in one block.
    pub facts_max: usize,
    /// The most checks in one block.
    pub checks_max: usize,
    /// The most `or` alternatives in one check.
    pub queries_max: usize,
    /// The longest string or byte string in bytes.
    pub string_bytes_max: usize,
    /// The most capabilities in the authority block.
    pub capabilities_max: usize,
    /// How far in the future a block's `nbf` may lie, in seconds.
    pub not_before_ahead_s_max: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            text_bytes_max: 8192,
            blocks_max: 6,
            facts_max: 64,
            checks_max: 16,
            queries_max: 16,
            string_bytes_max: 512,
            capabilities_max: 16,
            not_before_ahead_s_max: 86_400,
        }
    }
}
