//! JSON bodies: whatever is accepted survives being written and read again, and another parser reads it too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use writ::catalog::json::Body;

fuzz_target!(|bytes: &[u8]| {
    let Ok(body) = Body::parse(bytes, 64 * 1024) else { return };
    let written = body.to_bytes();
    assert_eq!(Body::parse(&written, usize::MAX).as_ref(), Ok(&body));
    if let Err(error) = serde_json::from_slice::<serde_json::Value>(bytes) {
        assert!(error.to_string().starts_with("number out of range"), "{error}");
    }
});
