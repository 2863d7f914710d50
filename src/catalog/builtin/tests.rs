//! What each request asks for, service by service.

use http::HeaderMap;

use super::*;
use crate::catalog::{Selector, Target};

fn asks(name: &str, rows: &[(&str, &str, &str)]) {
    let upstream = Some("https://api.example.com/");
    let service = Builtin::named(name).unwrap().service(upstream).unwrap();
    for (method, target, expected) in rows {
        let target = Target::parse(target).unwrap();
        let asked = match service.route(method, &target) {
            Ok(found) => found.needed().unwrap().unwrap().to_string(),
            Err(error) => error.code().to_owned(),
        };
        let expected = if expected.contains(':') { format!("{name}:{expected}") } else { (*expected).to_owned() };
        assert_eq!(asked, expected, "{name}: {method} {}", target.path());
    }
}

#[test]
fn every_builtin_loads_under_its_name_and_says_which_credential_it_takes() {
    for builtin in BUILTIN {
        let service = Service::from_toml(builtin.text()).unwrap();
        assert_eq!(service.name().as_str(), builtin.name());
        assert_eq!(service.credential().map(ToString::to_string).as_deref(), Some(builtin.name()));
        assert!(builtin.text().contains(&format!("`writ credential add {} --", builtin.name())), "{}", builtin.name());
        for (route, call) in
            service.routes().iter().flat_map(|route| route.calls().iter().map(move |call| (route, call)))
        {
            let writes = call.action().segments().any(|segment| segment == "write");
            let reads = call.action().segments().any(|segment| segment == "read");
            let safe = route.methods().iter().all(|method| matches!(&**method, "GET" | "HEAD" | "OPTIONS"));
            assert!(!(writes && reads), "{}: {}", builtin.name(), call.action());
            // The only writes by GET: calls that take any method, and `generateIds`.
            assert!(!(writes && safe) || route.pattern().to_string().ends_with("generateIds"), "{}", route.pattern());
            let deletes = route.methods().iter().any(|method| **method == *"DELETE");
            assert!(!(deletes && reads), "{}: DELETE {} reads", builtin.name(), route.pattern());
            match call.selector() {
                Selector::Request => {}
                Selector::Field(kind, name) => {
                    assert_eq!(writes, *kind == crate::catalog::graphql::Kind::Mutation, "{name:?}");
                }
                Selector::Method(name) => panic!("{name:?}"),
            }
        }
    }
}

#[test]
fn what_a_policy_wants_to_see_is_an_argument() {
    let arguments = |name: &str, method: &str, target: &str, body: &str| {
        let service = Builtin::named(name).unwrap().service(None).unwrap();
        let target = Target::parse(target).unwrap();
        let found = service.route(method, &target).unwrap();
        let content = found.body_rule().unwrap().parse(body.as_bytes()).unwrap();
        let asked = found.ask(&HeaderMap::new(), content.as_ref()).unwrap();
        serde_json::to_value(&asked.operations.first().arguments).unwrap()
    };
    let amount = serde_json::json!({"name": "amount", "value": 500});
    let paid = arguments("stripe", "POST", "/v1/payment_intents", "amount=500&currency=eur&metadata[order]=7");
    assert_eq!(paid, serde_json::json!([amount, {"name": "currency", "value": "eur"}]));
    assert_eq!(arguments("stripe", "POST", "/v1/refunds", "charge=ch_1&amount=500"), serde_json::json!([amount]));
    assert_eq!(arguments("stripe", "POST", "/v1/refunds", "charge=ch_1"), serde_json::json!([]));
    let event =
        r#"{"summary":"x","attendees":[{"email":"a@acme.example"},{"email":"b@acme.example","optional":true}]}"#;
    let invited = arguments("google-calendar", "POST", "/calendar/v3/calendars/primary/events", event);
    assert_eq!(invited, serde_json::json!([{"name": "attendees", "value": ["a@acme.example", "b@acme.example"]}]));
}

#[test]
fn one_that_stands_at_everybodys_own_address_needs_it() {
    for name in ["caldav", "jira", "salesforce"] {
        let message = Builtin::named(name).unwrap().service(None).unwrap_err().to_string();
        assert!(message.contains("--upstream"), "{message}");
    }
    let git = Builtin::named("git").unwrap();
    assert_eq!(git.service(None).unwrap().upstream().to_string(), "https://github.com");
    assert_eq!(
        git.service(Some("https://git.acme.example/")).unwrap().upstream().to_string(),
        "https://git.acme.example"
    );
    assert!(git.service(Some("http://git.acme.example")).is_err());
    assert!(git.service(Some("http://127.0.0.1:8080")).is_ok());
    assert!(Builtin::named("gopher").is_none());
}

#[test]
fn github_and_gitlab() {
    asks(
        "github",
        &[
            ("GET", "/user/repos", "repos/read:/"),
            ("GET", "/repos/acme/web", "repos/read:repos/acme/web"),
            ("DELETE", "/repos/acme/web", "repos/write/delete:repos/acme/web"),
            ("GET", "/repos/acme/web/issues", "issues/read:repos/acme/web"),
            ("PATCH", "/repos/acme/web/issues/7", "issues/write:repos/acme/web/issues/7"),
            ("POST", "/repos/acme/web/issues/7/comments", "issues/comments/write:repos/acme/web/issues/7"),
            ("GET", "/repos/acme/web/contents/src/lib.rs", "contents/read:repos/acme/web/contents/src/lib.rs"),
            ("PUT", "/repos/acme/web/contents/src/lib.rs", "contents/write:repos/acme/web/contents/src/lib.rs"),
            ("PATCH", "/repos/acme/web/git/refs/heads/main", "git/write:repos/acme/web/git/refs/heads/main"),
            ("PUT", "/repos/acme/web/pulls/7/merge", "pulls/merge:repos/acme/web/pulls/7"),
            (
                "POST",
                "/repos/acme/web/actions/workflows/ci.yml/dispatches",
                "actions/run:repos/acme/web/workflows/ci.yml",
            ),
            ("POST", "/repos/acme/web/transfer", "no_route"),
            ("POST", "/graphql", "no_route"),
        ],
    );
    asks(
        "gitlab",
        &[
            ("GET", "/projects/7/issues/3", "issues/read:projects/7/issues/3"),
            ("PUT", "/projects/7/merge_requests/3/merge", "merge-requests/merge:projects/7/merge-requests/3"),
            ("DELETE", "/projects/7", "projects/write/delete:projects/7"),
            ("POST", "/projects/7/repository/commits", "contents/write:projects/7"),
            ("POST", "/projects/7/pipeline", "pipelines/run:projects/7"),
        ],
    );
}

#[test]
fn google() {
    asks(
        "google-calendar",
        &[
            ("GET", "/calendar/v3/calendars/team%40acme.com/events", "events/read:calendars/team@acme.com"),
            ("POST", "/calendar/v3/calendars/primary/events", "events/write:calendars/primary"),
            ("DELETE", "/calendar/v3/calendars/primary/events/e1", "events/write/delete:calendars/primary/events/e1"),
            ("POST", "/calendar/v3/freeBusy", "free-busy/read:/"),
            ("POST", "/calendar/v3/calendars/primary/acl", "sharing/write:calendars/primary"),
        ],
    );
    asks(
        "gmail",
        &[
            ("GET", "/gmail/v1/users/me/messages/m1", "messages/read:users/me/messages/m1"),
            ("POST", "/gmail/v1/users/me/messages/send", "send:users/me"),
            ("POST", "/upload/gmail/v1/users/me/messages/send", "send:users/me"),
            ("POST", "/gmail/v1/users/me/drafts/send", "send:users/me"),
            ("POST", "/gmail/v1/users/me/messages/batchDelete", "messages/write/delete:users/me"),
            ("POST", "/gmail/v1/users/me/settings/forwardingAddresses", "no_route"),
        ],
    );
    asks(
        "drive",
        &[
            ("GET", "/drive/v3/files/f1", "files/read:files/f1"),
            ("PATCH", "/upload/drive/v3/files/f1", "files/write:files/f1"),
            ("DELETE", "/drive/v3/files/trash", "files/write/delete:/"),
            ("DELETE", "/drive/v3/files/f1", "files/write/delete:files/f1"),
            ("POST", "/drive/v3/files/f1/permissions", "permissions/write:files/f1"),
        ],
    );
}

#[test]
fn work_and_messages() {
    asks(
        "slack",
        &[
            ("POST", "/conversations.list", "conversations/read/list:/"),
            ("GET", "/conversations.history?channel=C1", "conversations/read/history:/"),
            ("POST", "/chat.postMessage", "chat/write/postMessage:/"),
            ("GET", "/chat.postMessage", "chat/write/postMessage:/"),
            ("POST", "/users.profile.set", "users/profile/write/set:/"),
            ("GET", "/apps.uninstall", "no_route"),
            ("GET", "/auth.revoke", "no_route"),
        ],
    );
    asks(
        "jira",
        &[
            ("POST", "/rest/api/3/search", "search/read:/"),
            ("GET", "/rest/api/3/issue/A-1", "issues/read:issues/A-1"),
            ("POST", "/rest/api/3/issue/A-1/comment", "comments/write:issues/A-1"),
            ("POST", "/rest/api/3/issue/A-1/transitions", "transitions/write:issues/A-1"),
            ("DELETE", "/rest/api/3/project/A", "method_not_allowed"),
        ],
    );
    // Its fields: `each_field_of_a_graphql_operation_is_an_operation`.
    asks("linear", &[("GET", "/graphql", "method_not_allowed"), ("POST", "/oauth/token", "no_route")]);
    asks(
        "notion",
        &[
            ("POST", "/v1/search", "search/read:/"),
            ("POST", "/v1/databases/d1/query", "databases/read:databases/d1"),
            ("PATCH", "/v1/blocks/b1/children", "blocks/write:blocks/b1"),
        ],
    );
    asks(
        "salesforce",
        &[
            ("GET", "/services/data/v60.0/query?q=SELECT+Id+FROM+Opportunity", "query/read:/"),
            ("GET", "/services/data/v60.0/sobjects/Opportunity/006", "records/read:Opportunity/006"),
            ("PATCH", "/services/data/v60.0/sobjects/Opportunity/006", "records/write:Opportunity/006"),
            ("POST", "/services/data/v60.0/composite", "no_route"),
        ],
    );
    asks(
        "sentry",
        &[
            ("GET", "/api/0/organizations/acme/issues/1/", "issues/read:acme/issues/1"),
            ("PUT", "/api/0/organizations/acme/issues/1/", "issues/write:acme/issues/1"),
            ("DELETE", "/api/0/projects/acme/web/", "projects/write/delete:acme/web"),
        ],
    );
}

#[test]
fn money_and_models() {
    asks(
        "stripe",
        &[
            ("GET", "/v1/charges/ch_1", "charges/read:charges/ch_1"),
            ("GET", "/v1/charges/search", "charges/read:/"),
            ("POST", "/v1/refunds", "refunds/write/create:/"),
            ("POST", "/v1/payment_intents/pi_1/capture", "payment-intents/write/capture:payment-intents/pi_1"),
            ("DELETE", "/v1/subscriptions/sub_1", "subscriptions/write/cancel:subscriptions/sub_1"),
            ("GET", "/v1/api_keys", "no_route"),
        ],
    );
    asks(
        "openai",
        &[
            ("POST", "/v1/responses", "models/run/responses:/"),
            ("GET", "/v1/files/f1/content", "files/read:files/f1"),
            ("GET", "/v1/organization/admin_api_keys", "no_route"),
        ],
    );
    asks(
        "anthropic",
        &[
            ("POST", "/v1/messages", "models/run/messages:/"),
            ("POST", "/v1/messages/count_tokens", "tokens/read:/"),
            ("GET", "/v1/messages/batches/b1/results", "batches/read:batches/b1"),
        ],
    );
}

#[test]
fn caldav_and_git() {
    asks(
        "caldav",
        &[
            ("PROPFIND", "/", "calendars/read:/"),
            ("REPORT", "/alice/work/", "events/read:alice/work"),
            ("PUT", "/alice/work/e1.ics", "events/write:alice/work/e1.ics"),
            ("DELETE", "/alice/work/e1.ics", "events/write/delete:alice/work/e1.ics"),
            ("DELETE", "/alice/work/", "calendars/write/delete:alice/work"),
            ("MOVE", "/alice/work/e1.ics", "method_not_allowed"),
        ],
    );
    asks(
        "git",
        &[
            ("GET", "/acme/web.git/info/refs?service=git-upload-pack", "fetch:acme/web"),
            ("GET", "/acme/web/info/refs", "fetch:acme/web"),
            ("POST", "/acme/web.git/git-upload-pack", "fetch:acme/web"),
            ("POST", "/acme/web.git/git-receive-pack", "push:acme/web"),
            ("POST", "/acme/web/git-receive-pack", "push:acme/web"),
            ("POST", "/acme/web.wiki.git/git-receive-pack", "push:acme/web.wiki"),
            ("GET", "/acme/web", "no_route"),
        ],
    );
}
