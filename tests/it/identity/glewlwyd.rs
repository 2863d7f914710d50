//! The real thing, in the other dialect: glewlwyd, whose login page is a script, whose logout tokens are `typ` `JWT` without `exp`,
//! and which tells nobody when a user is disabled.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use writ::clock::{Clock as _, SystemClock};
use writ::dial::{AuthorityClient, TrustedRoots};
use writ::key::KeyPair;

use crate::cli::Finished;
use crate::identity::jose::Key;
use crate::identity::real::{SCOPE, SECRET, before_long, fed, node, notes, service};
use crate::support::authority::WITHIN;
use crate::world::{Kept, Process, World, client, counterpart, free_address, listens, measured, on_every_store};

// Letters and digits only: glewlwyd compares what RFC 6749 has a client encode as it comes.
const CLIENT_SECRET: &str = "desktopAtGlewlwyd4Tz8";
/// What access tokens are for.
const RESOURCE: &str = "https://writ.example";

/// A glewlwyd with two users, and its logout calls on their way to the authority.
struct Glewlwyd {
    issuer: String,
    port: String,
    dir: TempDir,
    calls: Calls,
    process: Process,
}

impl Glewlwyd {
    async fn start(at: SocketAddr, authority: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/glewlwyd");
        let program = installed.join("usr/bin/glewlwyd");
        assert!(program.exists(), "{} is missing: run scripts/ensure-glewlwyd", program.display());
        let (port, folder) = (at.port().to_string(), dir.path().display().to_string());
        administrator(&["prepare", &installed.display().to_string(), &folder, &port], "");
        let mut command = Command::new(program);
        command.arg("--config-file").arg(dir.path().join("glewlwyd.conf"));
        let mut process = Process::start(command, dir.path().join("log"));
        process.until("glewlwyd", || listens(at));
        let jwks = dir.path().join("jwks");
        let mut key = Key::make("RSA", "1").private;
        key["alg"] = json!("RS256");
        fs::write(&jwks, json!({ "keys": [key] }).to_string()).unwrap();
        let calls = Calls::default();
        let logout = calls.relay(authority).await;
        let users = "alice staff finance\nbob finance\n";
        administrator(&["configure", &port, &jwks.display().to_string(), &logout, CLIENT_SECRET, RESOURCE], users);
        Self { issuer: format!("http://{at}/api/oidc"), port, dir, calls, process }
    }

    fn administers(&self, command: &str, user: &str) {
        administrator(&[command, &self.port, user], "");
    }

    fn state(&self, user: &str) -> String {
        self.dir.path().join(format!("browser-of-{user}")).display().to_string()
    }

    fn logs_in(&self, user: &str) -> Finished {
        node(&["login", &self.issuer, user, &self.state(user), CLIENT_SECRET, RESOURCE], "")
    }

    /// Until glewlwyd has called, which it does beside its answer.
    fn logs_out(&self, user: &str) {
        node(&["logout", &self.issuer, &self.state(user)], "").ok();
        let begun = SystemClock.monotonic();
        while self.calls.made() == 0 {
            assert!(SystemClock.monotonic().since(begun) < WITHIN, "{}", self.process.log());
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// What the application has since `user` logged in, besides the ID token.
    fn access_token(&self, user: &str) -> String {
        let state: Value = serde_json::from_str(&fs::read_to_string(self.state(user)).unwrap()).unwrap();
        state["accessToken"].as_str().unwrap().to_owned()
    }
}

fn administrator(args: &[&str], input: &str) {
    let mut command = Command::new(counterpart("bin/python"));
    command.arg(client("glewlwyd.py")).args(args);
    fed(command, input).ok();
}

/// One call of the provider: what it sent, what it was answered, and after how many milliseconds.
struct Called {
    body: String,
    status: u16,
    took_ms: u128,
}

#[derive(Clone, Default)]
struct Calls(Arc<Mutex<Vec<Called>>>);

impl Calls {
    /// Where the provider calls. What comes is passed on as it is, since glewlwyd does not say how long a call took.
    async fn relay(&self, authority: &str) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/identity/corp/logout", listener.local_addr().unwrap());
        let authority = AuthorityClient::new(authority.parse().unwrap(), &TrustedRoots::web());
        let router = Router::new().fallback(passed_on).with_state((Arc::new(authority), self.clone()));
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    fn made(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

async fn passed_on(
    State((authority, calls)): State<(Arc<AuthorityClient>, Calls)>,
    request: Request,
) -> (StatusCode, Bytes) {
    let begun = SystemClock.monotonic();
    let (mut parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    parts.headers.remove("host");
    let sent = String::from_utf8(body.to_vec()).unwrap();
    let answer = authority.call(parts.method, parts.uri.path(), parts.headers, body, WITHIN).await.unwrap();
    let took_ms = SystemClock.monotonic().since(begun).as_millis();
    calls.0.lock().unwrap().push(Called { body: sent, status: answer.status.as_u16(), took_ms });
    (answer.status, answer.body)
}

/// The part of a token with this number, read.
fn part(token: &str, number: usize) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(number).unwrap()).unwrap()).unwrap()
}

fn settings(at: SocketAddr, more: &str) -> String {
    format!(
        "\n[[identity.provider]]\nname = \"corp\"\nissuer = \"http://{at}/api/oidc\"\nclient_ids = [\"desktop\"]\n\
         audiences = [\"{RESOURCE}\"]\nallow_private = true\nclock_skew_s = 1\n{more}\n"
    )
}

/// An installation with a service, and the agent `planner` that may act for members of `finance`.
async fn world(kept: Kept, settings: &str) -> (World, String) {
    let upstream = notes().await;
    let world = World::raise_with(kept, settings).await;
    let own = &["notes:read:agents-own"];
    world.offer(&service(upstream), &["notes-key", "--header", "x-api-key"], SECRET, "planner", own);
    world.operate(&["grant", "add", "planner", "--group", "finance", "--allow", SCOPE]).ok();
    (world, format!("http://{upstream}/notes/team"))
}

fn call(world: &World, url: &str, token: &str) -> Finished {
    let run = || world.run("planner.pem", token, &["curl", "-s", "-w", " %{http_code}", url]);
    // On a busy machine an edge may be without a lease for a moment, and says so.
    before_long(run, |finished| !finished.stderr.contains("not fresh"))
}

/// By requests_oauth2client.
fn exchange(world: &World, token: &str, token_type: &str) -> Finished {
    let key = world.dir().join("planner.pem");
    let id = KeyPair::from_pem(&fs::read_to_string(&key).unwrap()).unwrap().public().to_string();
    let mut command = Command::new(counterpart("bin/python"));
    command.args([client("exchange_token.py"), format!("{}/oauth/token", world.authority), "planner".into(), id]);
    command.arg(key).args([SCOPE, token_type]);
    fed(command, token)
}

async fn a_logout_at_glewlwyd_ends_what_agents_do_for_the_user(kept: Kept) {
    let at = free_address();
    let (world, url) = world(kept, &settings(at, "")).await;
    let glewlwyd = Glewlwyd::start(at, &world.authority).await;

    let (alice, bob) = (glewlwyd.logs_in("alice").ok(), glewlwyd.logs_in("bob").ok());
    let writs = [&alice, &bob].map(|token| exchange(&world, token, "id_token").ok());
    for writ in &writs {
        assert_eq!(call(&world, &url, writ).ok(), "notes of the team 200");
    }

    glewlwyd.logs_out("alice");
    let dead = call(&world, &url, &writs[0]);
    assert!(dead.code == 1 && dead.stderr.contains("the edge refuses the writ"), "{dead:?}");
    let late = exchange(&world, &alice, "id_token");
    assert!(late.code == 3 && late.stdout.contains("log in again"), "{late:?}");
    assert_eq!(call(&world, &url, &writs[1]).ok(), "notes of the team 200", "somebody else's session");
    {
        let calls = glewlwyd.calls.0.lock().unwrap();
        let [Called { body, status: 200, took_ms }] = &calls[..] else { panic!("not one call that was answered 200") };
        let token = body.strip_prefix("logout_token=").unwrap();
        let (header, claims) = (part(token, 0), part(token, 1));
        assert_eq!((&header["typ"], claims.get("exp")), (&json!("JWT"), None), "its dialect: {header} {claims}");
        assert_eq!(claims["sid"], part(&alice, 1)["sid"]);
        measured("glewlwyd", &format!("logout, {kept:?}"), took_ms);
    }
    let audit = world.operate(&["audit", "export"]).ok();
    assert!(audit.contains("backchannel_logout") && audit.contains(r#""name":"corp""#), "{audit}");

    // The session ended, not the user.
    let again = exchange(&world, &glewlwyd.logs_in("alice").ok(), "id_token").ok();
    assert_eq!(call(&world, &url, &again).ok(), "notes of the team 200");
    world.holds_nowhere(SECRET);
    world.holds_nowhere(&alice);
}

async fn what_glewlwyd_does_not_tell_the_next_exchange_asks(kept: Kept) {
    let at = free_address();
    let secrets = TempDir::new().unwrap();
    fs::write(secrets.path().join("client"), CLIENT_SECRET).unwrap();
    let live = format!(
        "live_check = \"introspection\"\nclient_id = \"desktop\"\nclient_secret_file = \"{}\"",
        secrets.path().join("client").display()
    );
    let (world, url) = world(kept, &settings(at, &live)).await;
    let glewlwyd = Glewlwyd::start(at, &world.authority).await;
    glewlwyd.logs_in("alice").ok();
    glewlwyd.logs_in("bob").ok();
    let (alice, bob) = (glewlwyd.access_token("alice"), glewlwyd.access_token("bob"));
    // glewlwyd's access tokens name no groups.
    let subject = |token: &str| part(token, 1)["sub"].as_str().unwrap().to_owned();
    let writs = [&alice, &bob].map(|token| {
        world.operate(&["grant", "add", "planner", "--subject", &subject(token), "--allow", SCOPE]).ok();
        exchange(&world, token, "access_token").ok()
    });
    for writ in &writs {
        assert_eq!(call(&world, &url, writ).ok(), "notes of the team 200");
    }

    glewlwyd.administers("remove", "alice");
    let late = exchange(&world, &alice, "access_token");
    assert!(late.code == 3 && late.stdout.contains("counts no longer"), "{late:?}");

    // Disabling only keeps a user from logging in: glewlwyd calls the tokens active still, so an operator ends the rest.
    glewlwyd.administers("disable", "bob");
    assert_ne!(glewlwyd.logs_in("bob").code, 0);
    exchange(&world, &bob, "access_token").ok();
    assert_eq!(glewlwyd.calls.made(), 0, "it tells nobody");
    for (token, writ, what) in [(&alice, &writs[0], "removed"), (&bob, &writs[1], "disabled")] {
        assert_eq!(call(&world, &url, writ).ok(), "notes of the team 200");
        let user = format!("subject:default/{}", subject(token));
        let receipt = world.operate(&["revoke", &user, "--json"]).json();
        let dead = call(&world, &url, writ);
        assert!(dead.code == 1 && dead.stderr.contains("the edge refuses the writ"), "{dead:?}");
        measured("glewlwyd", &format!("{what} there, the operator's word here, {kept:?}"), &receipt["elapsed_ms"]);
    }
    assert_eq!(exchange(&world, &bob, "access_token").code, 3);
    for secret in [SECRET, CLIENT_SECRET, &alice, &bob] {
        world.holds_nowhere(secret);
    }
}

on_every_store!(
    a_logout_at_glewlwyd_ends_what_agents_do_for_the_user,
    what_glewlwyd_does_not_tell_the_next_exchange_asks,
);
