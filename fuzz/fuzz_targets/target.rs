//! Request normalisation: whatever is accepted is its own canonical form, and has no segment that a server would resolve.
#![no_main]

use libfuzzer_sys::fuzz_target;
use writ::catalog::Target;

fuzz_target!(|raw: &str| {
    let Ok(target) = Target::parse(raw) else { return };
    let text = match target.query() {
        Some(query) => format!("{}?{query}", target.path()),
        None => target.path().to_owned(),
    };
    assert_eq!(Target::parse(&text).as_ref(), Ok(&target));
    assert!(
        target.segments().all(|segment| !matches!(&*segment, "" | "." | "..") && !segment.contains(['/', '\\', '\0']))
    );
    assert!(target.pairs().all(|pair| !pair.key.is_empty()));
    let _ = target.split_service();
});
