//! Resources over HTTP: what SCIM clients read, search and change, and which limits they meet.

use http::{HeaderValue, Method, header};
use serde_json::{Value, json};

use crate::scim::{GROUP, PATCH, Scim, USER, id, refused};
use crate::store::{Database, for_every_backend};

for_every_backend!(
    users_and_groups_are_found_by_filters_in_pages,
    a_name_is_taken_once_without_regard_to_case,
    a_version_that_is_old_changes_nothing,
    a_group_has_the_users_that_there_are,
);

fn query(filter: &str, more: &str) -> String {
    format!("?filter={}{more}", percent_encoding::utf8_percent_encode(filter, percent_encoding::NON_ALPHANUMERIC))
}

fn names(list: &Value) -> Vec<&str> {
    list["Resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["userName"].as_str().or(one["displayName"].as_str()).unwrap())
        .collect()
}

async fn users_and_groups_are_found_by_filters_in_pages(db: &Database) {
    let scim = Scim::start(db, "").await;
    let mut users = Vec::new();
    for n in 0..7 {
        let title = if n % 2 == 0 { "even" } else { "odd" };
        users.push(
            scim.user(json!({ "userName": format!("User-{n}"), "externalId": format!("x{n}"), "title": title })).await,
        );
    }
    let group = scim.group("Finance", &[&users[0], &users[3]]).await;
    let all = scim.get("/Users").await;
    assert_eq!((&all["totalResults"], &all["itemsPerPage"], &all["startIndex"]), (&json!(7), &json!(7), &json!(1)));
    assert_eq!(names(&all)[0], "User-0");
    for (path, total, found) in [
        ("/Users?startIndex=3&count=2".to_owned(), 7, &["User-2", "User-3"][..]),
        ("/Users?startIndex=-4&count=1".into(), 7, &["User-0"]),
        ("/Users?startIndex=8".into(), 7, &[]),
        ("/Users?count=0".into(), 7, &[]),
        ("/Users?count=-1".into(), 7, &[]),
        ("/Users?count=100000&startIndex=7".into(), 7, &["User-6"]),
        (format!("/Users{}", query(r#"userName eq "user-3""#, "")), 1, &["User-3"]),
        (format!("/Users{}", query(r#"externalId eq "x4" and title pr"#, "")), 1, &["User-4"]),
        (format!("/Users{}", query(r#"externalId eq "X4""#, "")), 0, &[]),
        (format!("/Users{}", query(&format!("id eq \"{}\"", id(&users[5])), "")), 1, &["User-5"]),
        (format!("/Users{}", query("id eq \"nothing\"", "")), 0, &[]),
        (format!("/Users{}", query(r#"title eq "even""#, "&startIndex=2&count=2")), 4, &["User-2", "User-4"]),
        (format!("/Users{}", query(r#"groups.display eq "finance""#, "")), 2, &["User-0", "User-3"]),
        (format!("/Users{}", query(r#"groups pr"#, "&attributes=userName")), 2, &["User-0", "User-3"]),
        (format!("/Groups{}", query(r#"displayName eq "FINANCE""#, "")), 1, &["Finance"]),
        (
            format!(
                "/Groups{}",
                query(&format!("members.value eq \"{}\"", id(&users[3])), "&excludedAttributes=members")
            ),
            1,
            &["Finance"],
        ),
        (format!("/Groups{}", query(&format!("members[value eq \"{}\"]", id(&users[1])), "")), 0, &[]),
    ] {
        let list = scim.get(&path).await;
        assert_eq!((list["totalResults"].as_u64().unwrap(), names(&list).as_slice()), (total, found), "{path}");
    }
    let groups = scim.get("/Groups?excludedAttributes=members").await;
    assert!(groups["Resources"][0].get("members").is_none());
    assert_eq!(
        scim.get(&format!("{group}?attributes=members.value")).await["members"],
        json!([{ "value": id(&users[0]) }, { "value": id(&users[3]) }])
    );
    let of = scim.get(&users[3]).await["groups"][0].clone();
    assert_eq!((&of["value"], &of["display"], &of["type"]), (&json!(id(&group)), &json!("Finance"), &json!("direct")));
    // Searches by a body: among all, users come first.
    let search = |more: Value| {
        let mut body = json!({ "schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"] });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Some(body)
    };
    let found = scim
        .call(
            Method::POST,
            "/.search",
            search(json!({ "startIndex": 7, "count": 5, "attributes": ["userName", "displayName"] })),
        )
        .await
        .ok();
    assert_eq!((found["totalResults"].as_u64(), names(&found)), (Some(8), vec!["User-6", "Finance"]));
    let found =
        scim.call(Method::POST, "/.search", search(json!({ "filter": "displayName eq \"finance\"" }))).await.ok();
    assert_eq!(names(&found), ["Finance"]);
    let found = scim
        .call(Method::POST, "/Users/.search", search(json!({ "filter": "title eq \"odd\"", "count": 1 })))
        .await
        .ok();
    assert_eq!((found["totalResults"].as_u64(), names(&found)), (Some(3), vec!["User-1"]));
    for (path, body, scim_type) in [
        ("/Users/.search", search(json!({ "filter": "nosuch pr" })), "invalidFilter"),
        ("/.search", search(json!({ "filter": "nosuch pr" })), "invalidFilter"),
        ("/.search", search(json!({ "filter": 7 })), "invalidValue"),
        ("/.search", search(json!({ "attributes": ["a"], "excludedAttributes": ["b"] })), "invalidValue"),
        ("/.search", Some(json!({ "schemas": [USER] })), "invalidSyntax"),
    ] {
        refused(scim.call(Method::POST, path, body).await, 400, scim_type);
    }
    refused(scim.call(Method::GET, "/Users?filter=userName", None).await, 400, "invalidFilter");
    refused(scim.call(Method::GET, "/Users?count=x", None).await, 400, "invalidValue");
    refused(scim.call(Method::GET, "/Users?count=1&count=2", None).await, 400, "invalidValue");
}

async fn a_name_is_taken_once_without_regard_to_case(db: &Database) {
    let scim = Scim::start(db, "").await;
    let alice = scim.user(json!({ "userName": "Alice" })).await;
    let bob = scim.user(json!({ "userName": "bob" })).await;
    let again = json!({ "schemas": [USER], "userName": "aLICE" });
    refused(scim.call(Method::POST, "/Users", Some(again.clone())).await, 409, "uniqueness");
    refused(scim.call(Method::PUT, &bob, Some(again.clone())).await, 409, "uniqueness");
    let renamed = json!([{ "op": "replace", "path": "userName", "value": "ALICE" }]);
    refused(scim.patch(&bob, renamed.clone()).await, 409, "uniqueness");
    assert_eq!(scim.get(&bob).await["meta"]["version"], "W/\"1\"");
    scim.patch(&alice, renamed).await.ok();
    // Deleted, the name is free.
    scim.call(Method::DELETE, &alice, None).await.ok();
    refused(scim.call(Method::GET, &alice, None).await, 404, "");
    assert_eq!(scim.call(Method::POST, "/Users", Some(again)).await.status, 201);
    scim.group("g", &[]).await;
    scim.group("g", &[]).await;
}

async fn a_version_that_is_old_changes_nothing(db: &Database) {
    let scim = Scim::start(db, "").await;
    let (alice, group) = (scim.user(json!({ "userName": "alice" })).await, scim.group("g", &[]).await);
    for (path, change) in [
        (&alice, json!({ "op": "add", "path": "title", "value": "t" })),
        (&group, json!({ "op": "add", "path": "externalId", "value": "t" })),
    ] {
        let with = async |method: Method, name: header::HeaderName, tag: &str| {
            let mut headers = scim.headers();
            headers.insert(name, HeaderValue::from_str(tag).unwrap());
            let body = json!({ "schemas": [PATCH], "Operations": [change] }).to_string();
            Scim::checked(scim.test.authority.raw(method, &format!("/scim/v2{path}"), headers, body).await)
        };
        let now = with(Method::GET, header::IF_NONE_MATCH, "W/\"7\"").await;
        assert_eq!((now.status, &now.headers[header::ETAG]), (200, &HeaderValue::from_static("W/\"1\"")));
        assert_eq!(with(Method::GET, header::IF_NONE_MATCH, "\"3\", W/\"1\"").await.status, 304);
        for tag in ["W/\"2\"", "\"x\"", ""] {
            refused(with(Method::PATCH, header::IF_MATCH, tag).await, 412, "");
            refused(with(Method::DELETE, header::IF_MATCH, tag).await, 412, "");
        }
        let changed = with(Method::PATCH, header::IF_MATCH, "W/\"1\"").await;
        assert_eq!((changed.status, &changed.headers[header::ETAG]), (200, &HeaderValue::from_static("W/\"2\"")));
        refused(with(Method::DELETE, header::IF_MATCH, "W/\"1\"").await, 412, "");
        assert_eq!(with(Method::DELETE, header::IF_MATCH, "*").await.status, 204);
    }
    // Changes at the same moment: each of them stands.
    let group = scim.group("g", &[]).await;
    let users = [
        scim.user(json!({ "userName": "a" })).await,
        scim.user(json!({ "userName": "b" })).await,
        scim.user(json!({ "userName": "c" })).await,
    ];
    let join = async |user: &String| {
        let joins = json!([{ "op": "add", "path": "members", "value": [{ "value": id(user) }] }]);
        scim.patch(&group, joins).await.ok();
    };
    tokio::join!(join(&users[0]), join(&users[1]), join(&users[2]));
    assert_eq!(scim.get(&group).await["members"].as_array().unwrap().len(), 3);
}

async fn a_group_has_the_users_that_there_are(db: &Database) {
    let scim = Scim::start(db, "").await;
    let alice = scim.user(json!({ "userName": "alice" })).await;
    let group = scim.group("g", &[&alice]).await;
    let strange = "0123456789abcdef0123456789abcdef";
    for member in [
        json!({ "value": strange }),
        json!({ "value": "x" }),
        json!({ "value": id(&group) }),
        json!({ "value": id(&alice), "type": "Group" }),
    ] {
        refused(
            scim.patch(&group, json!([{ "op": "replace", "path": "members", "value": [member] }])).await,
            400,
            "invalidValue",
        );
    }
    let many: Vec<_> = (0..10_001).map(|n| json!({ "value": format!("{n:032x}") })).collect();
    refused(scim.patch(&group, json!([{ "op": "add", "path": "members", "value": many }])).await, 400, "invalidValue");
    scim.call(Method::DELETE, &alice, None).await.ok();
    assert_eq!(scim.get(&group).await.get("members"), None);
    for name in ["", "a\u{7}b", &"n".repeat(256)] {
        let body = json!({ "schemas": [GROUP], "displayName": name });
        refused(scim.call(Method::POST, "/Groups", Some(body)).await, 400, "invalidValue");
    }
}

#[tokio::test]
async fn what_is_no_scim_is_refused_in_scims_words() {
    let scim = Scim::start(&Database::sqlite().await, "").await;
    let call = async |method: Method, path: &str, kind: &'static str, body: &str| {
        let mut headers = scim.headers();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        Scim::checked(scim.test.authority.raw(method, &format!("/scim/v2{path}"), headers, body.to_owned()).await)
    };
    let json = "application/json";
    for body in ["", "{", "[]", "7", r#"{"schemas":[],"schemas":[]}"#, r#"{"userName":"a"}"#, &"[".repeat(100)] {
        refused(call(Method::POST, "/Users", json, body).await, 400, "invalidSyntax");
    }
    refused(call(Method::POST, "/Users", "text/plain", "{}").await, 415, "");
    let large = format!("{{\"schemas\":[\"{USER}\"],\"userName\":\"{}\"}}", "a".repeat(1 << 20));
    refused(call(Method::POST, "/Users", json, &large).await, 413, "");
    let long = format!(r#"{{"schemas":["{USER}"],"userName":"{}"}}"#, "a".repeat(256));
    refused(call(Method::POST, "/Users", json, &long).await, 400, "invalidValue");
    for path in ["/Users/x", "/Nothing", "/Bulk", "/Me", "/Users/a/b", "", "/", "/ResourceTypes/x", "/Schemas/x"] {
        refused(scim.call(Method::GET, path, None).await, 404, "");
    }
    refused(scim.call(Method::DELETE, "/Users", None).await, 405, "");
    refused(scim.call(Method::GET, &format!("/Users?filter={}", "a".repeat(20_000)), None).await, 400, "invalidValue");
    // Both media types count, and the location of what was made is told.
    let body = format!(r#"{{"schemas":["{USER}"],"userName":"a"}}"#);
    let made = call(Method::POST, "/Users", json, &body).await;
    assert_eq!(made.status, 201);
    assert_eq!(made.headers[header::LOCATION], made.json["meta"]["location"].as_str().unwrap());
    assert_eq!(made.json["meta"]["resourceType"], "User");
    assert_eq!(scim.get("/ServiceProviderConfig").await["filter"]["maxResults"], 200);
}
