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

#[test]
fn grants_that_no_policy_lets_through_are_told() {
    let (dir, listen) = (TempDir::new().unwrap(), free_address());
    let (path, url) = (dir.path(), format!("http://{listen}"));
    writ(path, &["init", ".", "--listen", &listen.to_string(), "--save-secret"]).ok();
    let mut authority = Process::start(command(path, &["serve"]), path.join("authority.log"));
    authority.until("the authority", || listens(listen));
    operate(path, &url, &["service", "add", "--builtin", "github"]).ok();
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
