//! installation
