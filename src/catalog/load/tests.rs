//! Which files are services, and what is said of those that are not.

use std::collections::HashSet;

use super::*;
use crate::catalog::NoRoute;
use proptest::prelude::*;

const HEAD: &str = "name = \"notes\"\nupstream = \"https://api.example.com\"\n";
const ROUTE: &str = "[[route]]\nmethods = [\"GET\"]\npath = \"/a/{b}\"\naction = \"read\"\nresource = \"{b}\"\n";

fn refusal(text: &str) -> String {
    let error = Service::from_toml(text).err().unwrap_or_else(|| panic!("accepted: {text}"));
    let message = error.to_string();
    assert!(!message.contains('\n'), "{message}");
    message
}

fn route(changes: &[(&str, &str)], more: &str) -> String {
    let route = changes.iter().fold(ROUTE.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    format!("{HEAD}{route}{more}")
}

#[test]
fn a_refusal_names_the_key_to_change() {
    assert!(Service::from_toml(&route(&[], "")).is_ok());
    for (text, expected) in [
        ("".to_owned(), "missing field `name`"),
        ("name = ".to_owned(), "line 1: "),
        (format!("{HEAD}pulstream = 1\n{ROUTE}"), "line 3: unknown field `pulstream`"),
        (route(&[("action =", "acton =")], ""), "unknown field `acton`"),
        (route(&[("action = \"read\"\n", "")], ""), "`action`: it is missing"),
        (HEAD.replace("notes", "Notes") + ROUTE, "line 1: `Notes` is not a service name"),
        (HEAD.to_owned(), "service `notes`: `route`: declare 1 to 4096 routes"),
        (format!("{HEAD}credential_per = \"user\"\n{ROUTE}"), "service `notes`: `credential`"),
        (format!("{HEAD}credential_per = \"each\"\n{ROUTE}"), "line 3: unknown variant `each`"),
        (format!("{HEAD}origins = [\"https://a/b\"]\n{ROUTE}"), "`origins`: `https://a/b`: it must end after the host"),
        (route(&[("GET", "get")], ""), "`methods`: `get` is not a method"),
        (route(&[("\"GET\"", "\"GET\", \"GET\"")], ""), "`methods`: `GET` stands there twice"),
        (route(&[("\"GET\"", "")], ""), "`methods`: name 1 to 16 methods"),
        (route(&[("GET", "TRACE")], ""), "`methods`: `TRACE` cannot be forwarded safely"),
        (route(&[("GET", "CONNECT")], ""), "`methods`: `CONNECT` cannot be forwarded safely"),
        (route(&[("GET", "MOVE")], ""), "`methods`: `MOVE` names a second resource"),
        (route(&[("/a/{b}", "a/{b}")], ""), "route `GET a/{b}`: `path`: it must begin with `/`"),
        (route(&[("/a/{b}", "/../{b}")], ""), "`path`: `..` can never match"),
        (route(&[("\"read\"", "\"a b\"")], ""), "`action`: a path segment"),
        (route(&[("\"read\"", "\"/\"")], ""), "`action`: name what is done"),
        (route(&[("\"{b}\"", "\"{c}\"")], ""), "`resource`: `{c}` is not captured"),
        (route(&[("\"{b}\"", "\"{b}\"\nbody_bytes_max = 1")], ""), "`body_bytes_max`: only a route that says `body`"),
    ] {
        let message = refusal(&text);
        assert!(message.contains(expected), "{message} / {expected}");
    }
}

#[test]
fn an_upstream_that_would_show_or_misdirect_the_credential_is_refused() {
    let upstream = |url: &str, private: bool| {
        let head = format!("name = \"notes\"\nupstream = \"{url}\"\nallow_private = {private}\n");
        Service::from_toml(&format!("{head}{ROUTE}")).map_err(|error| error.to_string())
    };
    assert!(upstream("http://api.example.com", true).unwrap_err().contains("use `https://`"));
    assert!(upstream("http://10.0.0.1", true).unwrap_err().contains("use `https://`"));
    assert!(upstream("http://127.0.0.1:1", false).unwrap_err().contains("needs `allow_private = true`"));
    assert!(upstream("https://localhost", false).unwrap_err().contains("needs `allow_private = true`"));
    assert!(upstream("https://u:p@api.example.com", true).unwrap_err().contains("store them as a credential"));
    assert!(upstream("ftp://a", true).unwrap_err().contains("`upstream`: it must begin with"));
    for (url, private) in
        [("http://127.0.0.1:1", true), ("http://[::1]", true), ("http://localhost", true), ("https://10.0.0.1", true)]
    {
        assert!(upstream(url, private).is_ok(), "{url}");
    }
}

#[test]
fn an_argument_that_could_never_be_read_is_refused() {
    let argument =
        |changes: &[(&str, &str)], lines: &str| refusal(&route(changes, &format!("[[route.argument]]\n{lines}\n")));
    let post = &[("GET", "POST")];
    for (message, expected) in [
        (
            argument(&[], "name = \"x\"\nfrom = \"path\"\ntype = \"string\""),
            "argument `x`: `key`: `{x}` is not captured",
        ),
        (
            argument(&[], "name = \"x\"\nfrom = \"json\"\ntype = \"string\""),
            "`methods`: GET, HEAD and OPTIONS carry no body",
        ),
        (
            argument(post, "name = \"x\"\nfrom = \"json\"\nkey = \"x\"\ntype = \"string\""),
            "`key`: a JSON Pointer is written",
        ),
        (
            argument(&[], "name = \"x\"\nfrom = \"query\"\nkey = \"\"\ntype = \"string\""),
            "argument `x`: `key`: use 1 to 128",
        ),
        (argument(&[], "name = \"x y\"\nfrom = \"query\"\ntype = \"string\""), "argument `x y`: `name`: use 1 to 64"),
        (argument(&[], "name = \"x\"\nfrom = \"query\"\ntype = \"float\""), "unknown variant `float`"),
        (argument(&[], "name = \"x\"\nfrom = \"cookie\"\ntype = \"string\""), "unknown variant `cookie`"),
        (
            argument(
                &[],
                "name = \"b\"\nfrom = \"query\"\ntype = \"string\"\n[[route.argument]]\nname = \"b\"\nfrom = \"path\"\ntype = \"string\"",
            ),
            "argument `b`: `name`: another argument of the route has it",
        ),
    ] {
        assert!(message.contains(expected), "{message} / {expected}");
    }
    let max = |bytes: &str| {
        let resource = format!("\"{{b}}\"\nbody_bytes_max = {bytes}");
        let changes = [("GET", "POST"), ("\"{b}\"", resource.as_str())];
        Service::from_toml(&route(&changes, "[[route.argument]]\nname = \"x\"\nfrom = \"json\"\ntype = \"string\"\n"))
    };
    assert!(max("1048576").is_ok());
    for bytes in ["0", "1048577", "-1"] {
        assert!(max(bytes).is_err(), "{bytes}");
    }
}

#[test]
fn routes_that_match_the_same_requests_are_refused() {
    let with = |methods: &str, path: &str| {
        let more = ROUTE.replace("\"GET\"", methods).replace("/a/{b}", path).replace("\"{b}\"", "\"x\"");
        Service::from_toml(&format!("{HEAD}{ROUTE}{more}"))
    };
    for path in ["/a/{b}", "/a/{c}", "/a/{b}/", "/a/{*rest}"] {
        assert_eq!(with("\"PUT\", \"GET\"", path).unwrap_err().code(), "route_ambiguous", "{path}");
        assert!(with("\"PUT\"", path).is_ok(), "{path}");
    }
    let message = with("\"GET\"", "/a/{c}").unwrap_err().to_string();
    assert!(message.contains("route `GET /a/{c}`") && message.contains("`/a/{b}`"), "{message}");
    assert_eq!(with("\"GET\"", "/a/v{b}").and(with("\"GET\"", "/a/{b}:v")).map(|_| ()), Ok(()));
    let both = |first: &str, second: &str| {
        let more = ROUTE.replace("/a/{b}", first) + &ROUTE.replace("/a/{b}", second);
        Service::from_toml(&format!("{HEAD}{more}")).map(|_| ())
    };
    for (first, second) in [("/{b}:v", "/v{b}"), ("/v{b}", "/{b}:v"), ("/v{b}:v", "/w{b}:w"), ("/v{b}:v", "/v{b}")] {
        assert_eq!(both(first, second).unwrap_err().code(), "route_ambiguous", "{first} {second}");
    }
    for (first, second) in [("/{b}:v", "/{b}:w"), ("/{b}:v", "/{b}:v:v"), ("/v{b}", "/w{b}"), ("/x/{b}:v", "/y/v{b}")] {
        assert_eq!(both(first, second), Ok(()), "{first} {second}");
    }
    for path in ["/a", "/a/x", "/{x}/y", "/{*rest}", "/", "/a/{c}:run", "/a/v{c}"] {
        assert!(with("\"GET\"", path).is_ok(), "{path}");
    }
}

/// The rule in its simplest form: of all patterns that match, the one with the most exact segment where they first differ:
/// a literal, then a capture with the most fixed text, then a bare capture.
fn chosen<'a>(patterns: &'a [String], path: &str) -> Option<&'a String> {
    let rank = |pattern: &str| {
        let segments: Vec<&str> = path.split('/').collect();
        let parts: Vec<&str> = pattern.split('/').collect();
        let rest = parts.last().is_some_and(|part| part.starts_with("{*"));
        if parts.len() > segments.len() || (!rest && parts.len() != segments.len()) {
            return None;
        }
        parts
            .iter()
            .zip(&segments)
            .map(|(part, segment)| {
                match part.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?.1))) {
                    None => (part == segment).then_some(0),
                    Some(("", "")) => Some(100),
                    Some((before, after)) => {
                        let inner = segment.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
                        inner.filter(|inner| !inner.is_empty()).map(|_| 99 - before.len() - after.len())
                    }
                }
            })
            .collect::<Option<Vec<usize>>>()
    };
    patterns.iter().filter_map(|pattern| Some((rank(pattern)?, pattern))).min().map(|(_, pattern)| pattern)
}

#[test]
fn what_catches_all_does_not_catch_what_another_route_is_for() {
    let patterns = ["/b/{x}/{*z}", "/b/{x}:v/a", "/{*z}"];
    let routes = patterns.map(|pattern| ROUTE.replace("/a/{b}", pattern).replace("\"{b}\"", "\"x\"")).concat();
    let service = Service::from_toml(&format!("{HEAD}{routes}")).unwrap();
    let found = |path: &str| {
        let target = crate::catalog::Target::parse(path).unwrap();
        service.route("GET", &target).map(|found| found.route().pattern().to_string())
    };
    assert_eq!(found("/b/a:v/b"), Err(NoRoute::Path));
    for (path, pattern) in [("/b/a:v/a", patterns[1]), ("/b/a/b", patterns[0]), ("/c/a:v/b", patterns[2])] {
        assert_eq!(found(path).as_deref(), Ok(pattern), "{path}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    // Failure: a request is taken for another route than the rule says, or two routes of one shape are accepted. Without
    // fixed text beside captures: no route where the rule has one.
    #[test]
    fn the_router_follows_the_rule(
        patterns in proptest::collection::vec("(/(a|b|ab|\\{x\\}|\\{x\\}:v)){0,2}/(a|b|\\{y\\}|\\{y\\}:v|\\{y\\}:v:w|b\\{y\\}|\\{\\*z\\})", 1..6),
        paths in proptest::collection::vec("(/(a|b|ab|c|%20)(:v|:w|:v:w)?){1,4}/?", 1..8),
    ) {
        let routes: String = patterns.iter().map(|pattern| ROUTE.replace("/a/{b}", pattern).replace("\"{b}\"", "\"x\"")).collect();
        let one_capture_each = patterns.iter().all(|pattern| pattern.matches("{x}").count() < 2);
        let Ok(service) = Service::from_toml(&format!("{HEAD}{routes}")) else { return Ok(()) };
        prop_assert!(one_capture_each);
        let shapes: HashSet<String> = patterns.iter().map(|pattern| pattern.parse::<crate::catalog::pattern::Pattern>().unwrap().shape()).collect();
        prop_assert_eq!(shapes.len(), patterns.len());
        for path in paths {
            let target = crate::catalog::Target::parse(&path).unwrap();
            let found = service.route("GET", &target).ok().map(|found| found.route().pattern().to_string());
            let expected = chosen(&patterns, path.strip_suffix('/').unwrap_or(&path));
            // The table does not come back from fixed text that led nowhere: no route, never another one.
            let gave_up = found.is_none() && patterns.iter().any(|pattern| pattern.contains("}:"));
            prop_assert!(gave_up || found.as_ref() == expected, "{}: {:?}, not {:?}", path, found, expected);
        }
    }

    #[test]
    fn no_file_makes_the_loader_panic(text in any::<String>(), path in "[/a{}*.%;]{0,12}") {
        let _ = Service::from_toml(&text);
        let _ = Service::from_toml(&route(&[("/a/{b}", &path)], ""));
    }
}
