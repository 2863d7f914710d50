//! biscuit-python narrows a writ and hands it on; the edge honours both.

use std::fs;
use std::process::{Command, Stdio};

use crate::cli::{Finished, finished, writ};
use crate::world::{Kept, World, client, counterpart, on_every_store};

async fn what_biscuit_python_appends_the_edge_honours(kept: Kept) {
    let upstream = tempfile::tempdir().unwrap();
    fs::write(upstream.path().join("a.txt"), "the team's note").unwrap();
    fs::write(upstream.path().join("b.txt"), "another note").unwrap();
    let at = crate::world::free_address();
    let mut serve = Command::new(counterpart("bin/python"));
    serve
        .args(["-m", "http.server", "--bind", "127.0.0.1", &at.port().to_string(), "--directory"])
        .arg(upstream.path());
    let mut process = crate::world::Process::start(serve, upstream.path().join("log"));
    process.until("http.server", || crate::world::listens(at));

    let world = World::raise(kept).await;
    let service = format!(
        "name = \"files\"\nupstream = \"http://{at}\"\nallow_private = true\ncredential = \"files-key\"\n[[route]]\nmethods = [\"GET\"]\n\
         path = \"/{{file}}\"\naction = \"read\"\nresource = \"{{file}}\"\n"
    );
    world.offer(&service, &["files-key", "--bearer"], "a-secret-of-the-files", "assistant", &["files:read:/"]);
    let token = world.request("assistant", "files:read:/");
    let root = root_key(&world);

    let read = |key: &str, token: &str, file: &str| -> Finished {
        let url = format!("http://{at}/{file}");
        world.run(key, token, &["curl", "-sSf", &url])
    };
    let elsewhere = |token: &str, args: &[&str]| attenuate(&root, token, args);
    assert_eq!(read("assistant.pem", &token, "b.txt").ok(), "another note");

    let narrowed = elsewhere(&token, &["narrow", r#"check if resource("a.txt")"#]);
    assert_eq!(read("assistant.pem", &narrowed, "a.txt").ok(), "the team's note");
    assert_ne!(read("assistant.pem", &narrowed, "b.txt").code, 0);

    let did = writ(world.dir(), &["agent", "keygen", "--out", "helper.pem"]).ok();
    let helper: writ::key::PublicKey = did.split_whitespace().find_map(|word| word.parse().ok()).unwrap();
    let key_file = world.dir().join("assistant.pem").display().to_string();
    let hop = format!(
        "cnf(hex:{}); id(hex:00112233445566778899aabbccddeeff); exp(2090-01-01T00:00:00Z); agent(\"helper\"); \
         check if operation(\"files\", \"read\", \"a.txt\");",
        hex::encode(helper.as_bytes())
    );
    let delegated = elsewhere(&token, &["hop", &key_file, &hop]);
    assert_eq!(read("helper.pem", &delegated, "a.txt").ok(), "the team's note");
    assert_ne!(read("helper.pem", &delegated, "b.txt").code, 0);
    // The one who handed it on does not hold this token any more.
    assert_ne!(read("assistant.pem", &delegated, "a.txt").code, 0);

    let assistant = writ(world.dir(), &["agent", "key", "assistant.pem"]).ok().trim().parse().unwrap();
    let nonce = "00112233445566778899aabbccddeeff".parse().unwrap();
    let hop = writ::token::Hop::id_of(&assistant, nonce, &helper);
    world.operate(&["revoke", &format!("block:{hop}")]).ok();
    assert_ne!(read("helper.pem", &delegated, "a.txt").code, 0);
    assert_eq!(read("assistant.pem", &token, "a.txt").ok(), "the team's note");
}

/// The newest root key, in hexadecimal.
fn root_key(world: &World) -> String {
    let keys = writ(world.dir(), &["keys", "list", "--json", "--url", &world.authority]).json();
    let text = keys["keys"].to_string();
    let did = text.split('"').find(|word| word.starts_with("did:key:")).unwrap();
    hex::encode(did.parse::<writ::key::PublicKey>().unwrap().as_bytes())
}

fn attenuate(root: &str, token: &str, args: &[&str]) -> String {
    let mut child = Command::new(counterpart("bin/python"))
        .arg(client("attenuate_writ.py"))
        .arg(root)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), token.as_bytes()).unwrap();
    finished(child.wait_with_output().unwrap()).ok()
}

on_every_store!(what_biscuit_python_appends_the_edge_honours);
