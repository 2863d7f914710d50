//! From an assertion to a writ, and from there to its end.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Value, json};
use tempfile::TempDir;
use writ::clock::ManualClock;
use writ::config::authority::AuthorityTerms;
use writ::token::inspect::inspect;
use writ::token::{Limits, RawToken};

use super::mint::{Idp, assertion, at, encoded, terms};
use crate::identity::exchange::{SCOPE, refused};
use crate::identity::race::race;
use crate::store::{Database, for_every_backend};
use crate::support::authority::{Reply, START, TestAgent, TestAuthority, start_with};

for_every_backend!(
    an_assertion_and_an_agents_key_give_a_writ_for_the_user,
    an_assertion_is_exchanged_once_in_whatever_document_it_comes,
    what_ends_a_user_or_a_session_ends_what_an_assertion_bought,
    whoever_is_inactive_in_the_providers_directory_loses_what_an_assertion_bought,
    whatever_ends_while_an_assertion_is_exchanged_the_writ_is_refused_or_dead,
);

const SAML2: &str = "urn:ietf:params:oauth:token-type:saml2";

struct Test {
    authority: TestAuthority,
    idp: Idp,
    _dir: TempDir,
}

impl Test {
    async fn start(database: &Database, more: &str) -> Self {
        let idp = Idp::new();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("idp.pem");
        std::fs::write(&path, idp.public_pem()).unwrap();
        let saml = vec![terms(&path.display().to_string(), more)];
        let terms = AuthorityTerms { saml, ..AuthorityTerms::default() };
        let authority = start_with(database.store.clone(), Arc::new(ManualClock::at(START)), terms).await;
        Self { authority, idp, _dir: dir }
    }

    async fn agent(&self, grant: Value) -> TestAgent {
        let agent = self.authority.agent("planner").await;
        let mut grant = grant;
        grant["agent"] = json!("planner");
        grant["capabilities"] = json!([SCOPE]);
        self.authority.post("/v1/grants", grant).await.ok();
        agent
    }

    async fn exchange_with(&self, agent: &TestAgent, document: &str, replaced: &[(&str, &str)]) -> Reply {
        let token = encoded(document);
        let exchange = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token", &*token),
            ("subject_token_type", SAML2),
            ("scope", SCOPE),
        ];
        let mut form = self.authority.form(agent, &[]);
        for (name, value) in exchange.iter().chain(replaced) {
            form.retain(|(other, _)| other != name);
            form.push(((*name).to_owned(), (*value).to_owned()));
        }
        self.authority.token_with(&form, Some(&self.authority.token_proof(&agent.key))).await
    }

    async fn exchange(&self, agent: &TestAgent, document: &str) -> Reply {
        self.exchange_with(agent, document, &[]).await
    }

    /// An assertion of its own, made and logged in `secs` after the start.
    fn fresh(&self, id: &str, session: &str, secs: i64) -> String {
        let text = assertion()
            .replace("_a1", id)
            .replace("session-1", session)
            .replace(&at(-5), &at(secs))
            .replace(&at(-60), &at(secs))
            .replace(&at(300), &at(secs + 300))
            .replace(&at(600), &at(secs + 600));
        self.idp.sign(&text)
    }

    async fn live(&self, user: &str) -> usize {
        let (tenant, user) = ("default".parse().unwrap(), user.parse().unwrap());
        self.authority.store.issued_for(&tenant, &user, self.authority.clock_now(), 100).await.unwrap().len()
    }
}

async fn an_assertion_and_an_agents_key_give_a_writ_for_the_user(database: &Database) {
    let test = Test::start(database, "").await;
    let agent = test.agent(json!({ "group": "finance" })).await;
    let reply = test.exchange(&agent, &test.idp.sign(&assertion())).await.ok();
    assert_eq!(reply["token_type"], "DPoP");
    let limits = Limits::default();
    let raw = RawToken::parse(reply["access_token"].as_str().unwrap(), &limits).unwrap();
    let writ = inspect(&raw, &limits).unwrap();
    let block = writ.claims().authority();
    assert_eq!(block.subject.as_ref().unwrap().as_str(), "alice");
    assert_eq!(block.session.as_ref().unwrap().as_str(), "session-1");
    assert_eq!(block.holder, Some(agent.key.public()));
    // It ends before the assertion does.
    assert_eq!(reply["expires_in"], 299);
    let audit = test.authority.get("/v1/audit?agent=planner").await.text;
    assert!(audit.contains("idp") && audit.contains("alice") && audit.contains(&block.id.to_string()), "{audit}");
    // Not the agent's word for the user, now that somebody knows them.
    let claimed = test.authority.form(&agent, &[("scope", SCOPE), ("subject", "alice")]);
    let proof = test.authority.token_proof(&agent.key);
    refused(test.authority.token_with(&claimed, Some(&proof)).await, 400, "invalid_request");
}

#[tokio::test]
async fn every_refusal_of_an_assertion_says_what_to_change() {
    let test = Test::start(&Database::sqlite().await, "").await;
    let agent = test.agent(json!({ "group": "finance" })).await;
    for (document, word) in [
        (
            test.idp.sign(&assertion().replace("https://writ.example</", "https://other.example</")),
            "`audience` of provider `idp`",
        ),
        (Idp::new().sign(&assertion()), "`certificates`"),
        ("<a/>".to_owned(), "0 assertions"),
        (format!("<a>{}</a>", "a".repeat(90 << 10)), "65536"),
    ] {
        let description = refused(test.exchange(&agent, &document).await, 400, "invalid_request");
        assert!(description.contains(word), "{description}");
    }
    let id_token = [("subject_token_type", "urn:ietf:params:oauth:token-type:id_token")];
    refused(test.exchange_with(&agent, &test.idp.sign(&assertion()), &id_token).await, 400, "invalid_request");
    refused(test.exchange_with(&agent, &"a".repeat(200 << 10), &[]).await, 400, "invalid_request");
    // Nothing of this used it up.
    test.exchange(&agent, &test.idp.sign(&assertion())).await.ok();
}

async fn an_assertion_is_exchanged_once_in_whatever_document_it_comes(database: &Database) {
    let test = Test::start(database, "").await;
    let agent = test.agent(json!({ "subject": "alice" })).await;
    let signed = test.idp.sign(&assertion());
    let wrong = [("scope", "notes:write:team")];
    refused(test.exchange_with(&agent, &signed, &wrong).await, 400, "invalid_scope");
    let (one, two) = tokio::join!(test.exchange(&agent, &signed), test.exchange(&agent, &signed));
    assert_eq!([one.status, two.status].iter().filter(|status| **status == 200).count(), 1);
    let response =
        format!("<samlp:Response xmlns:samlp=\"urn:oasis:names:tc:SAML:2.0:protocol\">{signed}</samlp:Response>");
    for again in [signed, test.idp.sign(&assertion()), response] {
        let description = refused(test.exchange(&agent, &again).await, 400, "invalid_request");
        assert!(description.contains("exchanged before"), "{description}");
    }
    test.exchange(&agent, &test.fresh("_a2", "session-1", 0)).await.ok();
}

async fn what_ends_a_user_or_a_session_ends_what_an_assertion_bought(database: &Database) {
    let test = Test::start(database, "single_use = false").await;
    let agent = test.agent(json!({ "subject": "alice" })).await;
    let first = test.fresh("_a1", "session-1", 0);
    test.exchange(&agent, &first).await.ok();
    assert_eq!(test.live("alice").await, 1);
    test.authority.post("/v1/revocations", json!({ "target": "session:default/session-1" })).await.ok();
    assert_eq!(test.live("alice").await, 0);
    let description = refused(test.exchange(&agent, &first).await, 400, "invalid_request");
    assert!(description.contains("log in again"), "{description}");
    let second = test.fresh("_a2", "session-2", 0);
    test.exchange(&agent, &second).await.ok();
    // The user: everything from before, and nothing until somebody says that they are back.
    test.authority.post("/v1/revocations", json!({ "target": "subject:default/alice" })).await.ok();
    assert_eq!(test.live("alice").await, 0);
    refused(test.exchange(&agent, &second).await, 400, "invalid_grant");
    test.authority.post("/v1/users/reactivate", json!({ "subject": "alice" })).await.ok();
    test.authority.clock.advance(Duration::from_secs(60));
    refused(test.exchange(&agent, &second).await, 400, "invalid_request");
    test.exchange(&agent, &test.fresh("_a3", "session-3", 60)).await.ok();
}

/// SAML has no logout here; its providers' directories have.
async fn whoever_is_inactive_in_the_providers_directory_loses_what_an_assertion_bought(database: &Database) {
    let test = Test::start(database, "user_prefix = \"saml:\"\nscim_user = \"externalId\"").await;
    let agent = test.agent(json!({ "subject": "saml:alice" })).await;
    let secret = crate::scim::secret(&test.authority, "idp").await;
    let directory = async |method: Method, path: &str, body: Value| {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, format!("Bearer {secret}").parse().unwrap());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/scim+json"));
        test.authority.raw(method, &format!("/scim/v2{path}"), headers, body.to_string()).await.ok()
    };
    let user = json!({ "schemas": [crate::scim::USER], "userName": "a.liddell", "externalId": "alice" });
    let added = directory(Method::POST, "/Users", user).await;
    let path = format!("/Users/{}", added["id"].as_str().unwrap());
    test.exchange(&agent, &test.fresh("_a1", "session-1", 0)).await.ok();
    assert_eq!(test.live("saml:alice").await, 1);
    let active = async |active: bool| {
        let operations = json!([{ "op": "replace", "path": "active", "value": active }]);
        let patch = json!({ "schemas": [crate::scim::PATCH], "Operations": operations });
        directory(Method::PATCH, &path, patch).await;
    };
    active(false).await;
    assert_eq!(test.live("saml:alice").await, 0);
    refused(test.exchange(&agent, &test.fresh("_a2", "session-2", 0)).await, 400, "invalid_grant");
    active(true).await;
    // From before, and from a new login.
    refused(test.exchange(&agent, &test.fresh("_a3", "session-3", 0)).await, 400, "invalid_request");
    test.authority.clock.advance(Duration::from_secs(60));
    test.exchange(&agent, &test.fresh("_a4", "session-4", 60)).await.ok();
}

/// An end of every kind that a SAML provider has, and exchanges, at the same moment.
async fn whatever_ends_while_an_assertion_is_exchanged_the_writ_is_refused_or_dead(database: &Database) {
    let test = Test::start(database, "user_prefix = \"saml:\"\nsingle_use = false").await;
    let agent = test.agent(json!({ "subject": "saml:alice" })).await;
    let secret = crate::scim::secret(&test.authority, "idp").await;
    let directory = async |method: Method, path: &str, body: Value| {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, format!("Bearer {secret}").parse().unwrap());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/scim+json"));
        test.authority.raw(method, &format!("/scim/v2{path}"), headers, body.to_string()).await.ok()
    };
    let alice = json!({ "schemas": [crate::scim::USER], "userName": "alice" });
    let mut issued = 0;
    for round in 0..16 {
        test.authority.clock.advance(Duration::from_secs(30));
        let added = directory(Method::POST, "/Users", alice.clone()).await;
        let path = format!("/Users/{}", added["id"].as_str().unwrap());
        let session = format!("session-{round}");
        let login = test.fresh(&format!("_a{round}"), &session, 30 * (round + 1));
        let end = async {
            match round / 4 {
                0 => {
                    let operations = json!([{ "op": "replace", "path": "active", "value": false }]);
                    let patch = json!({ "schemas": [crate::scim::PATCH], "Operations": operations });
                    directory(Method::PATCH, &path, patch).await;
                }
                1 => drop(directory(Method::DELETE, &path, Value::Null).await),
                2 => {
                    let target = format!("session:default/saml:{session}");
                    test.authority.post("/v1/revocations", json!({ "target": target })).await.ok();
                }
                _ => {
                    let target = json!({ "target": "acting:default/planner/saml:alice" });
                    test.authority.post("/v1/revocations", target).await.ok();
                }
            }
        };
        let moment = usize::try_from(round).unwrap() % 4;
        issued += race(async || test.exchange(&agent, &login).await, moment, end).await;
        assert_eq!(test.live("saml:alice").await, 0, "round {round}");
        assert_eq!(test.exchange(&agent, &login).await.status, 400, "round {round}");
        if round / 4 != 1 {
            directory(Method::DELETE, &path, Value::Null).await;
        }
    }
    assert!(issued > 0, "nothing was issued, so nothing was tested");
}
