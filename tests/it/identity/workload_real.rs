//! The whole of it with real processes: an agent without a key of its own, known by a JWT-SVID in a file, reaches a service through
//! an edge. Then its workload is taken away, and the next call fails.

use std::fs;

use serde_json::json;
use writ::clock::{Clock as _, SystemClock};

use crate::cli::{command, finished};
use crate::identity::jose::Key;
use crate::identity::real::{SCOPE, SECRET, before_long, notes, service};
use crate::world::{Kept, World, on_every_store};

const ID: &str = "spiffe://example.org/ns/web/sa/agent";

async fn a_workload_runs_with_its_platforms_token_until_it_is_taken_away(kept: Kept) {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let key = Key::make("P-256", "1");
    let mut public = key.public.clone();
    public["use"] = json!("jwt-svid");
    fs::write(path("bundle"), json!({ "keys": [public], "spiffe_sequence": 1 }).to_string()).unwrap();
    let upstream = notes().await;
    let settings = format!(
        "\n[[identity.workload]]\nname = \"spire\"\ntrust_domain = \"example.org\"\njwks_file = \"{}\"\n",
        path("bundle")
    );
    let world = World::raise_with(kept, &settings).await;
    world.offer(&service(upstream), &["notes-key", "--header", "x-api-key"], SECRET, "planner", &["notes:read:other"]);
    let workload = format!("spire:{ID}");
    world.operate(&["agent", "register", "web", "--workload", &workload, "--purpose", "shop"]).ok();
    world.operate(&["grant", "add", "web", "--allow", SCOPE]).ok();
    assert!(world.operate(&["agent", "workload", "list"]).ok().contains(ID));

    let now = SystemClock.now().secs();
    let svid = json!({ "sub": ID, "aud": [world.authority], "exp": now + 300 });
    let svid = key.sign(&json!({ "alg": "ES256", "typ": "JWT" }), &svid);
    fs::write(path("svid"), format!("{svid}\n")).unwrap();
    let url = format!("http://{upstream}/notes/team");
    let (token, holder) = (path("svid"), path("holder.pem"));
    crate::cli::writ(dir.path(), &["agent", "keygen", "--out", &holder]).ok();
    let run = |key: &[&str]| {
        let asked =
            ["run", "--edge", &world.edge, "--url", &world.authority, "--agent", "web", "--workload-token", &token];
        let asked = [&asked, key, &["--scope", SCOPE, "--", "curl", "-s", "-w", " %{http_code}", &url]].concat();
        before_long(
            || finished(command(world.dir(), &asked).output().unwrap()),
            |ran| !ran.stderr.contains("not fresh"),
        )
    };
    // The token counts for the key that it was used with first: one of a run's own would be lost with the run.
    for _ in 0..2 {
        assert_eq!(run(&["--key", &holder]).ok(), "notes of the team 200");
    }
    let thief = run(&[]);
    assert!(thief.code != 0 && thief.stderr.contains("another key"), "{thief:?}");

    world.operate(&["agent", "workload", "remove", "web", &workload]).ok();
    let dead = run(&["--key", &holder]);
    assert!(dead.code != 0 && dead.stderr.contains("is no agent"), "{dead:?}");
    let audit = world.operate(&["audit", "export"]).ok();
    assert!(audit.contains("workload.remove") && audit.contains(ID), "{audit}");
    world.holds_nowhere(SECRET);
    world.holds_nowhere(&svid);
}

on_every_store!(a_workload_runs_with_its_platforms_token_until_it_is_taken_away);
