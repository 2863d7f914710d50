//! `writ policy`, from outside: policies in files, services in files, the real binary, Cedar's own evaluation.

mod draft;
mod edge;
mod examples;
mod remote;
mod replay;

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::cli::{Finished, writ};

/// Services of which the catalog has none: a mail API that takes recipients as JSON, a help desk, payments.
const SERVICES: &str = include_str!("services.toml");

/// A folder with the services' files, one for each, and whatever else is given.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (number, service) in SERVICES.split("# ---\n").enumerate() {
        fs::write(dir.path().join(format!("service{number}.toml")), service).unwrap();
    }
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

/// `writ policy …` with those services and some of the built-in ones.
fn policy(dir: &Path, args: &[&str]) -> Finished {
    let mut all = vec!["policy"];
    all.extend(args);
    for service in ["service0.toml", "service1.toml", "service2.toml"] {
        all.extend(["--service", service]);
    }
    for service in ["github", "google-calendar", "salesforce"] {
        all.extend(["--builtin", service]);
    }
    writ(dir, &all)
}
