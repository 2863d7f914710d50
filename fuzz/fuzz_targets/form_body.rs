//! Forms: whatever is accepted survives being written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use writ::catalog::form::Form;

fuzz_target!(|bytes: &[u8]| {
    let Ok(form) = Form::parse(bytes) else { return };
    assert!(form.fields().all(|pair| !pair.key.is_empty() && pair.value.is_some()));
    assert!(form.text().is_empty() || Form::parse(form.text().as_bytes()).as_ref() == Ok(&form));
});
