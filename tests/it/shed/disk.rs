//! The journal's disk is full: a real file system, made small.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use writ::audit::{Decision, Event};

use super::{nothing_is_lost, others_are_served, refused};
use crate::edge::{World, eventually};

/// A file system of its own with 1 MiB; unmounted at the end.
struct Small(PathBuf);

impl Small {
    /// `None` where this process may not mount.
    fn mount() -> Option<Self> {
        let dir = tempfile::TempDir::new().unwrap().keep();
        let arguments = ["-t", "tmpfs", "-o", "size=1m,mode=700", "writ-test"];
        let mounted = Command::new("mount").args(arguments).arg(&dir).output();
        let small = Self(dir);
        mounted.is_ok_and(|output| output.status.success()).then_some(small)
    }

    /// Takes what is left of it.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("ballast");
        let mut file = fs::File::create(&path).unwrap();
        while file.write_all(&[0; 512]).is_ok() {}
        path
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        let _ = fs::remove_dir(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_nothing_passes_and_once_there_is_room_everything_does() {
    let Some(small) = Small::mount() else {
        println!("skipped: this process may not mount a file system");
        return;
    };
    let state = small.0.clone();
    let world = World::start_with(|config| config.state = state).await;
    let writ = world.writ();
    others_are_served(&world, &writ).await;
    let served = world.upstream.seen().len();

    let ballast = small.fill();
    // What stands in pages that are the journal's already may still be written: a few more fit, and then none.
    let full = async {
        let mut fitted = 0;
        loop {
            let answer = world.read(&writ).await;
            if answer.status != 200 {
                return (fitted, answer);
            }
            fitted += 1;
            assert!(fitted < 1000, "the disk has no end");
        }
    };
    let (fitted, answer) = full.await;
    refused(&answer, 503, "journal");
    assert_eq!(world.upstream.seen().len(), served + fitted, "what was refused did not reach the service");
    for _ in 0..10 {
        refused(&world.read(&writ).await, 503, "journal");
    }
    assert_eq!(world.upstream.seen().len(), served + fitted);
    assert_eq!(world.send("GET /.writ/healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.status, 200);

    fs::remove_file(ballast).unwrap();
    others_are_served(&world, &writ).await;
    every_call_is_recorded(&world).await;
    // An outcome that did not fit is written as unknown by the next start.
    let world = world.restarted().await;
    others_are_served(&world, &writ).await;
    nothing_is_lost(&world).await;
}

/// The authority checks the chain of what is shipped; every call that reached the service is in it.
async fn every_call_is_recorded(world: &World) {
    let allowed = || {
        let decisions = world.authority.events().into_iter().filter_map(|event| match event {
            Event::Decision(decision) => Some(*decision),
            _ => None,
        });
        decisions.filter(|decision: &Decision| &*decision.reason == "allowed").count()
    };
    eventually("every call is in the records", || allowed() == world.upstream.seen().len()).await;
}
