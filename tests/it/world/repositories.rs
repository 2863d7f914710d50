//! A GitHub-shaped API that refuses tokens it does not know behind the edge, PyGithub under `writ run`.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::world::{Kept, Process, World, client, counterpart, free_address, listens, on_every_store};

const TOKEN: &str = "ghp_4fXq8owner0secret0token0Zr71";

fn emulate(dir: &Path) -> (Process, SocketAddr) {
    let at = free_address();
    let seed = format!(
        "tokens:\n  {TOKEN}: {{login: octocat, scopes: [repo, user, delete_repo]}}\ngithub:\n  users:\n    - {{login: octocat, name: Octo, \
         email: octocat@example.com}}\n  repos:\n    - {{owner: octocat, name: hello-world, auto_init: true}}\n    - {{owner: octocat, \
         name: private-plans, auto_init: true}}\n"
    );
    fs::write(dir.join("seed.yaml"), seed).unwrap();
    let mut command = crate::world::node();
    command
        .arg(counterpart("node_modules/emulate/dist/index.js"))
        .args(["start", "--service", "github", "--port", &at.port().to_string(), "--seed"])
        .arg(dir.join("seed.yaml"));
    let mut process = Process::start(command, dir.join("log"));
    process.until("emulate", || listens(at));
    (process, at)
}

fn service(at: SocketAddr) -> String {
    format!(
        r#"
        name = "github"
        upstream = "http://{at}"
        allow_private = true
        credential = "github-owner"

        [[route]]
        methods = ["GET"]
        path = "/repos/{{owner}}/{{repo}}/issues"
        action = "issues/read"
        resource = "repos/{{owner}}/{{repo}}"

        [[route]]
        methods = ["DELETE"]
        path = "/repos/{{owner}}/{{repo}}"
        action = "repository/delete"
        resource = "repos/{{owner}}/{{repo}}"
        "#
    )
}

async fn a_repository_client_reads_the_issues_of_one_repository_and_nothing_else(kept: Kept) {
    let upstream = tempfile::tempdir().unwrap();
    let (_emulate, at) = emulate(upstream.path());
    let issue = Command::new("curl")
        .args(["-sf", "-H", &format!("authorization: Bearer {TOKEN}"), "-d", r#"{"title":"first"}"#])
        .args(["-o", "/dev/null", &format!("http://{at}/repos/octocat/hello-world/issues")])
        .status();
    assert!(issue.unwrap().success());
    let mut stranger = Command::new("curl");
    stranger.args(["-sf", "-H", "authorization: Bearer nobody", &format!("http://{at}/user")]);
    assert!(!stranger.status().unwrap().success(), "the upstream must refuse a token it does not know");

    let world = World::raise(kept).await;
    let credential = ["github-owner", "--bearer"];
    world.offer(&service(at), &credential, TOKEN, "triage", &["github:/:/"]);
    let token = world.request("triage", "github:issues/read:repos/octocat/hello-world");
    let (python, program, base) = (counterpart("bin/python"), client("use_repositories.py"), format!("http://{at}"));
    let uses = |what: &[&str]| world.run("triage.pem", &token, &[&[&*python, &*program, &*base], what].concat());

    assert_eq!(uses(&["issues", "octocat/hello-world"]).ok(), "issue: first");
    for denied in [["issues", "octocat/private-plans"], ["delete", "octocat/hello-world"]] {
        let finished = uses(&denied);
        assert_eq!(finished.code, 3, "{finished:?}");
        assert!(finished.stdout.contains("refused: 403"), "{finished:?}");
    }
    assert_eq!(uses(&["issues", "octocat/hello-world"]).ok(), "issue: first");
    world.holds_nowhere(TOKEN);
}

on_every_store!(a_repository_client_reads_the_issues_of_one_repository_and_nothing_else);
