//! Descriptions of APIs with any paths and names, in each of the three forms: what is imported loads again as it was, nothing that
//! deletes is a read, and no route claims what another does.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, json};
use writ::catalog::Service;
use writ::catalog::import::{Access, Wanted, import};

/// A path, a method, a name, and whether its last capture may hold slashes.
type Described<'a> = (&'a str, u8, &'a str, bool);

const METHODS: [&str; 7] = ["get", "post", "put", "patch", "delete", "head", "options"];

fn open_api(operations: &[Described<'_>], head: Value) -> Value {
    let mut paths = Map::new();
    for (path, method, name, slashes) in operations {
        let capture = path.rsplit_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(name, _)| name);
        let parameter = json!({ "name": capture, "in": "path", "x-multi-segment": slashes });
        let operation = json!({ "operationId": name, "parameters": [parameter] });
        let item = paths.entry(*path).or_insert_with(|| json!({}));
        item[METHODS[usize::from(*method) % METHODS.len()]] = operation;
    }
    let mut document = head;
    document["paths"] = paths.into();
    document
}

fn google(operations: &[Described<'_>]) -> Value {
    let mut methods = Map::new();
    for (path, method, name, _) in operations {
        let method = METHODS[usize::from(*method) % METHODS.len()].to_uppercase();
        methods.insert((*name).to_owned(), json!({ "id": name, "path": path, "httpMethod": method, "parameters": {} }));
    }
    json!({ "discoveryVersion": "v1", "rootUrl": "https://api.example.com/", "servicePath": "", "methods": methods })
}

fuzz_target!(|operations: Vec<Described<'_>>| {
    let documents = [
        open_api(&operations, json!({ "openapi": "3.0.0" })),
        open_api(&operations, json!({ "swagger": "2.0" })),
        google(&operations),
    ];
    for document in documents {
        let wanted = Wanted {
            name: "api".parse().expect("a service name"),
            upstream: Some("https://api.example.com".to_owned()),
            credential: None,
            only: Vec::new(),
        };
        let Ok(imported) = import(document.to_string().as_bytes(), &wanted) else { continue };
        let again = Service::from_toml(&imported.service.to_toml()).expect("what was imported loads");
        assert_eq!(again, imported.service);
        assert!(imported.mapped.iter().all(|mapped| &*mapped.method != "DELETE" || mapped.access == Access::Write));
    }
});
