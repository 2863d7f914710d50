//! `writ dev`: what a newcomer sees first has to be true.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::{command, writ};

#[test]
fn the_story_goes_as_told_and_shows_no_secret() {
    let dir = TempDir::new().unwrap();
    let told = writ(dir.path(), &["dev", "--check"]);
    assert_eq!(told.code, 0, "{}{}", told.stdout, told.stderr);
    for part in [
        "ready in",
        "401",
        "all hold",
        "╰─ ● summariser",
        "200",
        "403",
        "notes:write:team/standup",
        "revoked",
        "cut",
        "whole",
    ] {
        assert!(told.stdout.contains(part), "{part}: {}", told.stdout);
    }
    assert!(told.stdout.ends_with("all 7 steps went as told.\n"), "{}", told.stdout);
    for secret in ["notes-secret-", "calendar-secret-", "writ-operator-", "writ-join-"] {
        assert!(!told.stdout.contains(secret) && !told.stderr.contains(secret), "{secret}");
    }
    assert!(!told.stdout.contains('\u{1b}'), "no colour into a pipe");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left behind");
}

/// A `writ dev` that serves, and the commands it ended its story with.
struct Served {
    child: Child,
    commands: Vec<String>,
}

impl Served {
    fn start(dir: &Path) -> Self {
        let mut child = command(dir, &["dev"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut commands = Vec::new();
        let mut trying = false;
        for line in BufReader::new(child.stdout.as_mut().unwrap()).lines() {
            let line = line.unwrap();
            trying |= line.starts_with("Try it.");
            if trying && line.starts_with("    ") && !line.starts_with("     ") {
                commands.push(line.trim().to_owned());
            }
            if line.starts_with("Serving until") {
                return Self { child, commands };
            }
        }
        panic!("the story ended: {:?}", child.wait());
    }

    /// Runs one of the commands as a person would, in a shell that has the settings; answers exit code and output.
    fn tried(&self, command: &str) -> (i32, String) {
        let script = format!("{}\n{command}", self.commands[0]);
        let output = Command::new("bash").args(["-c", &script]).stdin(Stdio::null()).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(text).unwrap())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

#[test]
fn the_commands_at_the_end_of_the_story_work_as_they_stand() {
    let dir = TempDir::new().unwrap();
    let mut served = Served::start(dir.path());
    let commands = served.commands.clone();
    let [environment, inspect, explain, run, tail, revoke, verify] = commands.as_slice() else {
        panic!("{commands:?}");
    };
    let says = |command: &str, code: i32, part: &str| {
        let (ended, text) = served.tried(command);
        assert!(ended == code && text.contains(part), "{command}: {ended} {text}");
    };
    says(inspect, 0, "╰─ ● summariser");
    says(explain, 1, "denied by");
    says(run, 0, "the release is on Thursday");
    says(tail, 0, "planner › summariser");
    says(revoke, 0, "from now on no edge serves it");
    says(run, 1, "revoked");
    says(verify, 0, "whole");

    let folder = environment.strip_prefix(". ").unwrap().strip_suffix("/env").unwrap().to_owned();
    assert!(Path::new(&folder).is_dir());
    let id = served.child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    assert!(served.child.wait().unwrap().success());
    let mut rest = String::new();
    served.child.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
    assert!(!Path::new(&folder).exists(), "the stage is cleared");
}
