//! Descriptions of APIs: whatever is imported loads again as it was, and nothing makes the importer panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use writ::catalog::Service;
use writ::catalog::import::{Wanted, changes, import};

fuzz_target!(|document: &[u8]| {
    let wanted = Wanted {
        name: "api".parse().expect("a service name"),
        upstream: Some("https://api.example.com".to_owned()),
        credential: None,
        only: Vec::new(),
    };
    let Ok(imported) = import(document, &wanted) else { return };
    let again = Service::from_toml(&imported.service.to_toml()).expect("what was imported loads");
    assert_eq!(again, imported.service);
    assert_eq!(changes(&again, &imported.service), []);
});
