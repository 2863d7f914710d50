//! Any secret and any answer: however it is cut, the secret is gone, and nothing else has changed its length.
//!
//! The input: the secret, a zero byte, then the chunks, a zero byte behind each.
#![no_main]

use libfuzzer_sys::fuzz_target;
use writ::secret::Secret;
use writ::vault::{CredentialKind, Lent, Scrubber};

fuzz_target!(|data: &[u8]| {
    let mut parts = data.split(|byte| *byte == 0);
    let Some(secret) = parts.next().and_then(|secret| std::str::from_utf8(secret).ok()) else { return };
    let kind = CredentialKind::Basic { username: "alice".into() };
    if kind.check(secret).is_err() || secret.len() > 100 {
        return;
    }
    let lent = Lent { kind, secret: Secret::new(secret.to_owned()), version: 1 };
    let scrubber = Scrubber::new(lent.spellings()).unwrap();
    let chunks: Vec<&[u8]> = parts.collect();
    let through = |chunks: &[&[u8]]| {
        let mut stream = scrubber.stream();
        let mut out: Vec<u8> = chunks.iter().flat_map(|chunk| stream.push(chunk).into_owned()).collect();
        out.extend(stream.finish());
        out
    };
    let whole = chunks.concat();
    let out = through(&chunks);
    assert_eq!(out, through(&[&whole]));
    assert_eq!(out.len(), whole.len());
    for spelling in lent.spellings() {
        let spelling = spelling.expose();
        assert!(!out.windows(spelling.len()).any(|window| window == spelling));
    }
});
