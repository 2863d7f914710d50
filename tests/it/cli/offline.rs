//! Commands that call nobody: keys, delegation, narrowing, sealing, inspection, verification.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use writ::clock::{Clock as _, SystemClock};
use writ::token::chain::Authority;

use super::{writ, writ_reading};
use crate::tokens;

const SOME_KEY: &str = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp";

/// A folder with a writ that is valid now, its root keys, and the key of its holder.
fn folder() -> TempDir {
    let dir = TempDir::new().unwrap();
    let now = SystemClock.now();
    let authority =
        Authority { not_before: now, expires: now.after(std::time::Duration::from_secs(3600)), ..tokens::authority() };
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write("writ.token", &format!("{}\n", tokens::minted(&authority).text()));
    write("keys.json", &serde_json::to_string(&tokens::keys()).unwrap());
    write("holder.pem", &tokens::pair(1).to_pem());
    dir
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_key_file_is_private_and_is_never_replaced() {
    let dir = TempDir::new().unwrap();
    let key = writ(dir.path(), &["agent", "keygen", "--out", "a.pem"]).ok();
    assert!(key.starts_with("did:key:z6Mk"), "{key}");
    assert_eq!(mode(&dir.path().join("a.pem")), 0o600);
    assert_eq!(writ(dir.path(), &["agent", "key", "a.pem"]).ok(), key);
    let before = fs::read(dir.path().join("a.pem")).unwrap();
    let said = writ(dir.path(), &["agent", "keygen", "--out", "a.pem"]).refused(1);
    assert!(said.contains("exists already"), "{said}");
    assert_eq!(fs::read(dir.path().join("a.pem")).unwrap(), before);
}

#[test]
fn a_key_encryption_key_is_private_and_is_not_printed() {
    let dir = TempDir::new().unwrap();
    let said = writ(dir.path(), &["vault", "keygen", "--out", "kek"]).ok();
    let secret = fs::read_to_string(dir.path().join("kek")).unwrap();
    assert_eq!(mode(&dir.path().join("kek")), 0o600);
    assert!(!said.contains(secret.trim()));
    assert!(writ::vault::Kek::parse(&secret).is_ok());
}

#[test]
fn a_writ_is_handed_on_narrowed_sealed_and_verified_without_asking_anybody() {
    let dir = folder();
    let next = writ(dir.path(), &["agent", "keygen", "--out", "next.pem"]).ok();
    let delegate = ["delegate", "writ.token", "--key", "holder.pem", "--to", &next, "--name", "summariser"];
    let delegated = writ(dir.path(), &[&delegate[..], &["--allow", "notes:read:team", "--for", "10m"]].concat()).ok();

    let narrowed = writ_reading(dir.path(), &["narrow", "-", "--check", r#"check if method("GET")"#], &delegated).ok();
    let sealed = writ(dir.path(), &["seal", &narrowed]).ok();
    fs::write(dir.path().join("sealed"), &sealed).unwrap();

    let shown = writ(dir.path(), &["verify", "sealed", "--keys", "keys.json", "--json"]).json();
    assert_eq!(shown["signatures"], "hold");
    assert_eq!(shown["holder"], next.as_str());
    assert_eq!(shown["hops"][0]["agent"], "summariser");
    assert_eq!(shown["sealed"], true);
    assert_eq!(shown["checks"].as_array().unwrap().len(), 2);

    let said = writ(dir.path(), &["narrow", "sealed", "--for", "1m"]).refused(1);
    assert!(said.contains("sealed"), "{said}");
}

#[test]
fn a_writ_that_does_not_hold_ends_with_1() {
    let dir = folder();
    let said = writ(dir.path(), &["verify", "writ.token", "--keys", "keys.json", "--audience", "other"]).refused(1);
    assert!(said.contains("another issuer or audience"), "{said}");
    fs::write(dir.path().join("keys.json"), r#"{"keys":[]}"#).unwrap();
    let said = writ(dir.path(), &["verify", "writ.token", "--keys", "keys.json"]).refused(1);
    assert!(said.contains("root key is unknown"), "{said}");
}

#[test]
fn inspect_says_that_it_has_not_checked() {
    let dir = folder();
    let text = writ(dir.path(), &["inspect", "writ.token"]).ok();
    assert!(text.contains("not checked"), "{text}");
    assert!(!text.contains('\u{1b}'), "no colour into a pipe");
    let text = writ(dir.path(), &["inspect", "writ.token", "--keys", "keys.json"]).ok();
    assert!(text.contains("all hold"), "{text}");
}

#[test]
fn only_the_holders_key_delegates() {
    let dir = folder();
    let stranger = writ(dir.path(), &["agent", "keygen", "--out", "stranger.pem"]).ok();
    let said = writ(dir.path(), &["delegate", "writ.token", "--key", "stranger.pem", "--to", &stranger]).refused(1);
    assert!(said.contains("only did:key:"), "{said}");
}

#[test]
fn what_is_malformed_is_refused_with_a_sentence() {
    let dir = folder();
    fs::write(dir.path().join("empty"), "").unwrap();
    let cases: &[(&[&str], i32, &str)] = &[
        (&["inspect", "nonsense"], 1, "neither a file nor a writ"),
        (&["inspect", "empty"], 1, "empty: there is no writ"),
        (&["inspect", "-"], 1, "standard input"),
        (&["verify", "writ.token", "--keys", "holder.pem"], 1, "holder.pem"),
        (&["verify", "writ.token", "--keys", "absent"], 1, "cannot read absent"),
        (&["verify", "writ.token", "--url", "http://127.0.0.1:1"], 1, "127.0.0.1"),
        (&["verify", "writ.token", "--url", "http://authority.example"], 2, "https"),
        (&["explain", "writ.token", "GET", "/notes"], 2, "WRIT_OPERATOR_SECRET"),
        (&["narrow", "writ.token"], 2, "--allow"),
        (&["narrow", "writ.token", "--allow", "notes"], 2, "service:action:resource"),
        (&["narrow", "writ.token", "--for", "soon"], 2, "15m"),
        (&["narrow", "writ.token", "--check", "allow if true"], 1, "not a check"),
        (&["delegate", "writ.token", "--key", "keys.json", "--to", SOME_KEY], 1, "PKCS #8"),
        (&["delegate", "writ.token", "--key", "holder.pem", "--to", "did:web:x"], 2, "did:key"),
        (&["agent", "key", "writ.token"], 1, "PKCS #8"),
        (&["completions", "tcl"], 2, "bash"),
    ];
    for (args, code, part) in cases {
        let said = writ(dir.path(), args).refused(*code);
        assert!(said.contains(part), "{args:?}: {said}");
    }
}

#[test]
fn completions_know_every_command() {
    let dir = TempDir::new().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = writ(dir.path(), &["completions", shell]).ok();
        for command in ["delegate", "narrow", "inspect", "verify"] {
            assert!(script.contains(command), "{shell} {command}");
        }
    }
}

const NOTES: &str = include_str!("../../../src/cli/dev/notes.toml");

#[test]
fn explain_names_what_decides() {
    let dir = folder();
    fs::write(dir.path().join("notes.toml"), NOTES.replace("{origin}", "http://127.0.0.1:9/v1")).unwrap();
    let next = writ(dir.path(), &["agent", "keygen", "--out", "next.pem"]).ok();
    let allow = ["--allow", "notes:read:team"];
    let delegate = ["delegate", "writ.token", "--key", "holder.pem", "--to", &next, "--for", "10m"];
    fs::write(dir.path().join("hop"), writ(dir.path(), &[&delegate[..], &allow].concat()).ok()).unwrap();

    let explained = |method: &str, url: &str, code: i32| {
        let files = ["--service-file", "notes.toml", "--keys", "keys.json", "--json"];
        let ended = writ(dir.path(), &[&["explain", "hop", method, url][..], &files].concat());
        assert_eq!(ended.code, code, "{ended:?}");
        serde_json::from_str::<serde_json::Value>(&ended.stdout).unwrap()
    };
    let allowed = explained("GET", "https://edge.example/notes/notes/team/standup", 0);
    assert_eq!(allowed["route"], "GET /notes/{team}/{note}");
    assert_eq!(allowed["operation"], "notes:read:team/standup");
    assert_eq!(allowed["capability"], "notes:/:team");

    // By the origin of the service itself, below its base path.
    assert_eq!(explained("GET", "http://127.0.0.1:9/v1/notes/team", 0)["operation"], "notes:read:team");
    assert_eq!(explained("GET", "http://127.0.0.1:9/v2/notes/team", 1)["reason"], "no_route");

    let by_hop = explained("PUT", "/notes/notes/team/standup", 1);
    assert_eq!((by_hop["block"].as_u64(), &by_hop["ask_for"]), (Some(1), &"notes:write:team/standup".into()));
    let by_capability = explained("GET", "/notes/notes/other", 1);
    assert_eq!(by_capability["block"], serde_json::Value::Null);
    assert_eq!(by_capability["ask_for"], "notes:read:other");
    assert_eq!(explained("PATCH", "/notes/notes/team/standup", 1)["reason"], "method_not_allowed");
    assert_eq!(explained("GET", "/notes/../admin", 1)["reason"], "path_dot_segment");
    assert_eq!(explained("GET", "/mail/inbox", 1)["reason"], "unknown_service");

    let text =
        writ(dir.path(), &["explain", "hop", "PUT", "/notes/notes/team/x", "--service-file", "notes.toml"]).stdout;
    assert!(text.starts_with("denied  PUT /notes/notes/team/x\n"), "{text}");
    assert!(text.contains("put it there when handing on"), "{text}");

    let by_policy = |policy: &str, more: &[&str]| {
        fs::write(dir.path().join("set.cedar"), policy).unwrap();
        let call =
            ["explain", "hop", "GET", "/notes/notes/team/x", "--service-file", "notes.toml", "--policy", "set.cedar"];
        writ(dir.path(), &[&call[..], more].concat())
    };
    for (policy, code, reason) in [
        (r#"@id("p") permit(principal, action in Action::"reads", resource);"#, 0, "allowed"),
        (r#"@id("p") permit(principal, action == Action::"notes:pay", resource);"#, 1, "policy_denied"),
        (
            r#"@id("a") permit(principal, action, resource); @id("p") forbid(principal, action, resource) when { context.depth > 0 };"#,
            1,
            "policy_forbidden",
        ),
        (r#"@id("p") @approval("finance") permit(principal, action, resource);"#, 1, "approval_required"),
        (
            r#"@id("p") permit(principal, action, resource) when { context.source.isInRange(ip("10.0.0.0/8")) };"#,
            1,
            "policy_unknown",
        ),
    ] {
        let ended = by_policy(policy, &["--json"]);
        let found: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!((ended.code, found["reason"].as_str()), (code, Some(reason)), "{policy}: {found}");
        assert_eq!(found["allowed"], code == 0);
        let named = if reason == "policy_denied" { 0 } else { 1 };
        assert_eq!(found["policies"]["by"].as_array().unwrap().len(), named, "{found}");
        let text = by_policy(policy, &[]).stdout;
        for part in ["and every check passes", "permit", "line 1"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
    let refused = by_policy("@id(\"p\") permit(principal, action, resource)", &[]);
    assert!(refused.code != 0 && refused.stderr.contains("`;`"), "{refused:?}");
}

#[test]
fn a_receipt_is_checked_offline_and_what_does_not_hold_is_named() {
    use crate::tokens::pair;
    use writ::revocation::receipt::{EdgeOutcome, Outcome, Receipt};
    let dir = folder();
    let edge = |name: &str, seed| EdgeOutcome {
        edge: name.parse().unwrap(),
        key: pair(seed).public(),
        how: Outcome::Acknowledged,
        at: writ::clock::Timestamp::from_millis(1_800_000_000_010),
    };
    let receipt = Receipt {
        seq: Some(7),
        settings: None,
        target: "agent:acme/bot".into(),
        committed: writ::clock::Timestamp::from_millis(1_800_000_000_000),
        given: writ::clock::Timestamp::from_millis(1_800_000_000_011),
        elapsed_ms: 11,
        bound_ms: 1050,
        edges: vec![edge("one", 2), edge("two", 3)],
        issuer: "https://writ.example".into(),
        key: pair(9).public(),
        signature: String::new(),
    }
    .signed(&pair(9));
    let key = pair(9).public().to_string();
    fs::write(dir.path().join("receipt.json"), receipt.to_json()).unwrap();
    fs::write(dir.path().join("keys.json"), serde_json::json!({ "authority_key": key, "keys": [] }).to_string())
        .unwrap();
    let said = writ(dir.path(), &["receipt", "verify", "receipt.json", "--key", &key]).ok();
    assert!(said.contains("holds") && said.contains("agent:acme/bot") && said.contains("edge two"), "{said}");
    writ(dir.path(), &["receipt", "verify", "receipt.json", "--keys", "keys.json"]).ok();
    let json =
        writ_reading(dir.path(), &["receipt", "verify", "-", "--key", &key, "--json"], &receipt.to_json()).json();
    assert_eq!(json["seq"], 7);

    let mut moved = receipt.clone();
    moved.edges.reverse();
    let other = pair(8).public().to_string();
    for (text, key, named) in [
        (receipt.to_json().replace("000000011", "000000012"), &key, "changed after it was signed"),
        (moved.to_json(), &key, "out of place"),
        (receipt.to_json().replacen(r#""seq":7"#, r#""seq":7,"seq":7"#, 1), &key, "duplicate"),
        (receipt.to_json(), &other, "another authority"),
        ("{}".into(), &key, "no receipt"),
    ] {
        let said = writ_reading(dir.path(), &["receipt", "verify", "-", "--key", key], &text).refused(1);
        assert!(said.contains(named) && !said.contains('\n'), "{named}: {said}");
    }
    writ(dir.path(), &["receipt", "verify", "receipt.json"]).refused(2);
}
