//! Ending things from the command line, at a real authority: explained, by a holder, for a user, for everybody.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use super::{Finished, command, writ};
use crate::world::{Process, free_address, listens};

/// An authority with its first operator, and what is typed at it.
struct Place {
    dir: TempDir,
    url: String,
    _authority: Process,
}

impl Place {
    fn start() -> Self {
        let (dir, listen) = (crate::canaries::folder(), free_address());
        writ(dir.path(), &["init", ".", "--listen", &listen.to_string(), "--save-secret"]).ok();
        let mut authority = Process::start(command(dir.path(), &["serve"]), dir.path().join("authority.log"));
        authority.until("the authority", || listens(listen));
        Self { dir, url: format!("http://{listen}"), _authority: authority }
    }

    /// A command that needs no operator: the secret is out of its reach.
    fn holder(&self, args: &[&str]) -> Finished {
        let elsewhere = self.path().join("elsewhere");
        fs::create_dir_all(&elsewhere).unwrap();
        writ(&elsewhere, &[args, &["--url", &self.url]].concat())
    }

    fn operate(&self, args: &[&str]) -> Finished {
        self.operate_as("operator-secret", args)
    }

    fn operate_as(&self, secret: &str, args: &[&str]) -> Finished {
        writ(self.path(), &[args, &["--url", &self.url, "--operator-secret-file", secret]].concat())
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn agent(&self, name: &str, subject: &[&str]) {
        let key = format!("{name}.pem");
        writ(self.path(), &["agent", "keygen", "--out", &key]).ok();
        self.operate(&["agent", "register", name, "--key-file", &key]).ok();
        self.operate(&[&["grant", "add", name, "--allow", "notes:read:team"], subject].concat()).ok();
    }

    fn request(&self, name: &str, more: &[&str]) -> Finished {
        let key = format!("{name}.pem");
        let args = ["request", "--agent", name, "--key", &key, "--scope", "notes:read:team", "--url", &self.url];
        writ(self.path(), &[&args, more].concat())
    }

    fn keep(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }
}

#[test]
fn a_holder_ends_its_own_hop_after_an_operator_saw_what_would_die() {
    let place = Place::start();
    place.agent("bot", &[]);
    place.keep("bot.writ", &place.request("bot", &[]).ok());
    let helper = writ(place.path(), &["agent", "keygen", "--out", "helper.pem"]).ok();
    let delegated = writ(place.path(), &["delegate", "bot.writ", "--key", "bot.pem", "--to", &helper]).ok();
    place.keep("helper.writ", &delegated);

    let told = place.operate(&["revoke", "bot.writ", "--whole", "--explain"]).ok();
    for part in [
        "would be revoked",
        "Nothing has been changed",
        "1 live writ of 1 agent",
        "1 agent default/bot",
        "default/notes",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let told: Value = place.operate(&["revoke", "everything", "--explain", "--json"]).json();
    assert_eq!((&told["writs"], &told["known"]), (&Value::from(1), &Value::from(true)));

    let revoke = |token: &str, key: &str, more: &[&str]| {
        place.holder(&[&["revoke", "--witness", &format!("../{token}"), "--key", &format!("../{key}")], more].concat())
    };
    // Not the writ that the helper's hangs on.
    let root = writ(place.path(), &["inspect", "bot.writ", "--json"]).json()["id"].as_str().unwrap().to_owned();
    let said = revoke("helper.writ", "helper.pem", &["--block", &root]).refused(1);
    assert!(said.contains("the block that made it a holder"), "{said}");
    assert!(revoke("helper.writ", "helper.pem", &[]).ok().contains("no edge serves it"));
    let entries = place.operate(&["revoke", "helper.writ", "--explain", "--json"]).json();
    assert_eq!(entries["position"], 1);
    assert_eq!(place.operate(&["revoke", "everything", "--explain", "--json"]).json()["writs"], 1, "the parent lives");
    revoke("bot.writ", "bot.pem", &[]).ok();
    assert_eq!(place.operate(&["revoke", "everything", "--explain", "--json"]).json()["writs"], 0);
    place.holder(&["revoke", "--witness", "../bot.writ"]).refused(2);
    place.holder(&["revoke"]).refused(2);
}

#[test]
fn a_user_and_everybody_come_back_only_when_an_operator_says_so() {
    let place = Place::start();
    place.agent("bot", &["--subject", "alice"]);
    place.operate(&["revoke", "subject:default/alice"]).ok();
    let said = place.request("bot", &["--subject", "alice"]).refused(1);
    assert!(said.contains("writ user reactivate"), "{said}");
    assert!(place.operate(&["user", "list"]).ok().contains("alice"));
    place.operate(&["user", "reactivate", "alice"]).ok();
    place.request("bot", &["--subject", "alice"]).ok();

    let second = place.operate(&["operator", "add", "second"]).ok();
    place.keep("second-secret", &second);
    place.operate(&["revoke", "everything"]).refused(2);
    place.operate(&["revoke", "everything", "--yes"]).ok();
    let said = place.request("bot", &["--subject", "alice"]).refused(1);
    assert!(said.contains("stopped everything"), "{said}");
    let said = place.operate(&["stop", "status"]).ok();
    assert!(said.contains("stopped by") && said.contains("second"), "{said}");
    let said = place.operate(&["stop", "lift"]).refused(1);
    assert!(said.contains("another person"), "{said}");
    place.operate_as("second-secret", &["stop", "lift"]).ok();
    assert!(place.operate(&["stop", "status"]).ok().contains("nothing is stopped"));
    place.request("bot", &["--subject", "alice"]).ok();

    assert!(place.operate(&["operator", "list"]).ok().contains("second"));
    place.operate(&["operator", "remove", "second"]).ok();
    place.operate_as("second-secret", &["operator", "list"]).refused(1);

    let key = writ(place.path(), &["agent", "keygen", "--out", "billing.pem"]).ok();
    place.operate(&["relying", "add", "billing", "--key", &key]).ok();
    assert!(place.operate(&["relying", "list"]).ok().contains(&key));
    place.operate(&["relying", "remove", "billing"]).ok();
    assert!(!place.operate(&["relying", "list"]).ok().contains("billing"));
}

#[test]
fn an_agent_registers_itself_with_a_code_and_gets_other_keys() {
    let place = Place::start();
    let made =
        place.operate(&["agent", "code", "--name", "bot", "--allow", "notes:read:team", "--owner", "Finance"]).ok();
    assert!(made.starts_with("writ-enrol-"), "{made}");
    assert!(place.operate(&["agent", "codes"]).ok().contains("bot"));
    for key in ["bot", "second", "third"] {
        writ(place.path(), &["agent", "keygen", "--out", &format!("{key}.pem")]).ok();
    }
    let with_code = |code: &str| {
        let args = ["agent", "enrol", "--key-file", "bot.pem", "--secret-file", "code", "--url", &place.url];
        place.keep("code", code);
        writ(place.path(), &args)
    };
    assert!(with_code("writ-enrol-nothing").refused(1).contains("enrolment code"));
    assert!(with_code(&made).ok().contains("bot"));
    place.request("bot", &[]).ok();
    assert!(with_code(&made).refused(1).contains("used up"));

    let key = |name: &str| writ(place.path(), &["agent", "key", &format!("{name}.pem")]).ok();
    let rekey = ["agent", "rekey", "--key-file", "bot.pem", "--new-key-file", "second.pem", "--url", &place.url];
    writ(place.path(), &rekey).ok();
    let shown = place.operate(&["agent", "show", "bot"]).ok();
    assert!(shown.contains(&key("second")) && shown.contains(&key("bot")) && shown.contains("Finance"), "{shown}");
    place.request("bot", &[]).ok();
    let ended = place.operate(&["agent", "rotate", "bot", "--key", &key("third"), "--now"]).ok();
    assert!(ended.contains("no edge serves it"), "{ended}");
    place.request("bot", &[]).refused(1);
    let by_third =
        ["request", "--agent", "bot", "--key", "third.pem", "--scope", "notes:read:team", "--url", &place.url];
    writ(place.path(), &by_third).ok();

    place.operate(&["agent", "describe", "bot", "--purpose", "reads notes"]).ok();
    let listed = place.operate(&["agent", "list"]).ok();
    assert!(listed.contains("reads notes") && !listed.contains("Finance"), "{listed}");
    place.operate(&["agent", "disable", "bot"]).ok();
    writ(place.path(), &by_third).refused(1);
    place.operate(&["agent", "enable", "bot"]).ok();
    writ(place.path(), &by_third).ok();
    let auditor = place.operate(&["operator", "add", "audrey", "--role", "auditor"]).ok();
    place.keep("audrey", &auditor);
    place.operate_as("audrey", &["agent", "list"]).ok();
    assert!(place.operate_as("audrey", &["agent", "disable", "bot"]).refused(1).contains("auditor"));
}
