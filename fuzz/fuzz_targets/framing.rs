//! Bytes of a connection, however they are cut into packets: the same passes and the same is refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use writ::edge::framing::{Framing, HeadLimits};

const LIMITS: HeadLimits = HeadLimits { bytes_max: 512, fields_max: 8 };

fuzz_target!(|data: (Vec<u8>, &[u8])| {
    let (cuts, bytes) = data;
    let whole = Framing::new(LIMITS).advance(bytes);
    let mut framing = Framing::new(LIMITS);
    let (mut start, mut end, mut refused) = (0, 0, None);
    for cut in cuts.into_iter().map(usize::from).chain([bytes.len()]) {
        end = bytes.len().min(end + cut);
        let progress = framing.advance(&bytes[start..end]);
        start += progress.passed;
        refused = progress.refused;
        if refused.is_some() {
            break;
        }
    }
    assert_eq!((start, refused.is_some()), (whole.passed, whole.refused.is_some()));
});
