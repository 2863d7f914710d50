//! Any text as a settings file: read or refused in one sentence, without a panic, and never with a password shown.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use writ::config::authority::AuthorityConfig;
use writ::config::edge::EdgeConfig;

fuzz_target!(|text: &str| {
    if let Ok(config) = AuthorityConfig::parse(text, Path::new("/etc/writ/authority.toml")) {
        assert!(config.tls.is_some() || config.listen.ip().is_loopback());
        assert_eq!(config.issuer.as_str().parse(), Ok(config.issuer.clone()));
        assert!(!config.terms.audiences.is_empty());
        if let Some((_, rest)) = config.store.as_str().split_once(':').filter(|(_, rest)| rest.len() > 12) {
            assert!(!format!("{:?}", config.store).contains(rest));
        }
    }
    if let Ok(config) = EdgeConfig::parse(text, Path::new("/etc/writ/edge.toml")) {
        assert!(config.check().is_ok());
    }
});
