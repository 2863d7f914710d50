use super::*;

fn parse(policy: &str) -> Result<PolicySet, InvalidSet> {
    PolicySet::parse(Document { policy: policy.into(), ..Document::grants_decide() })
}

fn refused(policy: &str) -> String {
    parse(policy).expect_err("it is refused").to_string()
}

#[test]
fn a_set_reads_with_names_lines_and_annotations() {
    let text = r#"// Who may read; "quoted" // twice
@id("read") // a name
permit(principal, action in Action::"reads", resource);

@id("pay")
@approval("finance")
@ttl_s("900")
@description("a \"large\"; one")
permit(principal in Group::"staff", action, resource) when { "a;b" != "}" };
@id("watch") @shadow("trying it") forbid(principal, action, resource) unless { principal in Group::"boss" };
"#;
    let set = parse(text).unwrap();
    let lines: Vec<_> = set.policies().iter().map(|policy| (policy.name.as_str(), policy.line)).collect();
    assert_eq!(lines, [("read", 2), ("pay", 5), ("watch", 10)]);
    let [read, pay, watch] = set.policies() else { panic!("three policies") };
    assert!(read.is_enforced() && read.approval.is_none() && read.ttl_s.is_none());
    assert_eq!((pay.approval.as_deref(), pay.ttl_s), (Some("finance"), Some(900)));
    assert_eq!(watch.standing, Standing::Shadow("trying it".into()));
    let groups: Vec<_> = set.groups().iter().map(|(group, used)| (group.as_str(), *used)).collect();
    assert_eq!(groups, [("boss", GroupUse::Forbids), ("staff", GroupUse::Permits)]);
}

#[test]
fn the_built_in_set_reads_and_an_empty_one_allows_nothing_and_is_one() {
    assert_eq!(PolicySet::grants_decide().policies().len(), 1);
    assert!(parse("// nothing is allowed\n").unwrap().policies().is_empty());
}

#[test]
fn a_refusal_says_which_policy_and_which_line() {
    let all = "(principal, action, resource)";
    for (text, told) in [
        (format!("permit{all};"), "line 1 of the policy text: the policy has no name"),
        (format!("\n@id(\"Upper\")\npermit{all};"), "line 2"),
        (format!("@id(\"a\") permit{all};\n@id(\"a\") permit{all};"), "policy `a` (line 2): another policy"),
        (format!("@id(\"a\") permit{all}"), "does not end with `;`"),
        (format!("@id(\"a\")\npermit{all}\nwhen {{ context.a ==== 1 }};"), "line 3"),
        (format!("@id(\"a\") @hidden(\"x\") permit{all};"), "`@hidden` is no annotation"),
        (format!("@id(\"a\") @approval(\"x\") forbid{all};"), "`@approval"),
        (format!("@id(\"a\") @approval(\"\") permit{all};"), "`@approval"),
        (format!("@id(\"a\") @approval(\"\\u{{202e}}\") permit{all};"), "control character"),
        (format!("@id(\"a\") @ttl_s(\"0\") permit{all};"), "`@ttl_s"),
        (format!("@id(\"a\") @ttl_s(\"86401\") permit{all};"), "`@ttl_s"),
        (format!("@id(\"a\") @ttl_s(\"9\") forbid{all};"), "`@ttl_s"),
        ("@id(\"a\") permit(principal == ?principal, action, resource);".into(), "line 1"),
        (format!("@id(\"a\") permit{all} when {{ principal in Group::\"\\u{{7}}\" }};"), "policy `a`"),
    ] {
        assert!(refused(&text).contains(told), "{text}: {}", refused(&text));
    }
    let zone = Document { zone: "Europe/Nowhere".into(), ..Document::grants_decide() };
    assert!(PolicySet::parse(zone).unwrap_err().to_string().contains("Europe/Berlin"));
}

#[test]
fn every_size_has_a_bound() {
    let policy = |n: usize| format!("@id(\"p{n}\") permit(principal, action, resource);\n");
    let many = |count: usize| (0..count).map(policy).collect::<String>();
    assert_eq!(parse(&many(1000)).unwrap().policies().len(), 1000);
    assert!(refused(&many(1001)).contains("at most 1000"));
    assert!(refused(&"// x\n".repeat(60_000)).contains("256 KiB"));
    let with = |condition: &str| format!("@id(\"a\") permit(principal, action, resource) when {{ {condition} }};");
    assert!(refused(&with(&"x".repeat(9000))).contains("8 KiB"));
    assert!(refused(&with(&format!("{}true{}", "(".repeat(40), ")".repeat(40)))).contains("32 deep"));
    assert!(parse(&with(&format!("{}true{}", "(".repeat(20), ")".repeat(20)))).is_ok());
}

#[test]
fn what_fits_the_bounds_does_not_exhaust_a_threads_stack() {
    let with = |condition: String| format!("@id(\"a\") permit(principal, action, resource) when {{ {condition} }};");
    let worst = [
        with(vec!["true"; 37].join(" && ")),
        with(vec!["context.depth"; 36].join(" + ") + " == 1"),
        with(format!("context{}", ".a".repeat(75))),
        with(format!("context{}", "[\"a\"]".repeat(75))),
        with("if true then true else ".repeat(75) + "true"),
        with("!".repeat(75) + "true"),
        with("-".repeat(75) + "1 == 1"),
        with("true".to_owned() + &".contains(true)".repeat(37)),
    ];
    let over = [vec!["true"; 1000].join(" && "), ".a".repeat(3900)];
    for text in over {
        assert!(refused(&with(text)).contains("operators"));
    }
    // The default of a thread, and what the runtime gives its workers.
    let thread = std::thread::Builder::new().stack_size(2 << 20);
    let read = move || {
        for text in worst {
            if let Ok(set) = parse(&text) {
                let rules = crate::policy::rules::Rules::compile(1, 0, set);
                drop(rules);
            }
        }
    };
    thread.spawn(read).unwrap().join().unwrap();
}
