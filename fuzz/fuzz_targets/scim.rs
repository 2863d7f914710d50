//! Any text as a SCIM filter (the first line) and as a message (the rest): read and applied without a panic, and a change keeps a
//! resource one that the schemas allow.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use writ::identity::scim::{Filter, GROUP, Model, Patch, Projection, Resource, USER, accepted, parse};

static MODELS: [Model; 2] = [USER, GROUP];

fn example(model: &'static Model) -> Resource {
    let sent = json!({
        "schemas": [model.urn()], "userName": "alice", "displayName": "Alice", "active": true, "name": { "familyName": "A" },
        "emails": [{ "value": "a@b.example", "type": "work", "primary": true }, { "value": "c@d.example" }],
        "members": [{ "value": "3f1c" }],
    });
    accepted(model, sent.as_object().expect("an object")).expect("what the schemas say")
}

fuzz_target!(|text: &str| {
    let (line, message) = text.split_once('\n').unwrap_or((text, ""));
    let sent = parse(message.as_bytes(), 1 << 20);
    for model in &MODELS {
        let resource = example(model);
        if let Ok(filter) = Filter::parse(model, line) {
            filter.fits(&resource);
            filter.narrow();
        }
        if let Ok(projection) = Projection::new(vec![line.to_owned()], Vec::new()) {
            assert!(projection.of(model, resource.clone()).len() <= resource.len());
        }
        let Ok(sent) = &sent else { continue };
        let _ = accepted(model, sent);
        if let Ok(patch) = Patch::read(model, sent)
            && let Ok(mut changed) = patch.applied(resource)
        {
            changed.insert("schemas".into(), json!([model.urn()]));
            accepted(model, &changed).expect("what a change leaves is allowed");
        }
    }
});
