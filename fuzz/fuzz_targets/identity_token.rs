//! Any text as a token of an identity provider (ID token, access token, logout token, event, grant, workload) or of an agent, and any bytes as a subject
//! identifier: read or refused without a panic, and no token for two kinds of it.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use writ::authority::assertion::Assertion;
use writ::clock::Timestamp;
use writ::config::authority::{AuthorityConfig, AuthorityTerms};
use writ::identity::dangerous_kinds;
use writ::identity::subject_id::SubjectId;

static TERMS: LazyLock<AuthorityTerms> = LazyLock::new(|| {
    let sample = include_str!("../../samples/authority.toml");
    let provider = "[[identity.provider]]\nname = \"corp\"\nissuer = \"https://i\"\nclient_ids = [\"app\"]\naudiences = [\"api\"]\n\
                    [identity.provider.signals]\naudiences = [\"api\"]\n\
                    [[identity.workload]]\nname = \"ci\"\nissuer = \"https://i\"\naudiences = [\"ci\"]\n";
    let text = format!("{sample}\n{provider}");
    AuthorityConfig::parse(&text, Path::new("/writ.toml")).unwrap().terms
});

fuzz_target!(|text: &str| {
    let (provider, workloads) = (&TERMS.providers[0], &TERMS.workloads[0]);
    assert!(dangerous_kinds(text, provider, workloads, "https://writ", Timestamp::from_secs(1_800_000_000)) <= 1);
    let _ = Assertion::read(text, ["https://writ", "https://writ/oauth/token"], Timestamp::from_secs(1_800_000_000));
    if let Ok(id) = SubjectId::parse(text.as_bytes()) {
        let _ = id.whom(provider);
    }
});
