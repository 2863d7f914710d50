//! Service files: whatever is accepted means the same in TOML and in JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use writ::catalog::Service;

fuzz_target!(|text: &str| {
    let Ok(service) = Service::from_toml(text) else { return };
    assert_eq!(Service::from_toml(&service.to_toml()).as_ref(), Ok(&service));
    let json = serde_json::to_string(&service).expect("a service has a JSON form");
    assert_eq!(serde_json::from_str::<Service>(&json).expect("which is a service"), service);
});
