//! Any bytes as a record, a checkpoint or an event: read and checked without a panic; and only what was hashed follows.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;
use writ::audit::{Checker, Checkpoint, Head, Record, Source};
use writ::clock::Timestamp;

fuzz_target!(|data: &[u8]| {
    let mut checker = Checker::new(Source::Authority, Head::empty(), &[], &[]);
    if let Ok(record) = serde_json::from_slice::<Record>(data) {
        let _ = record.read();
        checker.push(&record);
        assert_eq!(checker.finish().is_sound(), record.follows(&Head::empty()).is_ok() && record.source == Source::Authority);
    }
    if let Ok(checkpoint) = serde_json::from_slice::<Checkpoint>(data) {
        let _ = checkpoint.verify();
    }
    if let Ok(event) = serde_json::from_slice::<Box<RawValue>>(data) {
        let record = Record::of_text(&Head::empty(), Source::Authority, Timestamp::from_secs(1_795_000_000), event);
        let again: Record = serde_json::from_str(&serde_json::to_string(&record).unwrap()).unwrap();
        again.follows(&Head::empty()).unwrap();
        assert_eq!((again.event.get(), again.hash), (record.event.get(), record.hash));
    }
});
