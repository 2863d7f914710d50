//! Importing other people's descriptions of APIs: small ones here, the real ones by `scripts/import-documents`.

mod accuracy;
mod documents;

use serde_json::{Value, json};
use tempfile::TempDir;
use writ::catalog::import::{Change, Doubt, ImportError, Imported, Wanted, changes, import};
use writ::catalog::{Service, Target};

use crate::cli::{writ, writ_reading};

pub(super) fn wanted(name: &str) -> Wanted {
    Wanted { name: name.parse().unwrap(), upstream: None, credential: None, only: Vec::new() }
}

fn imported(document: &Value) -> Imported {
    import(document.to_string().as_bytes(), &wanted("api")).unwrap()
}

/// What a request asks for: `action:resource`.
pub(super) fn needed(service: &Service, method: &str, target: &str) -> Option<String> {
    let target = Target::parse(target).unwrap();
    let needed = service.route(method, &target).ok()?.needed().unwrap().unwrap();
    Some(format!("{}:{}", needed.action, needed.resource))
}

fn openapi(paths: Value) -> Value {
    json!({"openapi": "3.1.0", "servers": [{"url": "https://api.example.com/base/"}], "paths": paths})
}

fn noted(imported: &Imported, doubt: Doubt) -> Vec<String> {
    imported.notes.iter().filter(|note| note.doubt == doubt).map(|note| note.at.clone()).collect()
}

#[test]
fn an_openapi_document_becomes_a_service() {
    let operation = json!({"responses": {}});
    let imported = imported(&openapi(json!({
        "/repos/{owner}/{repo}/issues": {"get": operation, "post": operation},
        "/repos/{owner}/{repo}/issues/{number}": {"get": operation, "patch": operation, "delete": operation},
        "/user/repos": {"get": operation},
        "x-other": {"get": operation},
    })));
    assert_eq!(imported.operations, 6);
    assert_eq!(imported.notes, []);
    assert_eq!(imported.service.upstream().to_string(), "https://api.example.com/base");
    for (method, target, expected) in [
        ("GET", "/repos/acme/web/issues", "issues/read:repos/acme/web"),
        ("POST", "/repos/acme/web/issues", "issues/write:repos/acme/web"),
        ("GET", "/repos/acme/web/issues/7", "issues/read:repos/acme/web/issues/7"),
        ("PATCH", "/repos/acme/web/issues/7", "issues/write:repos/acme/web/issues/7"),
        ("DELETE", "/repos/acme/web/issues/7", "issues/write/delete:repos/acme/web/issues/7"),
        ("GET", "/user/repos", "user/repos/read:/"),
    ] {
        assert_eq!(needed(&imported.service, method, target).as_deref(), Some(expected), "{method} {target}");
    }
    assert_eq!(needed(&imported.service, "PUT", "/user/repos"), None);
    assert_eq!(Service::from_toml(&imported.service.to_toml()).as_ref(), Ok(&imported.service));
}

#[test]
fn a_swagger_2_document_becomes_a_service() {
    let document = json!({
        "swagger": "2.0", "host": "api.example.com", "basePath": "/v2", "schemes": ["http", "https"],
        "parameters": {"deep": {"name": "file", "in": "path", "x-multi-segment": true}},
        "paths": {"/trees/{file}": {"get": {"parameters": [{"$ref": "#/parameters/deep"}]}}},
    });
    let imported = imported(&document);
    assert_eq!(imported.service.upstream().to_string(), "https://api.example.com/v2");
    assert_eq!(needed(&imported.service, "GET", "/trees/a/b").as_deref(), Some("trees/read:trees/a/b"));
    assert_eq!(noted(&imported, Doubt::Rest), ["GET /trees/{file}"]);
}

#[test]
fn a_google_discovery_document_becomes_a_service() {
    let document = json!({
        "discoveryVersion": "v1", "rootUrl": "https://www.googleapis.com/", "servicePath": "notes/v1/",
        "parameters": {"alt": {"type": "string", "location": "query"}},
        "resources": {"notes": {
            "methods": {
                "get": {"id": "notes.notes.get", "httpMethod": "GET", "path": "{+name}", "flatPath": "notes/{notesId}"},
                "undelete": {"id": "notes.notes.undelete", "httpMethod": "POST", "path": "{+name}:undelete", "flatPath": "notes/{notesId}:undelete"},
                "search": {"id": "notes.notes.search", "httpMethod": "POST", "path": "notes:search"},
                "create": {"id": "notes.notes.create", "httpMethod": "POST", "path": "notes", "mediaUpload": {"protocols": {"simple": {"path": "/upload/notes/v1/notes"}}}},
            },
            "resources": {"files": {"methods": {
                "get": {"id": "notes.notes.files.get", "httpMethod": "GET", "path": "{+name}", "flatPath": "notes/{notesId}/files/{filesId}",
                        "parameters": {"name": {"pattern": "^notes/[^/]+/files/.*$"}}},
            }}},
        }},
    });
    let imported = imported(&document);
    for (method, target, expected) in [
        ("GET", "/notes/v1/notes/7", "notes/v1/notes/read:notes/v1/notes/7"),
        ("POST", "/notes/v1/notes/7:undelete", "notes/v1/notes/write/undelete:notes/v1/notes/7"),
        ("POST", "/notes/v1/notes/a%3Ab:undelete", "notes/v1/notes/write/undelete:notes/v1/notes/a%3Ab"),
        ("POST", "/notes/v1/notes:search", "notes/v1/notes/read/search:/"),
        ("POST", "/notes/v1/notes", "notes/v1/notes/write:/"),
        ("POST", "/upload/notes/v1/notes", "upload/notes/v1/notes/write:/"),
        ("GET", "/notes/v1/notes/7/files/a/b", "files/read:notes/v1/notes/7/files/a/b"),
    ] {
        assert_eq!(needed(&imported.service, method, target).as_deref(), Some(expected), "{method} {target}");
    }
    for (method, target) in
        [("POST", "/notes/v1/notes/7"), ("POST", "/notes/v1/notes/:undelete"), ("GET", "/notes/v1/notes/7/undelete")]
    {
        assert_eq!(needed(&imported.service, method, target), None, "{method} {target}");
    }
    assert_eq!(noted(&imported, Doubt::ReviewedRead), ["POST /notes/v1/notes:search"]);
}

#[test]
fn a_rest_capture_never_swallows_what_is_documented_below_it() {
    let deep = json!({"parameters": [{"name": "ref", "in": "path", "x-multi-segment": true}]});
    let imported = imported(&openapi(json!({
        "/commits/{ref}": {"get": deep},
        "/commits/{ref}/status": {"get": deep},
        "/git/{ref}": {"get": deep},
    })));
    assert_eq!(needed(&imported.service, "GET", "/commits/heads/x"), None);
    assert_eq!(needed(&imported.service, "GET", "/commits/x/status").as_deref(), Some("status/read:commits/x"));
    assert_eq!(needed(&imported.service, "GET", "/git/heads/x").as_deref(), Some("git/read:git/heads/x"));
    assert_eq!(noted(&imported, Doubt::Slashes), ["GET /commits/{ref}", "GET /commits/{ref}/status"]);
}

#[test]
fn of_two_operations_that_are_one_request_the_stricter_is_kept() {
    let imported = imported(&openapi(json!({
        "/a/{x}/b": {"get": {"operationId": "listB"}},
        "/a/{y}/b": {"get": {"operationId": "resetB"}},
        "/n/{a}...{b}": {"get": {}},
        "/n/{ab}": {"get": {}},
    })));
    assert_eq!(needed(&imported.service, "GET", "/a/1/b").as_deref(), Some("b/write:a/1"));
    assert_eq!(noted(&imported, Doubt::Shadowed), ["GET /a/{y}/b"]);
    assert_eq!(needed(&imported.service, "GET", "/n/1...2").as_deref(), Some("n/read:n/1...2"));
    assert_eq!(noted(&imported, Doubt::Joined), ["GET /n/{a}...{b}"]);
}

#[test]
fn what_a_route_cannot_express_is_told_and_denied() {
    let imported = imported(&openapi(json!({
        "/ok": {"get": {}, "trace": {}, "additionalOperations": {"COPY": {}, "lower": {}}},
        "/a;v={x}": {"get": {}},
        "/a?x=1": {"get": {}},
        "/{x}text": {"get": {}},
        "/long/{name}": {"get": {}, "$ref": "https://elsewhere.example/item.json"},
    })));
    let mut unmapped = noted(&imported, Doubt::Unmapped);
    unmapped.sort();
    assert_eq!(
        unmapped,
        ["/long/{name}", "COPY /ok", "GET /a;v={x}", "GET /a?x=1", "GET /{x}text", "TRACE /ok", "lower /ok"]
    );
    assert_eq!(imported.service.routes().len(), 1);
}

#[test]
fn a_call_in_the_path_is_named_by_its_words_and_takes_either_method() {
    let document = openapi(json!({
        "/conversations.list": {"get": {}}, "/chat.postMessage": {"post": {}}, "/views.open": {"get": {}}, "/chat.delete": {"post": {}},
    }));
    let imported = imported(&document);
    for method in ["GET", "POST"] {
        for (target, expected) in [
            ("/conversations.list", "conversations/read/list:/"),
            ("/chat.postMessage", "chat/write/postMessage:/"),
            ("/views.open", "views/write/open:/"),
            ("/chat.delete", "chat/write/delete:/"),
        ] {
            assert_eq!(needed(&imported.service, method, target).as_deref(), Some(expected), "{method} {target}");
        }
    }
    assert_eq!(noted(&imported, Doubt::UnsafeRead), ["GET /views.open"]);
}

#[test]
fn a_document_that_is_none_is_refused_in_a_sentence() {
    let refusal = |document: &str| import(document.as_bytes(), &wanted("api")).unwrap_err().to_string();
    for (document, expected) in [
        ("openapi: 3.0.0\npaths: {}", "`yq -o json`"),
        ("", "`yq -o json`"),
        ("{", "EOF while parsing"),
        ("{}", "no OpenAPI 3"),
        ("[]", "`yq -o json`"),
        (r#"{"openapi":"3.0.0","paths":[]}"#, "invalid type"),
        (r#"{"openapi":"3.0.0","paths":{"/a":{"get":{}}}}"#, "--upstream"),
        (r#"{"openapi":"3.0.0","servers":[{"url":"/v1"}],"paths":{"/a":{"get":{}}}}"#, "--upstream"),
        (r#"{"openapi":"3.0.0","servers":[{"url":"http://a.example"}],"paths":{"/a":{"get":{}}}}"#, "use `https://`"),
        (
            r#"{"openapi":"3.0.0","servers":[{"url":"https://u:p@a.example"}],"paths":{"/a":{"get":{}}}}"#,
            "store them as a credential",
        ),
        (r#"{"openapi":"3.0.0","servers":[{"url":"https://a.example"}],"paths":{}}"#, "no operation"),
        (r#"{"swagger":"2.0","host":"a.example","schemes":["http"],"paths":{"/a":{"get":{}}}}"#, "--upstream"),
    ] {
        let message = refusal(document);
        assert!(message.contains(expected), "{message} / {expected}");
    }
    let deep = format!("{{\"openapi\":{}", "[".repeat(1_000_000));
    assert!(matches!(import(deep.as_bytes(), &wanted("api")), Err(ImportError::Malformed(_))));
}

#[test]
fn references_are_bounded_and_stay_in_the_document() {
    let document = json!({
        "openapi": "3.1.0", "servers": [{"url": "https://a.example"}],
        "paths": {"/a": {"$ref": "#/components/pathItems/loop"}, "/b": {"$ref": "#/components/pathItems/b~1c"}},
        "components": {
            "pathItems": {"loop": {"$ref": "#/components/pathItems/loop"}, "b/c": {"get": {}}},
            "parameters": {"p": {"$ref": "#/components/parameters/p"}},
        },
    });
    let imported = imported(&document);
    assert_eq!(imported.operations, 1);
    assert!(needed(&imported.service, "GET", "/b").is_some());
    assert_eq!(noted(&imported, Doubt::Unmapped), ["/a"]);
}

#[test]
fn a_service_has_at_most_4096_routes() {
    let paths = |count: usize| Value::Object((0..count).map(|i| (format!("/a{i}/b"), json!({"get": {}}))).collect());
    let imported = imported(&openapi(paths(4096)));
    assert_eq!(imported.service.routes().len(), 4096);
    let document = openapi(paths(4097)).to_string();
    let refused = import(document.as_bytes(), &wanted("api")).unwrap_err();
    assert!(refused.to_string().contains("`--only /PATH`"), "{refused}");
    let part = Wanted { only: vec!["/a7".to_owned()], ..wanted("api") };
    assert_eq!(import(document.as_bytes(), &part).unwrap().service.routes().len(), 1);
}

#[test]
fn a_new_version_is_told_apart_route_by_route() {
    let old = imported(&openapi(json!({"/a/{x}": {"get": {}, "post": {}}, "/b": {"get": {}}}))).service;
    let new =
        imported(&openapi(json!({"/a/{y}": {"get": {}, "post": {"operationId": "q"}, "put": {}}, "/c": {"get": {}}})))
            .service;
    assert_eq!(changes(&old, &old), []);
    assert_eq!(
        changes(&old, &new),
        [
            Change::Added { route: "PUT /a/{y}".to_owned(), asks: "a/write on a/{y}".to_owned() },
            Change::Added { route: "GET /c".to_owned(), asks: "c/read on /".to_owned() },
            Change::Removed { route: "GET /b".to_owned(), asked: "b/read on /".to_owned() },
        ]
    );
    let text = old.to_toml().replace("\"a/read\"", "\"a/write\"");
    let changed = changes(&old, &Service::from_toml(&text).unwrap());
    assert_eq!(changed.len(), 1);
    assert_eq!(changed[0].to_string(), "~ GET /a/{x}: a/read on a/{x}, now a/write on a/{x}");
}

#[test]
fn the_command_writes_a_file_that_loads_and_tells_what_was_not_clear() {
    let dir = TempDir::new().unwrap();
    let document =
        openapi(json!({"/a/{path}": {"get": {}}, "/b": {"get": {"operationId": "resetB"}}, "/c d": {"get": {}}}));
    std::fs::write(dir.path().join("api.json"), document.to_string()).unwrap();
    let import = ["service", "import", "api.json", "--name", "api", "--credential", "api-key", "--out", "api.toml"];
    let done = writ(dir.path(), &import);
    for told in
        ["1 have no route", "GET /c d", "GET /b (`reset`)", "GET /a/{path}", "3 operations in 2 routes", "3 cases"]
    {
        assert!(done.stderr.contains(told), "{told} / {}", done.stderr);
    }
    assert!(done.ok().contains("writ service add api.toml"));
    let service = Service::from_toml(&std::fs::read_to_string(dir.path().join("api.toml")).unwrap()).unwrap();
    assert_eq!(service.credential().map(ToString::to_string).as_deref(), Some("api-key"));
    assert!(writ(dir.path(), &["service", "add", "api.toml", "--check"]).ok().contains("checked"));
    assert!(writ(dir.path(), &import).refused(1).contains("--against api.toml"));

    let more = openapi(json!({"/a/{path}": {"get": {}, "delete": {}}})).to_string();
    let again = writ_reading(dir.path(), &["service", "import", "-", "--name", "api", "--against", "api.toml"], &more);
    assert!(again.stderr.contains("+ DELETE /a/{*path}: a/write/delete on a/{*path}"), "{}", again.stderr);
    assert!(again.stderr.contains("- GET /b: b/write on /"), "{}", again.stderr);
    assert!(Service::from_toml(&again.ok()).is_ok());
    let json = writ(dir.path(), &["--json", "service", "import", "api.json", "--name", "api"]).json();
    assert_eq!((json["operations"].as_u64(), json["notes"][0]["doubt"].as_str()), (Some(3), Some("unmapped")));
}

#[test]
fn a_service_that_writ_brings_along_is_added_by_name() {
    let dir = TempDir::new().unwrap();
    let add = |more: &[&str]| writ(dir.path(), &[&["service", "add", "--check"], more].concat());
    assert!(add(&["--builtin", "github"]).ok().contains("github"));
    assert!(add(&["--builtin", "jira", "--upstream", "https://acme.atlassian.net"]).ok().contains("jira"));
    assert!(add(&["--builtin", "jira"]).refused(1).contains("--upstream"));
    assert!(add(&["--builtin", "gopher"]).refused(2).contains("possible values: anthropic"));
    assert!(add(&["a.toml", "--builtin", "github"]).refused(2).contains("cannot be used with"));
    assert!(add(&[]).refused(2).contains("FILE"));
}
