//! Edges as processes of their own, one of which is killed in the middle of a flood.

use std::fs;
use std::sync::Arc;

use writ::clock::{Clock as _, SystemClock};
use writ::key::KeyPair;
use writ::token::proof::{self, ProvenRequest};
use writ::token::{Limits, RawToken};

use super::bank;
use crate::cli::command;
use crate::edge::raw::Client;
use crate::edge::upstream::Recorder;
use crate::support::authority::random;
use crate::world::{Kept, Process, World, answers, free_address, on_every_store};

on_every_store!(an_edge_that_is_killed_in_a_flood_lets_nobody_over_the_limit);

const MAX: usize = 200;

/// Sends calls through the edge at `origin` until `calls` were sent or the edge is gone. Answers how many passed.
async fn calls(origin: String, token: Arc<RawToken>, key: Arc<KeyPair>, calls: usize) -> usize {
    let host = origin.split_once("//").unwrap().1.to_owned();
    let url = format!("{origin}/bank/notes");
    let mut through = 0;
    for _ in 0..calls {
        let request = ProvenRequest { method: "GET", url: &url, query: None, body_sha256: None };
        let digest = Some(token.digest());
        let proof = proof::make(&key, &request, digest, Default::default(), None, &random(), SystemClock.now());
        let text = format!(
            "GET /bank/notes HTTP/1.1\r\nHost: {host}\r\nAuthorization: DPoP {}\r\nDPoP: {proof}\r\n\r\n",
            token.text()
        );
        let address = host.parse().unwrap();
        // A task of its own: the client of the tests gives up loudly when the edge is gone.
        let sent = tokio::spawn(async move { Client::connect(address).await.exchange(text).await });
        match sent.await {
            Ok(answer) => through += usize::from(answer.status == 200),
            Err(_) => break,
        }
    }
    through
}

async fn an_edge_that_is_killed_in_a_flood_lets_nobody_over_the_limit(kept: Kept) {
    let world = World::raise(kept).await;
    let upstream = Recorder::start().await;
    let service: writ::catalog::Service = serde_json::from_value(bank(upstream.address(), "")).unwrap();
    fs::write(world.dir().join("bank.toml"), service.to_toml()).unwrap();
    world.operate(&["service", "add", "bank.toml"]).ok();
    let limit =
        format!("[[limit]]\nname = \"calls\"\nper = \"agent\"\nservice = \"bank\"\nwindow = \"31d\"\ncalls = {MAX}\n");
    fs::create_dir(world.dir().join("set")).unwrap();
    fs::write(world.dir().join("set/limits.toml"), &limit).unwrap();
    fs::write(world.dir().join("set/all.cedar"), "@id(\"all\")\npermit(principal, action, resource);\n").unwrap();
    world.operate(&["policy", "put", "set"]).ok();
    assert!(world.operate(&["limit", "show"]).ok().contains("name = \"calls\""));
    crate::cli::writ(world.dir(), &["agent", "keygen", "--out", "planner.pem"]).ok();
    world.operate(&["agent", "register", "planner", "--key-file", "planner.pem"]).ok();
    world.operate(&["grant", "add", "planner", "--allow", "bank:read:/"]).ok();
    let token = world.request("planner", "bank:read:/");
    let token = Arc::new(RawToken::parse(token.trim(), &Limits::default()).unwrap());
    let pem = fs::read_to_string(world.dir().join("planner.pem")).unwrap();
    let key = Arc::new(KeyPair::from_pem(&pem).unwrap());

    let at = free_address();
    fs::write(world.dir().join("ticket-2"), world.operate(&["edge", "ticket", "edge-2"]).ok()).unwrap();
    let settings = format!("listen = [\"{at}\"]\norigin = \"http://{at}\"\nstate = \"edge-2\"\n");
    fs::write(world.dir().join("edge-2.toml"), settings).unwrap();
    let arguments = ["edge", "--config", "edge-2.toml", "--ticket", "ticket-2"];
    let start = |arguments: &[&str]| Process::start(command(world.dir(), arguments), world.dir().join("edge-2.log"));
    let mut second = start(&arguments);
    second.until("the second edge", || answers(at, "/.writ/readyz"));

    let origins = [world.edge.clone(), format!("http://{at}")];
    let mut flood = tokio::task::JoinSet::new();
    for origin in origins.iter().cycle().take(8) {
        flood.spawn(calls(origin.clone(), token.clone(), key.clone(), MAX));
    }
    // In the middle of it.
    crate::edge::eventually("the flood has begun", || upstream.seen().len() > MAX / 8).await;
    second.kill();
    let mut second = start(&arguments[..3]);
    second.until("the second edge again", || answers(at, "/.writ/readyz"));
    for _ in 0..4 {
        flood.spawn(calls(origins[1].clone(), token.clone(), key.clone(), MAX));
    }
    let mut through = 0;
    while let Some(sent) = flood.join_next().await {
        through += sent.unwrap();
    }
    let served = upstream.seen().len();
    assert!(through <= served && served <= MAX, "{through} answered, {served} served");
    // The killed edge took a part of a share with it, and no more than that.
    assert!(served > MAX / 2, "{served}");
    let listed = world.operate(&["limit", "list"]).ok();
    assert!(listed.contains("agent:planner") && listed.contains("200"), "{listed}");
}
