//! What checks may say, and what they mean.

use biscuit_auth::builder::BlockBuilder;
use serde_json::json;
use writ::token::chain::Authority;
use writ::token::hop::{Narrowing, NewHop};

use super::Vector;
use super::kit::*;
use crate::tokens::*;

pub(super) fn all() -> Vec<Vector> {
    [meanings(), arguments(), paths(), forbidden()].into_iter().flatten().collect()
}

fn with_check(fact: &str, check: &str) -> Case {
    Case::with_bytes(fact, &appended_code(minted(&authority()).bytes(), check))
}

fn meanings() -> Vec<Vector> {
    let two = narrowed(&minted(&authority()), &[r#"check if action("read")"#, r#"check if method("POST")"#]);
    let set = Narrowing {
        capabilities: vec![capability("notes:read:team/1"), capability("notes:write:team/2")],
        ..Narrowing::default()
    };
    let set = delegated(&minted(&authority()), 1, &NewHop { narrowing: set, ..new_hop(2) });
    vec![
        with_check("a check that names the service passes", r#"check if service("notes")"#).allowed(),
        with_check("a check that names another service fails", r#"check if service("mail")"#).denied("check_failed"),
        with_check("a check that names a path above the action passes", r#"check if action("read")"#)
            .asks("notes:read/all:team")
            .allowed(),
        with_check("a check that names the root passes for every action", r#"check if action("/")"#).allowed(),
        with_check("a check that names the method passes for it", r#"check if method("GET")"#).allowed(),
        with_check("a check that names the method fails for another", r#"check if method("GET")"#)
            .method("POST")
            .denied("check_failed"),
        Case::new("every check of a block must pass", &two).denied("check_failed"),
        with_check("one alternative of a check is enough", r#"check if action("write") or action("read")"#).allowed(),
        Case::new("a hop to two capabilities allows the first", &set).by(2).allowed(),
        Case::new("a hop to two capabilities allows no mixture of them", &set)
            .by(2)
            .asks("notes:write:team/1")
            .denied("check_failed"),
        with_check("a check on a fact that does not exist fails", r#"check if approved("yes")"#).denied("check_failed"),
        with_check("a check sees no fact of the authority block", r#"check if agent("assistant")"#)
            .denied("check_failed"),
        Case::with_bytes(
            "a check sees no fact of its own hop",
            &signed_code(minted(&authority()).bytes(), 1, &format!("{} check if cnf($key);", hop_facts(2))),
        )
        .by(2)
        .denied("check_failed"),
        with_check("a check with a term too many fails", r#"check if method("GET", "GET")"#).denied("check_failed"),
        with_check("a check may ask whether the time is in a window", {
            "check if time($t), $t >= 2026-11-18T11:06:40Z, $t < 2026-11-18T12:00:00Z"
        })
        .allowed(),
    ]
}

fn arguments() -> Vec<Vector> {
    let at_most = |fact: &str| with_check(fact, r#"check if arg("amount", $x), $x <= 100"#);
    let set = r#"check if arg("currency", $c), {"EUR", "CHF"}.contains($c)"#;
    let prefix = r#"check if arg("to", $a), $a.starts_with("team-")"#;
    let team = r#"check if arg("to", $to), {"team@example.com", "all@example.com"}.contains($to)"#;
    let price = r#"check if arg("price", $p), {"12.5", "20"}.contains($p)"#;
    let until = r#"check if arg("end", $t), $t <= 2026-12-01T09:00:00Z"#;
    vec![
        with_check("a list passes where every value of it is in the set", team)
            .argument("to", json!(["team@example.com", "all@example.com", "team@example.com"]))
            .allowed(),
        with_check("a list fails where one value of it is not in the set", team)
            .argument("to", json!(["team@example.com", "ceo@example.com"]))
            .denied("check_failed"),
        with_check("a list without values passes a set", team).argument("to", json!([])).allowed(),
        with_check("a list has no order", r#"check if arg("to", $to), $to < 5"#)
            .argument("to", json!([1]))
            .denied("check_failed"),
        with_check("a list equals no value", r#"check if arg("to", "team@example.com")"#)
            .argument("to", json!(["team@example.com"]))
            .denied("check_failed"),
        with_check("a decimal is compared by its shortest text", price)
            .argument("price", json!({"decimal": "12.5"}))
            .allowed(),
        with_check("a decimal outside a set fails", price)
            .argument("price", json!({"decimal": "12.51"}))
            .denied("check_failed"),
        with_check("a decimal has no order", r#"check if arg("price", $p), $p <= 500"#)
            .argument("price", json!({"decimal": "12.5"}))
            .denied("check_failed"),
        with_check("a time is compared in whole seconds", until)
            .argument("end", json!({"time": "2026-12-01T09:00:00.999Z"}))
            .allowed(),
        with_check("a time after the bound fails", until)
            .argument("end", json!({"time": "2026-12-01T09:00:01Z"}))
            .denied("check_failed"),
        at_most("an argument at its bound passes").argument("amount", json!(100)).allowed(),
        at_most("an argument over its bound fails").argument("amount", json!(101)).denied("check_failed"),
        at_most("a negative argument is below an upper bound").argument("amount", json!(-1)).allowed(),
        at_most("a missing argument fails").denied("check_failed"),
        at_most("a text that looks like a number fails").argument("amount", json!("100")).denied("check_failed"),
        at_most("a boolean is no number").argument("amount", json!(true)).denied("check_failed"),
        at_most("an argument of another name does not help").argument("total", json!(1)).denied("check_failed"),
        with_check("an argument in a set passes", set).argument("currency", json!("EUR")).allowed(),
        with_check("an argument outside a set fails", set).argument("currency", json!("eur")).denied("check_failed"),
        with_check("an argument with the prefix passes", prefix).argument("to", json!("team-a")).allowed(),
        with_check("an argument without the prefix fails", prefix)
            .argument("to", json!("a-team-"))
            .denied("check_failed"),
        with_check("a number has no prefix", prefix).argument("to", json!(5)).denied("check_failed"),
        with_check("an exact argument passes", r#"check if arg("draft", true)"#)
            .argument("draft", json!(true))
            .allowed(),
        with_check("strict equality of values passes", r#"check if arg("draft", $d), $d === true"#)
            .argument("draft", json!(true))
            .allowed(),
        with_check(
            "a mismatch of types in one alternative denies though the next would pass",
            r#"check if arg("amount", $x), $x < 5 or method("GET")"#,
        )
        .argument("amount", json!("1"))
        .denied("check_failed"),
        with_check(
            "a mismatch of types in any argument denies though another would pass",
            r#"check if arg($name, $x), $x < 5"#,
        )
        .argument("amount", json!(1))
        .argument("note", json!("one"))
        .denied("check_failed"),
    ]
}

fn paths() -> Vec<Vector> {
    let charge = minted(&Authority { capabilities: vec![capability("stripe:charge:/")], ..authority() });
    let several = minted(&Authority {
        capabilities: vec![capability("notes:read:team"), capability("notes:/:team/1")],
        ..authority()
    });
    vec![
        Case::new("a capability covers a path below it", &charge)
            .asks("stripe:charge/refund:eu/1")
            .allowed_by("stripe:charge:/"),
        Case::new("a capability does not cover a longer word", &charge)
            .asks("stripe:charges:eu")
            .denied("no_capability"),
        Case::new("a capability does not cover the path above it", &charge).asks("stripe:/:eu").denied("no_capability"),
        Case::new("a capability does not cover another case", &charge).asks("stripe:Charge:eu").denied("no_capability"),
        Case::new("a capability of one service says nothing of another", &charge)
            .asks("mail:charge:eu")
            .denied("no_capability"),
        Case::new("the first capability that covers is named", &several)
            .asks("notes:write:team/1")
            .allowed_by("notes:/:team/1"),
        with_check("a check in another case fails", r#"check if action("Read")"#).denied("check_failed"),
        with_check("a check on a longer word fails", r#"check if action("reads")"#).denied("check_failed"),
    ]
}

fn forbidden() -> Vec<Vector> {
    let denied = |fact: &str, code: &str| with_check(fact, code).denied("token_profile");
    let trusting =
        BlockBuilder::new().scope(biscuit_auth::builder::Scope::Previous).check(r#"check if action("read")"#).unwrap();
    vec![
        denied("a rule is refused", r#"grant($x) <- agent($x)"#),
        denied("a check that must match all is refused", r#"check all action($a), $a.starts_with("r")"#),
        denied("a negative check is refused", r#"reject if arg("amount", $x), $x > 100"#),
        denied("a join is refused", "check if action($a), resource($a)"),
        denied("a variable that stands twice is refused", "check if arg($x, $x)"),
        denied("a bare expression is refused", "check if true"),
        denied("a regular expression is refused", r#"check if action($a), $a.matches("r.*")"#),
        denied("a suffix is refused", r#"check if action($a), $a.ends_with("d")"#),
        denied("a substring is refused", r#"check if action($a), $a.contains("ea")"#),
        denied("arithmetic is refused", r#"check if arg("amount", $x), $x + 1 < 100"#),
        denied("a length is refused", "check if action($a), $a.length() < 5"),
        denied("a negation is refused", r#"check if arg("draft", $d), !$d"#),
        denied("a conjunction by operator is refused", r#"check if arg("amount", $x), $x > 1 && $x < 9"#),
        denied("an inequality is refused", r#"check if method($m), $m !== "POST""#),
        denied("an equality of any types is refused", r#"check if method($m), $m == "GET""#),
        denied("parentheses are refused", r#"check if arg("amount", $x), ($x < 9)"#),
        denied("a constant on the left is refused", r#"check if arg("amount", $x), 9 > $x"#),
        denied("an order of strings is refused", r#"check if method($m), $m < "H""#),
        denied("two variables compared are refused", r#"check if arg($n, $x), $n === $x"#),
        denied("a closure is refused", r#"check if arg("tags", $t), $t.any($x -> $x === "a")"#),
        denied("a fallback is refused", r#"check if arg("amount", $x), ($x < 9).try_or(true)"#),
        denied("a null is refused", r#"check if arg("amount", null)"#),
        denied("an array is refused", r#"check if arg("amount", [1, 2])"#),
        denied("a map is refused", r#"check if arg("amount", {"a": 1})"#),
        denied("an empty set is refused", r#"check if arg("amount", $x), {,}.contains($x)"#),
        denied("a set in place of a value is refused", r#"check if arg("amount", {1})"#),
        denied("a scope of a query is refused", r#"check if action("read") trusting previous"#),
        Case::with_bytes("a scope of a block is refused", &appended(minted(&authority()).bytes(), trusting))
            .denied("token_profile"),
        Case::with_bytes(
            "a scope that trusts a key is refused in a hop",
            &signed_code(
                minted(&authority()).bytes(),
                1,
                &format!(
                    "{} check if action(\"read\") trusting ed25519/{};",
                    hop_facts(2),
                    hex::encode(public(4).as_bytes())
                ),
            ),
        )
        .by(2)
        .denied("token_profile"),
        denied("an invisible character in a string is refused", "check if action(\"re\u{200b}ad\")"),
        denied(
            "a comparison with nine parts is refused",
            &format!("check if arg(\"amount\", $x){}", ", $x < 9".repeat(9)),
        ),
    ]
}
