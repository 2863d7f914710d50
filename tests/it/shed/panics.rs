//! A panic in a process of writ is counted, and told by its place alone.

use std::process::{Command, Output};

use writ::telemetry::metrics::{AuthorityMetrics, EdgeMetrics};
use writ::telemetry::{self, LogForm};

const ON: &str = "WRIT_TEST_PANIC";
const MESSAGE: &str = "a-secret-that-stood-in-a-message";

/// The process that panics, in a task and in a thread.
#[test]
#[ignore = "run by the test that looks at what it says"]
#[expect(clippy::disallowed_methods, reason = "how a test tells its own process what to do")]
fn panicking() {
    if std::env::var_os(ON).is_none() {
        return;
    }
    telemetry::start("info", LogForm::Text).unwrap();
    telemetry::watch_panics();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async { tokio::spawn(async { panic!("{MESSAGE}") }).await.unwrap_err() });
    std::thread::spawn(|| panic!("{MESSAGE}")).join().unwrap_err();
    println!("{}{}", EdgeMetrics::default().to_text(), AuthorityMetrics::default().to_text());
}

#[test]
fn a_panic_is_counted_and_its_message_is_not_told() {
    let Output { status, stdout, stderr } = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "shed::panics::panicking", "--ignored", "--nocapture"])
        .env(ON, "yes")
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{stdout}{stderr}");
    for counted in ["writ_edge_panics_total 2", "writ_panics_total 2"] {
        assert!(stdout.contains(counted), "{stdout}");
    }
    assert_eq!(stderr.matches("shed/panics.rs:").count(), 2, "it says where: {stderr}");
    assert!(!stdout.contains(MESSAGE) && !stderr.contains(MESSAGE), "{stdout}{stderr}");
}
