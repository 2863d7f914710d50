//! The same commands with a real authority: its catalog, its grants, its audit log.

use std::fs;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use crate::cli::{Finished, command, writ};
use crate::world::{Process, free_address, listens};

fn operate(dir: &Path, url: &str, args: &[&str]) -> Finished {
    writ(dir, &[args, &["--url", url, "--operator-secret-file", "operator-secret"]].concat())
}

/// An authority that knows GitHub.
fn start() -> (TempDir, String, Process) {
    let (dir, listen) = (TempDir::new().unwrap(), free_address());
    let (path, url) = (dir.path(), format!("http://{listen}"));
    writ(path, &["init", ".", "--listen", &listen.to_string(), "--save-secret"]).ok();
    let mut authority = Process::start(command(path, &["serve"]), path.join("authority.log"));
    authority.until("the authority", || listens(listen));
    operate(path, &url, &["service", "add", "--builtin", "github"]).ok();
    (dir, url, authority)
}

#[test]
fn a_set_is_stored_shown_asked_and_rolled_back_and_an_invalid_one_changes_nothing() {
    let (dir, url, _authority) = start();
    let path = dir.path();
    let run = |args: &[&str]| operate(path, &url, &[&["policy"], args].concat());
    let ask = || run(&["explain", "--agent", "bot", "--action", "github:issues/read", "--json"]);
    assert!(run(&["show"]).ok().contains("grants-decide"));
    assert_eq!(ask().json()[0]["decision"], "allow");

    fs::write(path.join("none.cedar"), "@id(\"none\")\nforbid(principal, action, resource);\n").unwrap();
    assert!(run(&["put", "none.cedar"]).ok().contains("stored version 1"));
    assert!(run(&["show"]).ok().contains("@id(\"none\")"));
    assert_eq!(ask().code, 1);

    fs::write(
        path.join("wrong.cedar"),
        "@id(\"wrong\")\npermit(principal, action in Action::\"github:isues\", resource);\n",
    )
    .unwrap();
    let said = run(&["put", "wrong.cedar"]).refused(1);
    assert!(said.contains("wrong") && said.contains("did you mean `github:issues`?"), "{said}");
    fs::write(path.join("all.cedar"), "@id(\"all\")\npermit(principal, action, resource);\n").unwrap();
    assert!(run(&["put", "all.cedar"]).ok().contains("stored version 2"));
    assert_eq!(ask().json()[0]["by"], json!(["all"]));
    assert!(run(&["rollback", "1"]).ok().contains("stored version 3"));
    assert_eq!(ask().code, 1);
    assert_eq!(run(&["history", "--json"]).json().as_array().unwrap().len(), 3);
    assert!(run(&["show", "--version", "2"]).ok().contains("@id(\"all\")"));
    run(&["rollback", "9"]).refused(1);
}

#[test]
fn limits_come_and_go_with_the_set_that_holds_them() {
    let (dir, url, _authority) = start();
    let path = dir.path();
    let run = |args: &[&str]| operate(path, &url, &[&["policy"], args].concat());
    let limits = || operate(path, &url, &["limit", "show"]).ok();
    fs::write(path.join("all.cedar"), "@id(\"all\")\npermit(principal, action, resource);\n").unwrap();
    fs::create_dir(path.join("few")).unwrap();
    let few = "@id(\"few\")\npermit(principal, action, resource) when { context.used has reads && context.used.reads < 4 };\n";
    fs::write(path.join("few/few.cedar"), few).unwrap();
    assert!(run(&["put", "few"]).refused(1).contains("reads"), "a limit that is in no set");

    let limit = "[[limit]]\nname = \"reads\"\nper = \"agent\"\nservice = \"github\"\naction = \"issues/read\"\nwindow = \"1h\"\ncalls = 5\n";
    fs::write(path.join("few/limits.toml"), limit).unwrap();
    run(&["check", "few"]).ok();
    assert!(run(&["put", "few"]).ok().contains("stored version 1"));
    assert!(run(&["show"]).ok().contains("// limit reads: 5 calls per agent in 1h"));
    assert!(limits().contains("name = \"reads\""));

    fs::write(path.join("whole.toml"), run(&["show", "--toml"]).ok()).unwrap();
    assert!(!run(&["diff", "few", "whole.toml"]).ok().contains("limit reads"));
    assert!(run(&["diff", "stored", "all.cedar"]).ok().contains("limit reads: {"));
    run(&["put", "all.cedar"]).ok();
    assert!(!limits().contains("reads"));
    assert!(run(&["put", "whole.toml"]).ok().contains("stored version 3"));
    assert!(limits().contains("name = \"reads\""));
    run(&["rollback", "2"]).ok();
    assert!(!limits().contains("reads"));

    fs::write(path.join("few/limits.toml"), limit.replace("issues/read", "isues/read")).unwrap();
    for command in ["check", "put"] {
        let said = run(&[command, "few"]).refused(1);
        assert!(said.contains("limit `reads`") && said.contains("github:issues/read"), "{said}");
    }
}

#[test]
fn grants_that_no_policy_lets_through_are_told() {
    let (dir, url, _authority) = start();
    let path = dir.path();
    writ(path, &["agent", "keygen", "--out", "bot.pem"]).ok();
    operate(path, &url, &["agent", "register", "bot", "--key-file", "bot.pem"]).ok();
    for capability in ["github:issues:repos/acme", "github:pulls/read:/", "github:issues/read:repos/acme/web"] {
        operate(path, &url, &["grant", "add", "bot", "--allow", capability]).ok();
    }
    let policy = "@id(\"reads-issues\")\npermit(principal == Agent::\"bot\", action == Action::\"github:issues/read\", resource in Resource::\"github:repos/acme\");\n";
    fs::write(path.join("p.cedar"), policy).unwrap();

    let report = operate(path, &url, &["policy", "check", "p.cedar", "--json"]).json();
    assert_eq!((&report["valid"], &report["findings"]), (&json!(true), &json!([])), "{report}");
    let mut broad: Vec<(&str, usize)> = report["grants"]
        .as_array()
        .unwrap()
        .iter()
        .map(|grant| (grant["capability"].as_str().unwrap(), grant["unreached"].as_array().unwrap().len()))
        .collect();
    broad.sort_unstable();
    assert_eq!(broad.len(), 2, "{report}");
    // All but reading, of a grant for everything about issues; and nothing at all of one for pull requests.
    assert_eq!(broad[0].0, "github:issues:repos/acme");
    assert!(broad[0].1 > 3, "{report}");
    assert_eq!(broad[1], ("github:pulls/read:/", 0));
    let told = operate(path, &url, &["policy", "check", "p.cedar"]).ok();
    assert!(told.contains("no policy lets any of it through"), "{told}");
    assert_eq!(operate(path, &url, &["policy", "check", "p.cedar", "--strict"]).code, 1);

    let id = "00000000000000000000000000000000";
    let said = operate(path, &url, &["policy", "explain", "p.cedar", "--record", id]).refused(1);
    assert!(said.contains("no decision is recorded"), "{said}");
}
