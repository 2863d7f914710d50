//! The README's tour, run as it stands: its commands in one shell, and what each part says.

use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

const README: &str = include_str!("../../README.md");

/// The tour's commands, and what they are said to say.
fn tour() -> (String, Vec<&'static str>) {
    let mut script = String::new();
    for part in README.split("<!-- tour -->\n```sh\n").skip(1) {
        script.push_str(part.split("```").next().unwrap());
    }
    let says = README.split("<!-- says: ").skip(1).map(|part| part.split(" -->").next().unwrap()).collect();
    (script, says)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn the_tour_of_the_readme_works_as_it_stands() {
    let (mut script, says) = tour();
    assert!(script.lines().count() > 40 && says.len() >= 10, "the README has its tour");
    // Its ports may be taken here.
    for port in ["9900", "8700", "8800"] {
        assert!(script.contains(port));
        script = script.replace(port, &free_port().to_string());
    }
    let dir = crate::canaries::folder();
    let binaries = Path::new(env!("CARGO_BIN_EXE_writ")).parent().unwrap().display();
    // By PATH and not by a function: a job must be the process itself, so that the end of the tour ends it.
    let script = format!("export PATH='{binaries}':\"$PATH\"\ntrap 'kill $(jobs -p)' EXIT\n{script}");
    // The servers in the background hold their output open: a file, unlike a pipe, does not wait for them.
    let said = File::create(dir.path().join("said")).unwrap();
    std::fs::create_dir(dir.path().join("tour")).unwrap();
    let ended = Command::new("bash")
        .args(["-c", &script])
        .current_dir(dir.path().join("tour"))
        .stdin(Stdio::null())
        .stdout(said.try_clone().unwrap())
        .stderr(said)
        .env("NO_COLOR", "1")
        .env_remove("WRIT_URL")
        .status()
        .unwrap();
    let text = std::fs::read_to_string(dir.path().join("said")).unwrap();
    assert!(ended.code().is_some(), "{text}");
    let mut rest = &*text;
    for part in says {
        let at = rest.find(part).unwrap_or_else(|| panic!("`{part}` is not said, or not there:\n{text}"));
        rest = &rest[at + part.len()..];
    }
    let canary = "s3cret-of-the-service";
    crate::canaries::canary(canary);
    assert!(!text.contains(canary), "the secret is shown:\n{text}");
}
