//! SCIM: what a provider says of its users and groups, in every dialect that counts, and that whoever is said to be gone is gone.
//!
//! A failure is a user who is blocked or out of a group and has a live writ after the answer, an answer that is not SCIM's, or a
//! check of somebody else's compliance suite that does not pass.

mod access;
mod compliance;
pub(crate) mod global;
mod kill;
mod race;
mod real;
mod resources;

use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Value, json};

use crate::identity::exchange::Test;
use crate::store::Database;
use crate::support::authority::{Reply, TestAuthority};

pub(crate) const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
pub(crate) const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
pub(crate) const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

/// An authority with a provider, and that provider's SCIM client.
pub(crate) struct Scim {
    pub(crate) test: Test,
    pub(crate) secret: String,
}

pub(crate) async fn secret(authority: &TestAuthority, provider: &str) -> String {
    let token = authority.post("/v1/scim/tokens", json!({ "provider": provider })).await.ok();
    token["secret"].as_str().unwrap().to_owned()
}

impl Scim {
    pub(crate) async fn start(database: &Database, more: &str) -> Self {
        let test = Test::start(database, more).await;
        let secret = secret(&test.authority, "corp").await;
        Self { test, secret }
    }

    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, format!("Bearer {}", self.secret).parse().unwrap());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/scim+json"));
        headers
    }

    /// One call. Whatever is answered is SCIM's.
    #[track_caller]
    pub(crate) fn checked(reply: Reply) -> Reply {
        if !reply.text.is_empty() {
            assert_eq!(reply.headers[header::CONTENT_TYPE], "application/scim+json", "{}", reply.text);
        }
        if reply.status >= 400 {
            assert_eq!(reply.json["schemas"], json!(["urn:ietf:params:scim:api:messages:2.0:Error"]), "{}", reply.text);
            assert_eq!(reply.json["status"], reply.status.to_string());
            assert!(!reply.json["detail"].as_str().unwrap().is_empty());
        }
        reply
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Reply {
        let body = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
        Self::checked(self.test.authority.raw(method, &format!("/scim/v2{path}"), self.headers(), body).await)
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.call(Method::GET, path, None).await.ok()
    }

    pub(crate) async fn patch(&self, path: &str, operations: Value) -> Reply {
        let body = json!({ "schemas": [PATCH], "Operations": operations });
        self.call(Method::PATCH, path, Some(body)).await
    }

    /// Adds a user; answers the path.
    pub(crate) async fn user(&self, mut user: Value) -> String {
        user["schemas"] = json!([USER]);
        let added = self.call(Method::POST, "/Users", Some(user)).await.ok();
        format!("/Users/{}", added["id"].as_str().unwrap())
    }

    /// Adds a group of these users; answers the path.
    pub(crate) async fn group(&self, name: &str, members: &[&str]) -> String {
        let members: Vec<_> = members.iter().map(|path| json!({ "value": id(path) })).collect();
        let group = json!({ "schemas": [GROUP], "displayName": name, "members": members });
        let added = self.call(Method::POST, "/Groups", Some(group)).await.ok();
        format!("/Groups/{}", added["id"].as_str().unwrap())
    }
}

/// The id at the end of a path.
pub(crate) fn id(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}

/// A refusal by SCIM, with its `scimType`.
#[track_caller]
pub(crate) fn refused(reply: Reply, status: u16, scim_type: &str) {
    assert_eq!((reply.status, reply.json["scimType"].as_str().unwrap_or("")), (status, scim_type), "{}", reply.text);
}
