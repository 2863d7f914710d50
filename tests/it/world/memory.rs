//! What stands in memory stays there when a process dies.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus};

use super::{Kept, World};
use crate::cli::finished;
use crate::identity::real::{SCOPE, SECRET, notes, service};

/// Ends it as a fault would, where it may write a core file of any size.
fn crashed(child: &mut Child) -> ExitStatus {
    let id = child.id().to_string();
    finished(Command::new("prlimit").args(["--pid", &id, "--core=unlimited"]).output().unwrap()).ok();
    finished(Command::new("kill").args(["-ABRT", &id]).output().unwrap()).ok();
    child.wait().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_held_a_secret_leaves_no_core_file() {
    let upstream = notes().await;
    let mut world = World::raise(Kept::InSqlite).await;
    world.offer(&service(upstream), &["notes-key", "--header", "x-api-key"], SECRET, "planner", &[SCOPE]);
    let writ = world.request("planner", SCOPE);
    let url = format!("http://{upstream}/notes/team");
    assert_eq!(world.run("planner.pem", &writ, &["curl", "-s", &url]).ok(), "notes of the team");

    // On this machine others do.
    let elsewhere = tempfile::tempdir().unwrap();
    let mut other = Command::new("sleep").arg("60").current_dir(elsewhere.path()).spawn().unwrap();
    assert!(crashed(&mut other).core_dumped(), "this machine writes core files");
    for process in [&mut world.edge_process, &mut world.authority_process] {
        let ended = crashed(&mut process.child);
        assert_eq!((ended.signal(), ended.core_dumped()), (Some(6), false));
    }
    world.holds_nowhere(SECRET);
}
