//! `writ run` before an edge that takes a writ's key from the connection.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use super::{Kept, Process, World, free_address};
use crate::cli::{command, finished};
use crate::edge::eventually;
use crate::edge::upstream::Recorder;

/// Starts the edge `edge-2` with TLS; the first time with its ticket.
fn tls_edge(world: &World, at: SocketAddr, mutual: bool, more: &[&str]) -> Process {
    let settings = format!(
        "listen = [\"{at}\"]\norigin = \"https://{at}\"\nstate = \"edge-2\"\nmutual_tls = {mutual}\n\
         [tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n"
    );
    fs::write(world.dir().join("edge-2.toml"), settings).unwrap();
    let arguments = [&["edge", "--config", "edge-2.toml"], more].concat();
    let mut edge = Process::start(command(world.dir(), &arguments), world.dir().join("edge-2.log"));
    let url = format!("https://{at}/.writ/readyz");
    edge.until("the second edge", || {
        let answered =
            Command::new("curl").current_dir(world.dir()).args(["-sf", "--cacert", "cert.pem", &url]).output();
        answered.unwrap().status.success()
    });
    edge
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_goes_on_when_the_edge_takes_keys_from_connections_and_when_it_stops_to() {
    let world = World::raise(Kept::InSqlite).await;
    let upstream = Recorder::start().await;
    let service = format!(
        "name = 'notes'\nupstream = 'http://{}'\nallow_private = true\ncredential = 'notes-key'\n\
         [[route]]\nmethods = ['GET']\npath = '/notes'\naction = 'read'\nresource = 'team'\n",
        upstream.address()
    );
    world.offer(&service, &["notes-key", "--bearer"], "by-connection-0123456789", "planner", &["notes:read:team"]);
    let token = world.request("planner", "notes:read:team");
    fs::write(world.dir().join("token"), token).unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    fs::write(world.dir().join("cert.pem"), made.cert.pem()).unwrap();
    fs::write(world.dir().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    fs::write(world.dir().join("ticket-2"), world.operate(&["edge", "ticket", "edge-2"]).ok()).unwrap();

    let at = free_address();
    let edge = tls_edge(&world, at, true, &["--ticket", "ticket-2"]);
    let call = format!("curl -s -w ' %{{http_code}}\\n' http://{}/notes", upstream.address());
    let script = format!("{call}; touch first; while ! [ -e second ]; do sleep 0.1; done; {call}");
    let origin = format!("https://{at}");
    let arguments = [
        "run",
        "--edge",
        &origin,
        "--ca",
        "cert.pem",
        "--key",
        "planner.pem",
        "--token",
        "token",
        "--",
        "sh",
        "-c",
        &script,
    ];
    let mut run = command(world.dir(), &arguments);
    let running = std::thread::spawn(move || finished(run.output().unwrap()));
    eventually("the first call is answered", || world.dir().join("first").exists()).await;
    drop(edge);
    let _edge = tls_edge(&world, at, false, &[]);
    fs::write(world.dir().join("second"), "").unwrap();
    assert_eq!(running.join().unwrap().ok(), "ok 200\nok 200");

    let records = || world.get("/v1/audit?limit=1000").to_string();
    eventually("the second call is recorded", || records().contains("\"proof\":")).await;
    let records = records();
    let times = |member: &str| records.matches(member).count();
    assert_eq!((times("\"by_connection\":true"), times("\"proof\":")), (1, 1), "{records}");
}
