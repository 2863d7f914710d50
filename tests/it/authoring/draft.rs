//! `writ policy draft` against an HTTP server written here: no language model can be had, and none is imitated. What counts
//! is that whatever an endpoint answers is read as the word of a stranger.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use serde_json::{Value, json};

use super::folder;
use crate::cli::{Finished, command, finished};

/// Answers one request with `status` and `body`, and tells what was asked.
fn endpoint(status: &'static str, body: String) -> (String, thread::JoinHandle<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1/chat/completions", listener.local_addr().unwrap());
    let served = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
            head.push_str(&line);
        }
        let mut asked = vec![0; length];
        reader.read_exact(&mut asked).unwrap();
        let head_out = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        let mut stream = stream;
        stream.write_all(head_out.as_bytes()).unwrap();
        // One who stops reading a long answer closes the connection.
        let _ = stream.write_all(body.as_bytes());
        (head, serde_json::from_slice(&asked).unwrap())
    });
    (url, served)
}

fn answer(content: &str) -> String {
    json!({ "choices": [{ "message": { "role": "assistant", "content": content } }] }).to_string()
}

fn draft(url: Option<&str>, wanted: &str) -> Finished {
    let dir = folder(&[]);
    let mut command = command(dir.path(), &["policy", "draft", wanted, "--builtin", "google-calendar"]);
    if let Some(url) = url {
        command.env("WRIT_DRAFT_URL", url).env("WRIT_DRAFT_KEY", "canary-key");
    }
    finished(command.output().unwrap())
}

const GOOD: &str = "@id(\"reads\")\npermit(principal in Agent::\"helper\", action == Action::\"google-calendar:events/read\", resource);";

#[test]
fn a_draft_that_passes_the_check_is_printed_and_nothing_is_loaded() {
    let (url, served) = endpoint("200 OK", answer(&format!("```cedar\n{GOOD}\n```")));
    let done = draft(Some(&url), "only read calendar events");
    assert_eq!(done.stdout.trim_end(), GOOD, "{done:?}");
    assert!(done.stderr.contains("load it yourself"), "{done:?}");
    let (head, asked) = served.join().unwrap();
    assert!(head.to_lowercase().contains("authorization: bearer canary-key"));
    assert_eq!(asked["messages"][1]["content"], "only read calendar events");
    assert!(asked["messages"][0]["content"].as_str().unwrap().contains("google-calendar:events/read"));
}

#[test]
fn whom_to_ask_stands_in_the_clients_settings_and_who_names_another_does_not_get_that_ones_key() {
    let dir = folder(&[]);
    fs::create_dir(dir.path().join("writ")).unwrap();
    fs::write(dir.path().join("writ/key"), "key-of-the-settings\n").unwrap();
    let run = |more: &[&str], variables: &[(&str, &str)]| {
        let args = [&["policy", "draft", "read calendars", "--builtin", "google-calendar"], more].concat();
        let mut command = command(dir.path(), &args);
        command.env("XDG_CONFIG_HOME", dir.path()).envs(variables.iter().copied());
        finished(command.output().unwrap())
    };
    let set = |url: &str| {
        let text = format!("[draft]\nendpoint = \"{url}\"\nmodel = \"ours\"\nkey_file = \"key\"\n");
        fs::write(dir.path().join("writ/client.toml"), text).unwrap();
    };
    for (variables, key, model) in [
        (&[][..], "key-of-the-settings", "ours"),
        (&[("WRIT_DRAFT_KEY", "other-key"), ("WRIT_DRAFT_MODEL", "theirs")], "other-key", "theirs"),
    ] {
        let (url, served) = endpoint("200 OK", answer(GOOD));
        set(&url);
        run(&[], variables).ok();
        let (head, asked) = served.join().unwrap();
        assert!(head.to_lowercase().contains(&format!("authorization: bearer {key}")), "{head}");
        assert_eq!(asked["model"], model);
    }
    set("http://127.0.0.1:1/nobody");
    let refused = run(&["--endpoint", "http://127.0.0.1:1/other"], &[]);
    assert!(refused.code != 0 && refused.stderr.contains("WRIT_DRAFT_KEY"), "{refused:?}");
    fs::write(dir.path().join("writ/client.toml"), "[draft]\nurl = \"x\"\n").unwrap();
    let refused = run(&[], &[]);
    assert!(
        refused.code != 0 && refused.stderr.contains("client.toml") && refused.stderr.contains("url"),
        "{refused:?}"
    );
}

#[test]
fn a_draft_that_does_not_pass_the_check_is_no_result() {
    for (content, said) in [
        (
            "```cedar\n@id(\"x\") permit(principal, action == Action::\"google-calendar:events/reed\", resource);\n```",
            "did you mean",
        ),
        ("permit(principal, action, resource);", "@id"),
        ("I can't do that.", "line 1"),
        ("```cedar\n@id(\"x\") permit(principal, action, resource) when { context.arguments.x };\n```", "`x`"),
        ("@id(\"x\") permit(principal, action, resource\u{202e});", "deceive"),
        (" ", "no block"),
    ] {
        let (url, served) = endpoint("200 OK", answer(content));
        let refused = draft(Some(&url), "read calendars");
        served.join().unwrap();
        assert_eq!((refused.code, refused.stdout.as_str()), (1, ""), "{content}: {refused:?}");
        assert!(refused.stderr.contains(said), "{content}: {refused:?}");
        assert!(!refused.stderr.contains("canary-key"));
    }
}

#[test]
fn an_answer_that_is_none_is_refused() {
    for (status, body) in [
        ("200 OK", "nonsense".to_owned()),
        ("200 OK", "{}".to_owned()),
        ("200 OK", answer(&"a".repeat(300 << 10))),
        ("302 Found", answer(GOOD)),
        ("500 Internal Server Error", answer(GOOD)),
    ] {
        let (url, served) = endpoint(status, body);
        let refused = draft(Some(&url), "read calendars");
        served.join().unwrap();
        assert_eq!((refused.code, refused.stdout.as_str()), (1, ""), "{status}: {refused:?}");
    }
}

#[test]
fn without_an_endpoint_the_nearest_template_is_shown() {
    let shown = draft(None, "only read calendar events").ok();
    assert!(shown.starts_with("calendar-assistant"), "{shown}");
    assert!(shown.contains("writ policy template use calendar-assistant"), "{shown}");
    assert!(draft(None, "xyzzy").refused(1).contains("WRIT_DRAFT_URL"));
}
