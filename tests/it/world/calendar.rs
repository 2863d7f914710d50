//! Radicale behind the edge, the `caldav` client under `writ run`: neither knows of writ.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::world::{Kept, Process, World, client, counterpart, free_address, listens, on_every_store};

const PASSWORD: &str = "correct-horse-battery-staple";

fn radicale(dir: &Path) -> (Process, SocketAddr) {
    let at = free_address();
    fs::write(dir.join("users"), format!("owner:{PASSWORD}\n")).unwrap();
    let config = format!(
        "[server]\nhosts = {at}\n[auth]\ntype = htpasswd\nhtpasswd_filename = {0}/users\nhtpasswd_encryption = plain\n\
         [storage]\nfilesystem_folder = {0}/collections\n",
        dir.display()
    );
    fs::write(dir.join("config"), config).unwrap();
    let mut command = Command::new(counterpart("bin/radicale"));
    command.arg("--config").arg(dir.join("config"));
    let mut process = Process::start(command, dir.join("log"));
    process.until("Radicale", || listens(at));
    (process, at)
}

fn service(at: SocketAddr) -> String {
    format!(
        r#"
        name = "calendar"
        upstream = "http://{at}"
        allow_private = true
        credential = "calendar-owner"

        [[route]]
        methods = ["GET", "PROPFIND", "REPORT", "OPTIONS"]
        path = "/"
        action = "read"
        resource = "/"

        [[route]]
        methods = ["GET", "PROPFIND", "REPORT", "OPTIONS"]
        path = "/{{*collection}}"
        action = "read"
        resource = "{{*collection}}"

        [[route]]
        methods = ["PUT", "DELETE", "MKCALENDAR", "PROPPATCH"]
        path = "/{{*collection}}"
        action = "write"
        resource = "{{*collection}}"
        "#
    )
}

async fn a_calendar_client_that_knows_nothing_of_writ_reads_and_writes_as_its_writ_allows(kept: Kept) {
    let upstream = tempfile::tempdir().unwrap();
    let (_radicale, at) = radicale(upstream.path());
    let made = Command::new("curl")
        .args(["-sf", "-u", &format!("owner:{PASSWORD}"), "-X", "MKCALENDAR", &format!("http://{at}/owner/work/")])
        .status();
    assert!(made.unwrap().success());

    let world = World::raise(kept).await;
    let credential = ["calendar-owner", "--basic", "owner"];
    world.offer(&service(at), &credential, PASSWORD, "assistant", &["calendar:read:/", "calendar:write:/"]);
    let reads = world.request("assistant", "calendar:read:/");
    let writes = {
        let args = ["request", "--url", &world.authority, "--agent", "assistant", "--key", "assistant.pem"];
        let scopes = ["--scope", "calendar:read:/", "--scope", "calendar:write:/"];
        crate::cli::writ(world.dir(), &[&args[..], &scopes].concat()).ok()
    };
    let (python, program, url) = (counterpart("bin/python"), client("use_calendar.py"), format!("http://{at}/"));
    let uses =
        |token: &str, what: &[&str]| world.run("assistant.pem", token, &[&[&*python, &*program, &*url], what].concat());

    assert_eq!(uses(&reads, &["list"]).ok(), "");
    let refused = uses(&reads, &["create", "board meeting"]);
    assert_eq!(refused.code, 3, "{refused:?}");
    assert_eq!(uses(&writes, &["create", "board meeting"]).ok(), "created");
    assert_eq!(uses(&reads, &["list"]).ok(), "event: board meeting");
    assert_eq!(uses(&reads, &["delete"]).code, 3);
    assert_eq!(uses(&reads, &["list"]).ok(), "event: board meeting");
    assert_eq!(uses(&writes, &["delete"]).ok(), "deleted");
    assert_eq!(uses(&reads, &["list"]).ok(), "");
    world.holds_nowhere(PASSWORD);

    world.operate(&["revoke", "agent:default/assistant"]).ok();
    assert_ne!(uses(&reads, &["list"]).code, 0);
}

on_every_store!(a_calendar_client_that_knows_nothing_of_writ_reads_and_writes_as_its_writ_allows);
