//! Examples through a real authority and a real edge, as processes, with curl under `writ run`. What counts is what reaches
//! the upstream.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use writ::clock::{Clock as _, SystemClock};

use crate::world::{Kept, World};

/// The requests that an upstream saw: method, path and body.
type Seen = Arc<Mutex<Vec<String>>>;

fn upstream() -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (at, seen) = (listener.local_addr().unwrap(), Seen::default());
    let told = seen.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let told = told.clone();
            thread::spawn(move || while answer(&stream, &told).is_some() {});
        }
    });
    (at, seen)
}

/// Answers one request; nothing at the end of the connection.
fn answer(mut stream: &TcpStream, seen: &Seen) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let request = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    seen.lock().unwrap().push(format!("{request} {}", String::from_utf8_lossy(&body)));
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}").ok()
}

fn service(at: SocketAddr) -> String {
    format!(
        r#"
        name = "work"
        upstream = "http://{at}"
        allow_private = true
        credential = "work"

        [[route]]
        methods = ["POST"]
        path = "/send"
        action = "send"
        resource = "/"

        [[route.argument]]
        name = "to"
        from = "json"
        key = "/to/*/email"
        also = ["/cc/*/email"]
        type = "email"
        list = "array"
        loggable = true

        [[route]]
        methods = ["GET"]
        path = "/repos/{{owner}}/{{repo}}"
        action = "repos/read"
        resource = "repos/{{owner}}/{{repo}}"

        [[route]]
        methods = ["DELETE"]
        path = "/repos/{{owner}}/{{repo}}"
        action = "repos/write/delete"
        resource = "repos/{{owner}}/{{repo}}"
        "#
    )
}

const POLICY: &str = r#"
@id("mail-to-the-team")
permit(principal in Agent::"helper", action == Action::"work:send", resource)
when { context.arguments has to && ["team@domain.com"].containsAll(context.arguments.to) && !context.arguments.to.isEmpty() };

@id("repositories")
permit(principal, action in Action::"work:repos", resource);

@id("no-repository-is-deleted")
forbid(principal, action in Action::"deletes", resource);
"#;

#[tokio::test(flavor = "multi_thread")]
async fn mail_to_the_team_only_and_no_repository_deleted_whatever_the_writ_says() {
    let (at, seen) = upstream();
    let world = World::raise(Kept::InSqlite).await;
    // Delete, too: the grant and the writ allow everything.
    world.offer(&service(at), &["work", "--bearer"], "downstream-secret", "helper", &["work:/:/"]);
    let token = world.request("helper", "work:/:/");
    let call = |args: &[&str]| {
        let curl = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", "content-type: application/json"];
        world.run("helper.pem", &token, &[&curl, args].concat()).ok()
    };
    let send = |body: &str| call(&["-d", body, &format!("http://{at}/send")]);
    let repo = format!("http://{at}/repos/acme/web");
    // Without a policy the writ decides.
    assert_eq!(call(&["-X", "DELETE", &repo]), "200");

    fs::write(world.dir().join("policy.cedar"), POLICY).unwrap();
    assert!(world.operate(&["policy", "put", "policy.cedar"]).ok().contains("no edge acts on another set"));
    assert_eq!(send(r#"{"to":[{"email":"team@domain.com"}]}"#), "200");
    assert_eq!(send(r#"{"to":[{"email":"team@domain.com"},{"email":"eve@evil.example"}]}"#), "403");
    assert_eq!(send(r#"{"to":[{"email":"team@domain.com"}],"cc":[{"email":"eve@evil.example"}]}"#), "403");
    assert_eq!(send(r#"{"to":[]}"#), "403");
    assert_eq!(send("{}"), "403");
    assert_eq!(call(&[&repo]), "200");
    assert_eq!(call(&["-X", "DELETE", &repo]), "403");
    assert_eq!(
        *seen.lock().unwrap(),
        ["DELETE /repos/acme/web ", r#"POST /send {"to":[{"email":"team@domain.com"}]}"#, "GET /repos/acme/web "]
    );

    // Why, from the record; and what another set would have done.
    let denied = || -> Vec<Value> {
        let lines = world.operate(&["audit", "search", "--verdict", "denied", "--json"]).ok();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let begun = SystemClock.monotonic();
    while denied().len() < 5 {
        assert!(SystemClock.monotonic().since(begun) < Duration::from_secs(60), "the edge ships what it recorded");
        thread::park_timeout(Duration::from_millis(50));
    }
    let id = denied()[0]["record"]["event"]["request"].as_str().unwrap().to_owned();
    let why = world.operate(&["policy", "explain", "--record", &id]);
    assert_eq!(why.code, 1, "{why:?}");
    for said in ["no policy permits it", "[\"team@domain.com\"].containsAll(context.arguments.to)", "eve@evil.example"]
    {
        assert!(why.stdout.contains(said), "{said}: {}", why.stdout);
    }
    fs::write(world.dir().join("all.cedar"), "@id(\"all\")\npermit(principal, action, resource);\n").unwrap();
    let report = world.operate(&["policy", "diff", "stored", "all.cedar", "--against", "audit", "--json"]).json();
    // The three sends whose recipients are recorded, and one deletion; the one that named nobody is unknown.
    let changed = report["changed"].as_array().unwrap();
    let calls = |operation: &str| {
        let one = changed.iter().find(|one| one["operation"] == operation);
        one.map(|one| (one["was"].as_str().unwrap(), one["is"].as_str().unwrap(), one["calls"].as_u64().unwrap()))
    };
    assert_eq!(calls("work:send:/"), Some(("deny", "allow", 3)), "{report}");
    // One of the two was allowed when there was no policy.
    assert_eq!(calls("work:repos/write/delete:repos/acme/web"), Some(("deny", "allow", 2)), "{report}");
    assert_eq!((&report["unknown"], &report["same"]), (&1.into(), &2.into()), "{report}");
}
