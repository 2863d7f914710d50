//! The real thing: somebody else's identity provider (oidc-provider), a user who logs in there, agents that use four OAuth
//! clients which know nothing of writ, and a service behind an edge. Then the user logs out, and the next call fails.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use axum::Router;
use http::{HeaderMap, StatusCode};
use serde_json::json;
use writ::clock::{Clock as _, SystemClock};
use writ::key::KeyPair;

use crate::cli::{Finished, finished};
use crate::identity::jose::Key;
use crate::world::{Kept, Process, World, client, counterpart, free_address, listens, measured, on_every_store};

pub(crate) const SECRET: &str = "key-of-the-notes-7fQ2";
pub(crate) const SCOPE: &str = "notes:read:team";

/// The provider at `at`, with one key, reporting logouts to `authority`.
fn provider(dir: &Path, at: SocketAddr, key: &Key, authority: &str) -> Process {
    fs::write(dir.join("jwks"), json!({ "keys": [key.private] }).to_string()).unwrap();
    let mut command = crate::world::node();
    command.args([client("identity_provider.mjs"), counterpart("node_modules"), at.port().to_string()]);
    command.arg(dir.join("jwks")).arg(format!("{authority}/v1/identity/corp/logout"));
    let mut process = Process::start(command, dir.join("log"));
    process.until("oidc-provider", || listens(at));
    process
}

/// The user's browser, or an agent's OAuth client, with `input`.
pub(crate) fn node(args: &[&str], input: &str) -> Finished {
    let mut command = crate::world::node();
    command.args([client("use_identity.mjs"), counterpart("node_modules")]).args(args);
    fed(command, input)
}

pub(crate) fn fed(mut command: Command, input: &str) -> Finished {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    finished(child.wait_with_output().unwrap())
}

/// A service that wants its key.
pub(crate) async fn notes() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let router = Router::new().fallback(async |headers: HeaderMap| match headers.get("x-api-key") {
        Some(key) if key == SECRET => (StatusCode::OK, "notes of the team"),
        _ => (StatusCode::UNAUTHORIZED, "no"),
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    at
}

pub(crate) fn service(at: SocketAddr) -> String {
    format!(
        "name = \"notes\"\nupstream = \"http://{at}\"\nallow_private = true\ncredential = \"notes-key\"\n\n[[route]]\n\
         methods = [\"GET\"]\npath = \"/notes/{{team}}\"\naction = \"read\"\nresource = \"{{team}}\"\n"
    )
}

/// Repeats what may fail for a few seconds, until it `fits`: a provider's new keys are looked for every 5 s at most.
pub(crate) fn before_long(what: impl Fn() -> Finished, fits: impl Fn(&Finished) -> bool) -> Finished {
    let begun = SystemClock.monotonic();
    loop {
        let finished = what();
        if fits(&finished) || SystemClock.monotonic().since(begun) > Duration::from_secs(60) {
            return finished;
        }
    }
}

async fn a_user_logs_in_agents_act_for_them_and_the_logout_ends_it(kept: Kept) {
    let dir = tempfile::tempdir().unwrap();
    let at = free_address();
    let issuer = format!("http://{at}");
    let settings = format!(
        "\n[[identity.provider]]\nname = \"corp\"\nissuer = \"{issuer}\"\nclient_ids = [\"desktop\"]\nallow_private = true\n\
         clock_skew_s = 1\n"
    );
    let upstream = notes().await;
    let world = World::raise_with(kept, &settings).await;
    let (first, second) = (Key::make("RSA", "1"), Key::make("RSA", "2"));
    let idp = provider(dir.path(), at, &first, &world.authority);
    world.offer(
        &service(upstream),
        &["notes-key", "--header", "x-api-key"],
        SECRET,
        "planner",
        &["notes:read:agents-own"],
    );
    world.operate(&["grant", "add", "planner", "--group", "finance", "--allow", SCOPE]).ok();

    let state = dir.path().join("state").display().to_string();
    let login = |user: &str| node(&["login", &issuer, user, &state], "").ok();
    let key = world.dir().join("planner.pem").display().to_string();
    let key_id = KeyPair::from_pem(&fs::read_to_string(&key).unwrap()).unwrap().public().to_string();
    let exchange = |by: &str, token: &str| node(&[by, &world.authority, "planner", &key, SCOPE], token);
    let by_python = |program: &str, audience: &[&str], token: &str| {
        let mut command = Command::new(counterpart("bin/python"));
        command.args([client(program), format!("{}/oauth/token", world.authority)]).args(audience);
        command.args(["planner", &key_id, &key, SCOPE]);
        fed(command, token)
    };
    let by_google = |token: &str| by_python("exchange_by_google.py", &[&world.authority], token);
    let url = format!("http://{upstream}/notes/team");
    let run = |token: &str| world.run("planner.pem", token, &["curl", "-s", "-w", " %{http_code}", &url]);
    // On a busy machine an edge may be without a lease for a moment, and says so.
    let call = |token: &str| before_long(|| run(token), |finished| !finished.stderr.contains("not fresh"));

    let bob = exchange("openid-client", &login("bob"));
    assert!(bob.code == 3 && bob.stdout.contains("invalid_scope"), "{bob:?}");
    let refused = by_google("no.token.at-all");
    assert!(refused.code == 3 && refused.stdout.contains("invalid_request"), "{refused:?}");
    let alice = login("alice");
    for token in [
        exchange("openid-client", &alice),
        exchange("oauth4webapi", &alice),
        by_python("exchange_token.py", &[], &alice),
        by_google(&alice),
    ] {
        assert_eq!(call(&token.ok()).ok(), "notes of the team 200");
    }

    // New keys by a restart, while everything else runs.
    drop(idp);
    let _idp = provider(dir.path(), at, &second, &world.authority);
    let alice = login("alice");
    let token = before_long(|| exchange("openid-client", &alice), |finished| finished.code == 0).ok();
    assert_eq!(call(&token).ok(), "notes of the team 200");

    node(&["logout", &issuer, &state], "").ok();
    let dead = call(&token);
    assert!(dead.code == 1 && dead.stderr.contains("the edge refuses the writ"), "{dead:?}");
    let late = exchange("openid-client", &alice);
    assert!(late.code == 3 && late.stdout.contains("log in again"), "{late:?}");
    let said = fs::read_to_string(dir.path().join("log")).unwrap();
    let told = said.lines().find(|line| line.starts_with("called back: 200")).unwrap_or_else(|| panic!("{said}"));
    let took = told.trim_start_matches("called back: 200 after ").trim_end_matches(" ms");
    measured("oidc-provider", &format!("logout, {kept:?}"), took);
    let audit = world.operate(&["audit", "export"]).ok();
    assert!(audit.contains("backchannel_logout") && audit.contains(r#""name":"corp""#), "{audit}");
    world.holds_nowhere(SECRET);
    world.holds_nowhere(&alice);
}

on_every_store!(a_user_logs_in_agents_act_for_them_and_the_logout_ends_it);
