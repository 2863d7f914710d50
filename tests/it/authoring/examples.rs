//! What the policies of `spec/policy.md` are for, each with the calls that it lets through and those that it does not.

use serde_json::Value;

use super::{folder, policy};

/// Runs `cases` against `cedar`: passes the check, and each case comes out as it says.
#[track_caller]
fn holds(cedar: &str, cases: &str) {
    let dir = folder(&[("policy.cedar", cedar), ("policy.test.toml", cases)]);
    let report = policy(dir.path(), &["check", "--strict", "policy.cedar", "--json"]).json();
    assert_eq!(report["findings"], serde_json::json!([]), "{report}");
    let tried = policy(dir.path(), &["test", "policy.cedar", "--json"]).json();
    assert_eq!(tried.as_array().unwrap().len(), cases.matches("[[case]]").count(), "{tried}");
}

/// A case as TOML.
fn case(name: &str, question: &str, expect: &str) -> String {
    format!("[[case]]\nname = \"{name}\"\nagent = \"helper\"\nuser = \"alice\"\n{question}\nexpect = \"{expect}\"\n")
}

#[test]
fn an_agent_reads_the_calendar_only() {
    let cedar = r#"
        @id("reads-the-calendar")
        permit(principal in Agent::"helper", action in Action::"reads", resource in Resource::"google-calendar:/");
    "#;
    let cases = [
        case("reads", "action = \"google-calendar:events/read\"", "allow"),
        case("writes", "action = \"google-calendar:events/write\"\nmethod = \"POST\"", "deny"),
        case("deletes", "action = \"google-calendar:events/write/delete\"\nmethod = \"DELETE\"", "deny"),
        case("reads elsewhere", "action = \"github:issues/read\"", "deny"),
    ];
    holds(cedar, &cases.concat());
}

#[test]
fn mail_goes_to_the_team_only_whoever_else_is_named() {
    let cedar = r#"
        @id("mail-to-the-team")
        permit(principal in Agent::"helper", action == Action::"mail:send", resource)
        when { context.arguments has to && ["team@domain.com"].containsAll(context.arguments.to) && !context.arguments.to.isEmpty() };
    "#;
    let to = |to: &str| format!("action = \"mail:send\"\nmethod = \"POST\"\narguments = {{ to = {to} }}");
    let cases = [
        case("to the team", &to("[\"team@domain.com\"]"), "allow"),
        case("to the team and somebody", &to("[\"team@domain.com\", \"eve@evil.example\"]"), "deny"),
        case("somebody first", &to("[\"eve@evil.example\", \"team@domain.com\"]"), "deny"),
        case("to somebody", &to("[\"eve@evil.example\"]"), "deny"),
        case("to nobody", &to("[]"), "deny"),
        case("who is not said", "action = \"mail:send\"", "deny"),
    ];
    holds(cedar, &cases.concat());
}

#[test]
fn a_sales_representatives_agent_reads_opportunities_in_business_hours() {
    let cedar = r#"
        @id("opportunities-in-business-hours")
        permit(
            principal is AgentForUser in Group::"sales",
            action == Action::"salesforce:records/read",
            resource in Resource::"salesforce:Opportunity"
        )
        when { context.local.weekday <= 5 && context.local.hour >= 9 && context.local.hour < 17 };
    "#;
    let at = |at: &str, more: &str| {
        format!("action = \"salesforce:records/read\"\nresource = \"Opportunity/1\"\nat = \"{at}\"\n{more}")
    };
    let sales = "groups = [\"sales\"]";
    let cases = [
        case("on Monday at ten", &at("2026-11-23T10:00:00Z", sales), "allow"),
        case("a second before nine", &at("2026-11-23T08:59:59Z", sales), "deny"),
        case("at five", &at("2026-11-23T17:00:00Z", sales), "deny"),
        case("on Saturday", &at("2026-11-21T10:00:00Z", sales), "deny"),
        case("for somebody else", &at("2026-11-23T10:00:00Z", "groups = [\"support\"]"), "deny"),
        case(
            "accounts",
            "action = \"salesforce:records/read\"\nresource = \"Account/1\"\nat = \"2026-11-23T10:00:00Z\"\ngroups = [\"sales\"]",
            "deny",
        ),
        case(
            "writing",
            "action = \"salesforce:records/write\"\nresource = \"Opportunity/1\"\nat = \"2026-11-23T10:00:00Z\"\ngroups = [\"sales\"]",
            "deny",
        ),
    ];
    holds(cedar, &cases.concat());
}

#[test]
fn only_urgent_tickets_and_only_replies_from_approved_templates() {
    let cedar = r#"
        @id("urgent-tickets")
        permit(principal in Agent::"helper", action == Action::"desk:tickets/read", resource)
        when { context.arguments has tag && context.arguments.tag == "urgent" };

        @id("replies-from-templates")
        permit(principal in Agent::"helper", action == Action::"desk:tickets/reply", resource)
        when { context.arguments has tag && context.arguments.tag == "urgent" }
        when { context.arguments has template && ["received", "solved"].contains(context.arguments.template) }
        unless { context.arguments has text };
    "#;
    let read = |tag: &str| {
        format!("action = \"desk:tickets/read\"\nresource = \"tickets/{tag}/7\"\narguments = {{ tag = \"{tag}\" }}")
    };
    let reply =
        |arguments: &str| format!("action = \"desk:tickets/reply\"\nmethod = \"POST\"\narguments = {{ {arguments} }}");
    let cases = [
        case("urgent", &read("urgent"), "allow"),
        case("not urgent", &read("later"), "deny"),
        case("an approved template", &reply("tag = \"urgent\", template = \"solved\""), "allow"),
        case("another template", &reply("tag = \"urgent\", template = \"insult\""), "deny"),
        case("free text beside a template", &reply("tag = \"urgent\", template = \"solved\", text = \"x\""), "deny"),
        case("free text", &reply("tag = \"urgent\", text = \"x\""), "deny"),
        case("of a ticket that is not urgent", &reply("tag = \"later\", template = \"solved\""), "deny"),
    ];
    holds(cedar, &cases.concat());
}

#[test]
fn no_agent_deletes_a_repository_whatever_its_writ_says() {
    let cedar = r#"
        @id("everything")
        permit(principal, action, resource);

        @id("no-repository-is-deleted")
        forbid(principal, action in Action::"github:repos/write/delete", resource);
    "#;
    let cases = [
        case(
            "deleting",
            "action = \"github:repos/write/delete\"\nresource = \"repos/acme/web\"\nmethod = \"DELETE\"\nby = [\"no-repository-is-deleted\"]",
            "deny",
        ),
        case("being given the right", "action = \"github:repos/write/delete\"\nissuing = true", "deny"),
        case("renaming", "action = \"github:repos/write\"\nresource = \"repos/acme/web\"\nmethod = \"PATCH\"", "allow"),
    ];
    holds(cedar, &cases.concat());
}

#[test]
fn amounts_up_to_500_up_to_5000_with_approval_and_never_above() {
    let cedar = r#"
        @id("small")
        permit(principal in Agent::"helper", action == Action::"payments:payments/write", resource)
        when { context.arguments has amount && context.arguments.amount.lessThanOrEqual(decimal("500.0")) };

        @id("large")
        @approval("finance")
        permit(principal in Agent::"helper", action == Action::"payments:payments/write", resource)
        when { context.arguments has amount && context.arguments.amount.lessThanOrEqual(decimal("5000.0")) };

        @id("never-above")
        forbid(principal, action == Action::"payments:payments/write", resource)
        unless { context.arguments has amount && context.arguments.amount.lessThanOrEqual(decimal("5000.0")) };
    "#;
    let pay = |amount: &str| {
        format!("action = \"payments:payments/write\"\nmethod = \"POST\"\narguments = {{ amount = \"{amount}\" }}")
    };
    let cases = [
        case("500", &pay("500"), "allow"),
        case("a ten-thousandth above 500", &pay("500.0001"), "approval"),
        case("5000", &pay("5000"), "approval"),
        case("a ten-thousandth above 5000", &pay("5000.0001"), "deny"),
        case("no amount", "action = \"payments:payments/write\"", "deny"),
        case("being given the right", "action = \"payments:payments/write\"\nissuing = true", "allow"),
    ];
    holds(cedar, &cases.concat());
}

#[test]
fn a_case_that_comes_out_otherwise_fails_and_says_why() {
    let cedar = "@id(\"night\")\npermit(principal, action, resource)\nwhen { context.local.hour < 6 };\n";
    let cases = case("at noon", "action = \"github:issues/read\"\nat = \"2026-11-23T12:00:00Z\"", "allow");
    let dir = folder(&[("policy.cedar", cedar), ("policy.test.toml", &cases)]);
    let finished = policy(dir.path(), &["test", "policy.cedar"]);
    assert_eq!(finished.code, 1, "{finished:?}");
    for said in
        ["FAIL at noon: expected `allow`, and it is `deny`", "context.local.hour < 6", "context.local.hour = 12"]
    {
        assert!(finished.stdout.contains(said), "{}", finished.stdout);
    }
}

#[test]
fn a_mistake_is_told_with_its_file_its_line_and_what_was_meant() {
    let dir = folder(&[
        ("a.cedar", "@id(\"ok\")\npermit(principal, action, resource);\n"),
        ("b.cedar", "// second\n@id(\"wrong\")\nforbid(principal,\n  action in Action::\"github:isues\", resource);\n"),
    ]);
    let finished = policy(dir.path(), &["check", "a.cedar", "b.cedar"]);
    assert_eq!(finished.code, 1, "{finished:?}");
    assert!(finished.stdout.contains("b.cedar:4: policy `wrong`: `Action::\"github:isues\"` is no action of the services: did you mean `github:issues`?"), "{}", finished.stdout);
    assert!(policy(dir.path(), &["test", "b.cedar"]).refused(1).contains("b.cedar:4"));
}

#[test]
fn policies_that_add_nothing_are_told() {
    let cedar = r#"
@id("all") permit(principal, action, resource);
@id("none") permit(principal in Agent::"helper", action in Action::"github:/", resource);
@id("asked") @approval("boss") permit(principal, action in Action::"deletes", resource);
@id("never") permit(principal, action in Action::"github:repos/write", resource in Resource::"github:repos/acme/web") when { context.depth > 0 };
@id("stop") forbid(principal, action in Action::"github:repos", resource in Resource::"github:repos/acme");
@id("stop-less") forbid(principal is Agent, action == Action::"github:repos/read", resource in Resource::"github:repos/acme/web") when { context.depth > 0 };
"#;
    let dir = folder(&[("p.cedar", cedar)]);
    let report = policy(dir.path(), &["check", "p.cedar", "--json"]).json();
    let found = |policy: &str| {
        let findings = report["findings"].as_array().unwrap();
        findings
            .iter()
            .find(|finding| finding["policy"] == policy)
            .map(|finding| finding["message"].as_str().unwrap().to_owned())
    };
    assert_eq!(found("all"), None);
    assert_eq!(found("stop"), None);
    assert_eq!(found("none").unwrap(), "it adds nothing: the permit `all` allows wherever it does");
    assert_eq!(found("asked").unwrap(), "its approval is never asked for: the permit `all` allows the same without");
    assert!(found("never").is_some());
    assert_eq!(found("stop-less").unwrap(), "it adds nothing: the forbid `stop` matches wherever it does");
}

#[test]
fn explain_shows_the_policy_the_condition_and_the_values() {
    let cedar = "@id(\"small\")\npermit(principal, action, resource)\nwhen { context.arguments has amount && context.arguments.amount.lessThan(decimal(\"500.0\")) };\n";
    let dir = folder(&[("p.cedar", cedar)]);
    let ask = |amount: &str, json: &[&str]| {
        let argument = format!("amount={amount}");
        let mut args = vec![
            "explain",
            "p.cedar",
            "--agent",
            "helper",
            "--action",
            "payments:payments/write",
            "--argument",
            &argument,
        ];
        args.extend(json);
        policy(dir.path(), &args)
    };
    let allowed: Value = ask("12.5", &["--json"]).json();
    assert_eq!(allowed[0]["decision"], "allow");
    assert_eq!(allowed[0]["by"], serde_json::json!(["small"]));
    let denied = ask("512.5", &[]);
    assert_eq!(denied.code, 1);
    for said in [
        "denied: no policy permits it",
        "context.arguments.amount.lessThan(decimal(\"500.0\"))",
        "context.arguments.amount = decimal(\"512.5",
    ] {
        assert!(denied.stdout.contains(said), "{}", denied.stdout);
    }
    let refused = ask("12.50001", &[]).refused(1);
    assert!(refused.contains("the argument `amount` must be a decimal"), "{refused}");
}

#[test]
fn a_template_is_filled_in_by_one_command_and_passes_the_check() {
    let dir = folder(&[]);
    let use_it = |repository: &str, out: &str| {
        let repository = format!("repository={repository}");
        crate::cli::writ(
            dir.path(),
            &[
                "policy",
                "template",
                "use",
                "repository-triage",
                "--param",
                "agent=bot",
                "--param",
                &repository,
                "--out",
                out,
            ],
        )
    };
    use_it("acme/web", "triage.cedar").ok();
    policy(dir.path(), &["check", "--strict", "triage.cedar"]).ok();
    // What is no repository, or tries to be policy text, is refused or stays a name.
    assert!(use_it("acme//web", "x.cedar").refused(1).contains("repository"));
    use_it("a\"); permit(principal, action, resource); //", "odd.cedar").refused(1);
    assert!(use_it("acme/web", "triage.cedar").refused(1).contains("triage.cedar"));
}
