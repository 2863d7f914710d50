//! Which fields a request asks for, and that an independent parser reads the forwarded document as the one that came.

use proptest::prelude::*;

use super::*;

fn read(body: &str) -> Result<Request, BadBody> {
    Request::of(&Body::parse(body.as_bytes(), 1 << 20)?)
}

fn query(document: &str) -> Result<Request, BadBody> {
    read(&format!("{{\"query\":{}}}", serde_json::to_string(document).unwrap()))
}

fn fields(request: Result<Request, BadBody>) -> Result<Vec<String>, BadBody> {
    let shown = |field: &TopField| format!("{} {} {}", field.kind, field.name, field.arguments);
    Ok(request?.fields().iter().map(shown).collect())
}

fn forwarded(request: Result<Request, BadBody>) -> serde_json::Value {
    serde_json::from_slice(&request.unwrap().to_bytes()).unwrap()
}

#[test]
fn every_field_at_the_top_is_asked_for_whatever_hides_it() {
    let document = "query Q { me: viewer { name } viewer { id } ...F ... on Query { issues(first: 2) { id } }
        ... @include(if: false) { team(id: \"t\") { id } } users @skip(if: true) { id } }
        fragment F on Query { secrets { id } ...G } fragment G on Query { more }";
    let expected =
        ["viewer {}", "viewer {}", "secrets {}", "more {}", "issues {\"first\":2}", "team {\"id\":\"t\"}", "users {}"];
    assert_eq!(fields(query(document)), Ok(expected.map(|field| format!("query {field}")).to_vec()));
    assert_eq!(fields(query("{ a }")), Ok(vec!["query a {}".to_owned()]));
    assert_eq!(fields(query("mutation { b }")), Ok(vec!["mutation b {}".to_owned()]));
    let batch = r#"[{"query":"{a}"},{"query":"mutation {b}"}]"#;
    assert_eq!(fields(read(batch)), Ok(vec!["query a {}".to_owned(), "mutation b {}".to_owned()]));
}

#[test]
fn arguments_have_the_values_of_their_variables() {
    let body = r#"{"query":"mutation M($t: ID!, $n: Int = 3, $u: String, $tags: [String!] = [\"a\"]) { create(input: {team: $t, n: $n, u: $u, tags: $tags, also: [$u, OPEN]}, direct: $t, gone: $u) { id } }",
        "operationName":"M","variables":{"t":"T1","tags":["x","y"]}}"#;
    let expected =
        r#"mutation create {"input":{"team":"T1","n":3,"tags":["x","y"],"also":[null,"OPEN"]},"direct":"T1"}"#;
    assert_eq!(fields(read(body)), Ok(vec![expected.to_owned()]));
}

#[test]
fn only_the_operation_that_is_asked_for_is_forwarded_with_its_fragments() {
    let body = r##"{"query":"# first\nquery A { a ...F } mutation B { b } fragment F on Query { x(s: \"é\\u0041\\n\") } fragment Unused on Query { u }",
        "operationName":"A","variables":{},"extensions":null}"##;
    assert_eq!(
        forwarded(read(body)),
        serde_json::json!({"query": "query A{a ...F} fragment F on Query{x(s:\"éA\\u000a\")}", "operationName": "A"})
    );
    assert_eq!(fields(read(body)), Ok(vec!["query a {}".to_owned(), "query x {\"s\":\"éA\\u000a\"}".to_owned()]));
    let named = r#"{"query":"query A{a}","variables":null}"#;
    assert_eq!(forwarded(read(named)), serde_json::json!({"query": "query A{a}", "operationName": "A"}));
}

#[test]
fn what_servers_could_understand_in_two_ways_is_refused() {
    for body in [
        r#"{}"#,
        r#"1"#,
        r#"[1]"#,
        r#"{"query":1}"#,
        r#"{"query":"{a}","Query":"{b}"}"#,
        r#"{"query":"{a}","id":"abc"}"#,
        r#"{"query":"{a}","doc_id":"1"}"#,
        r#"{"query":"{a}","variables":[]}"#,
        r#"{"query":"{a}","variables":{"x":1}}"#,
        r#"{"query":"{a}","operationName":"A"}"#,
        r#"{"query":"query A{a}","operationName":"B"}"#,
        r#"{"query":"query A{a}","operationName":"a"}"#,
        r#"{"query":"query A{a} query B{b}"}"#,
        r#"{"query":"query A{a} query A{b}","operationName":"A"}"#,
        r#"{"query":"query A{a} {b}","operationName":"A"}"#,
        r#"{"query":"{a} {b}"}"#,
        r#"{"query":"subscription {a}"}"#,
        r#"{"query":"fragment F on Query {a}"}"#,
        r#"{"query":""}"#,
        r#"{"extensions":{"persistedQuery":{"version":1,"sha256Hash":"x"}}}"#,
        r#"{"query":"{a}","extensions":{"persistedQuery":{}}}"#,
    ] {
        assert!(matches!(read(body), Err(BadBody::Graphql(_))), "{body}: {:?}", read(body));
    }
    for document in [
        "{",
        "}",
        "{}",
        "{a",
        "{a}}",
        "{a b:}",
        "{a:}",
        "{...}",
        "{...F}",
        "{...F} fragment F on Query {...F}",
        "{...F} fragment F on Query {a{...G}} fragment G on Query {...F}",
        "{...F} fragment F on Query {a} fragment F on Query {b}",
        "{a(x:1,x:2)}",
        "{a(x:{y:1,y:2})}",
        "{a()}",
        "query () {a}",
        "query ($x:Int,$x:Int) {a}",
        "query ($x:Int=$y){a}",
        "{a(x:$undeclared)}",
        "{a(x:01)}",
        "{a(x:1.)}",
        "{a(x:.5)}",
        "{a(x:1e)}",
        "{a(x:0x1)}",
        "{a(x:1a)}",
        "{a(x:-)}",
        "{a(x:\"\\u{41}\")}",
        "{a(x:\"\\ud800\")}",
        "{a(x:\"\\udc00\\ud800\")}",
        "{a(x:\"\\ud800a\")}",
        "{a(x:\"\n\")}",
        "{a(x:\"\\x\")}",
        "{a(x:\"\"\"block\"\"\")}",
        "{a(x:\"",
        "{é}",
        "\u{feff}{a}",
        "{a\u{0}}",
        "{a;b}",
        "{a . . . b}",
        "{a..F}",
        "type A {b:C}",
        "schema {query:Q}",
        "extend type A {b:C}",
        "fragment on on Query {a} {b}",
        "query A B {a}",
        "{a(x:'y')}",
        "{a @}",
        "# only",
        "{a # \u{1}\n}",
        "{\u{a0}a}",
    ] {
        assert!(matches!(query(document), Err(BadBody::Graphql(_))), "{document}: {:?}", query(document));
    }
}

#[test]
fn depth_tokens_fields_and_bombs_are_bounded() {
    let nested = |depth: usize| format!("{}a{}", "{a".repeat(depth), "}".repeat(depth));
    assert!(query(&nested(32).replacen("a{", "{", 0)).is_ok());
    assert_eq!(query(&nested(33)), Err(BadBody::TooDeep));
    assert_eq!(query(&"{a".repeat(50_000)), Err(BadBody::Graphql("its document has more than 10000 tokens")));
    assert_eq!(query(&format!("{{a(x:{}1{})}}", "[".repeat(40), "]".repeat(40))), Err(BadBody::TooDeep));
    assert_eq!(query(&format!("query($x:{}I{}){{a}}", "[".repeat(40), "]".repeat(40))), Err(BadBody::TooDeep));
    assert!(query(&format!("{{{}}}", "a ".repeat(32))).is_ok());
    assert_eq!(query(&format!("{{{}}}", "a ".repeat(33))), Err(BadBody::TooMany));
    assert_eq!(read("[]"), Err(BadBody::TooMany));
    let batch = |count: usize| read(&format!("[{}]", vec![r#"{"query":"{a}"}"#; count].join(",")));
    assert!(batch(32).is_ok());
    assert_eq!(batch(33), Err(BadBody::TooMany));

    let level = |i: usize| format!("fragment F{i} on T {{ {} }}", format!("...F{} ", i + 1).repeat(10));
    let bomb: String = (0..6).map(level).collect::<String>() + "fragment F6 on T { x }";
    assert!(
        matches!(query(&format!("{{ a {{ ...F0 }} }} {bomb}")), Err(BadBody::Graphql(why)) if why.contains("10000 fields"))
    );
    assert!(matches!(query(&format!("{{ ...F0 }} {bomb}")), Err(BadBody::Graphql(_) | BadBody::TooMany)));
    let chain: String = (0..40).map(|i| format!("fragment F{i} on T {{ ...F{} }}", i + 1)).collect();
    assert_eq!(query(&format!("{{ ...F0 }} {chain} fragment F40 on T {{ x }}")), Err(BadBody::TooDeep));
}

fn any_value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        "-?(0|[1-9][0-9]{0,9})",
        "-?(0|[1-9][0-9]{0,3})\\.[0-9]{1,3}",
        "\"([a-z é#{}]|\\\\n|\\\\\"|\\\\u00[46][0-9a-f]){0,6}\"",
        "[A-Z]{1,4}",
        Just("$v".to_owned()),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(|items| format!("[{}]", items.join(" , "))),
            inner.prop_map(|value| format!("{{ k : {value} }}")),
        ]
    })
}

fn any_selection() -> impl Strategy<Value = String> {
    let field = ("([ab]{1} : )?", "[a-d]", proptest::option::of(any_value()), "( @include\\(if: \\$c\\))?").prop_map(
        |(alias, name, argument, directive)| {
            let arguments = argument.map(|value| format!("(x: {value})")).unwrap_or_default();
            format!("{alias}{name}{arguments}{directive}")
        },
    );
    let leaf = prop_oneof![4 => field, 1 => Just("...F".to_owned()), 1 => Just("...G".to_owned())];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let block = proptest::collection::vec(inner, 1..4).prop_map(|parts| parts.join(" # and\n "));
        prop_oneof![
            block.clone().prop_map(|block| format!("e {{ {block} }}")),
            block.prop_map(|block| format!("... on T {{ {block} }}")),
        ]
    })
}

/// The fields at the top as the other parser reads them: kind and name.
fn read_elsewhere(text: &str) -> Vec<String> {
    use graphql_parser::query::{Definition, OperationDefinition, Selection, parse_query};
    fn walk<'a>(selections: &[Selection<'a, String>], document: &[Definition<'a, String>], found: &mut Vec<String>) {
        for selection in selections {
            match selection {
                Selection::Field(field) => found.push(field.name.clone()),
                Selection::InlineFragment(inner) => walk(&inner.selection_set.items, document, found),
                Selection::FragmentSpread(spread) => {
                    for definition in document {
                        if let Definition::Fragment(fragment) = definition
                            && fragment.name == spread.fragment_name
                        {
                            walk(&fragment.selection_set.items, document, found);
                        }
                    }
                }
            }
        }
    }
    let document = parse_query::<String>(text).unwrap();
    let mut found = Vec::new();
    for definition in &document.definitions {
        if let Definition::Operation(operation) = definition {
            let selections = match operation {
                OperationDefinition::SelectionSet(set) => &set.items,
                OperationDefinition::Query(query) => &query.selection_set.items,
                OperationDefinition::Mutation(mutation) => &mutation.selection_set.items,
                OperationDefinition::Subscription(_) => panic!("a subscription is forwarded"),
            };
            walk(selections, &document.definitions, &mut found);
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::catalog::tests::cases()))]

    // Failure: another parser reads the forwarded document otherwise than the one that came, or other fields at its top than
    // were authorised.
    #[test]
    fn an_independent_parser_reads_what_was_authorised(
        parts in proptest::collection::vec(any_selection(), 1..4),
        more in any_selection(),
        mutation: bool,
    ) {
        let kind = if mutation { "mutation" } else { "query" };
        let text = format!(
            "{kind} Q($v: Int = 1, $c: Boolean!) {{ {} }} fragment F on T {{ {more} ...G }} fragment G on T {{ g }}",
            parts.join(",")
        );
        let Ok(request) = query(&text) else { return Ok(()) };
        let body: serde_json::Value = serde_json::from_slice(&request.to_bytes()).unwrap();
        let written = body["query"].as_str().unwrap();
        let authorised: Vec<String> = request.fields().iter().map(|field| field.name.to_string()).collect();
        prop_assert_eq!(read_elsewhere(written), authorised, "{}", written);

        let unused = |text: &str, name: &str| !text.contains(&format!("...{name}"));
        if !unused(written, "F") && !unused(written, "G") {
            let [theirs, ours] = [&*text, written].map(|text| graphql_parser::parse_query::<String>(text).unwrap().to_string());
            prop_assert_eq!(theirs, ours);
        }
        let again = query(written);
        prop_assert_eq!(again.as_ref().map(Request::fields), Ok(request.fields()));
        prop_assert_eq!(again.map(|request| request.to_bytes()), Ok(request.to_bytes()));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[{}()\\[\\]a$:!@=.\"\\\\u0-9, \n#é-]{0,40}|.*") {
        let _ = query(&text);
        let _ = read(&text);
    }
}
