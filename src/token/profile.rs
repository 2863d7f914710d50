//! The block profile, enforced on parsed blocks before anything is evaluated.
