//! The real thing: people sign in at somebody else's identity provider (oidc-provider), in what a browser does, and `writ login`
//! gets their session; a logout there ends it.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use crate::cli::{Finished, command, finished, writ};
use crate::identity::jose::Key;
use crate::identity::real::node;
use crate::world::{Kept, Process, World, client, counterpart, free_address, listens, measured, on_every_store};

const CLIENT_SECRET: &str = "sign-in-secret-9Wq1";

fn provider(dir: &Path, at: SocketAddr, key: &Key, authority: &str) -> Process {
    fs::write(dir.join("jwks"), serde_json::json!({ "keys": [key.private] }).to_string()).unwrap();
    let mut command = crate::world::node();
    command.args([client("identity_provider.mjs"), counterpart("node_modules"), at.port().to_string()]);
    command.arg(dir.join("jwks")).arg(format!("{authority}/v1/identity/corp/logout"));
    command.args([format!("{authority}/v1/sign-in/callback"), CLIENT_SECRET.to_owned()]);
    let mut process = Process::start(command, dir.join("log"));
    process.until("oidc-provider", || listens(at));
    process
}

/// `writ login`, and the browser of `user` that it asks for.
fn login(world: &World, user: &str, state: &Path) -> Finished {
    let out = format!("session-of-{user}");
    let mut command =
        command(world.dir(), &["login", "--url", &world.authority, "--no-browser", "--out", &out, "--json"]);
    let mut login = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(login.stderr.take().unwrap());
    let mut url = String::new();
    while !url.starts_with("http") {
        url.clear();
        assert!(stderr.read_line(&mut url).unwrap() > 0, "no URL");
    }
    node(&["visit", url.trim(), user, &state.display().to_string()], "").ok();
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    Finished { stderr: rest, ..finished(login.wait_with_output().unwrap()) }
}

async fn operators_sign_in_with_the_browser_and_a_logout_there_ends_their_session(kept: Kept) {
    let dir = tempfile::tempdir().unwrap();
    let at = free_address();
    let issuer = format!("http://{at}");
    fs::write(dir.path().join("client-secret"), CLIENT_SECRET).unwrap();
    let settings = format!(
        "\n[[identity.provider]]\nname = \"corp\"\nissuer = \"{issuer}\"\nclient_ids = [\"desktop\"]\nallow_private = true\n\n\
         [sign_in]\nprovider = \"corp\"\nclient_id = \"writ\"\nclient_secret_file = \"{}\"\nscopes = [\"openid\", \"groups\"]\n\
         admins = [\"finance\"]\nauditors = [\"staff\"]\n",
        dir.path().join("client-secret").display()
    );
    let world = World::raise_with(kept, &settings).await;
    let key = Key::make("RSA", "1");
    let _idp = provider(dir.path(), at, &key, &world.authority);
    let state = |user: &str| dir.path().join(format!("browser-of-{user}"));
    let as_user = |user: &str, args: &[&str]| {
        let session = format!("session-of-{user}");
        writ(world.dir(), &[args, &["--url", &world.authority, "--operator-secret-file", &session]].concat())
    };

    let told = login(&world, "alice", &state("alice")).json();
    assert_eq!((&told["name"], &told["role"]), (&"corp:alice".into(), &"admin".into()));
    assert_eq!(told.get("secret"), None);
    as_user("alice", &["operator", "add", "robot"]).ok();
    assert_eq!(login(&world, "bob", &state("bob")).json()["role"], "auditor");
    as_user("bob", &["agent", "list"]).ok();
    let refused = as_user("bob", &["operator", "remove", "robot"]).refused(1);
    assert!(refused.contains("auditor"), "{refused}");
    let stranger = login(&world, "carol", &state("carol"));
    assert!(stranger.code == 1 && stranger.stderr.contains("no group that may sign in"), "{stranger:?}");
    assert!(!world.dir().join("session-of-carol").exists());
    let sessions = world.operate(&["operator", "sessions"]).ok();
    assert!(sessions.contains("corp:alice") && sessions.contains("corp:bob"), "{sessions}");

    node(&["logout", &issuer, &state("alice").display().to_string()], "").ok();
    let ended = as_user("alice", &["operator", "list"]).refused(1);
    assert!(ended.contains("writ login"), "{ended}");
    let said = fs::read_to_string(dir.path().join("log")).unwrap();
    let told = said.lines().find(|line| line.starts_with("called back: 200")).unwrap_or_else(|| panic!("{said}"));
    let took = told.trim_start_matches("called back: 200 after ").trim_end_matches(" ms");
    measured("oidc-provider", &format!("logout of an operator, {kept:?}"), took);
    as_user("bob", &["agent", "list"]).ok();
    writ(world.dir(), &["logout", "--url", &world.authority, "--session-file", "session-of-bob"]).ok();
    assert!(!world.dir().join("session-of-bob").exists());
    assert!(!world.operate(&["operator", "sessions"]).ok().contains("corp:bob"));

    let audit = world.operate(&["audit", "export"]).ok();
    for expected in ["operator.sign_in", "operator.sign_out", "corp:alice", "backchannel_logout"] {
        assert!(audit.contains(expected), "{expected}: {audit}");
    }
    world.holds_nowhere(CLIENT_SECRET);
}

on_every_store!(operators_sign_in_with_the_browser_and_a_logout_there_ends_their_session);
