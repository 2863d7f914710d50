//! The journal's disk is full: a real file system, made small. Or it hangs, without an error.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tokio::time::Instant;
use writ::audit::{Decision, Event};

use super::{nothing_is_lost, others_are_served, refused};
use crate::edge::{PATIENCE, World, eventually};

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

#[tokio::test(flavor = "multi_thread")]
async fn on_a_disk_that_hangs_calls_are_refused_in_time_and_nothing_passes() {
    let second = Duration::from_secs(1);
    let configure = |config: &mut writ::config::edge::EdgeConfig| {
        config.journal.segment_bytes = 1 << 16;
        config.journal.write_timeout = second;
    };
    let world = World::start_with(configure).await;
    let writ = world.writ();
    others_are_served(&world, &writ).await;
    // In place of every segment that may come next stands what hangs when it is opened: a pipe that nobody reads.
    let journal = world.state().join("journal");
    let pipes: Vec<PathBuf> = (2..1000).map(|first| journal.join(format!("journal-{first:020}.jsonl"))).collect();
    for pipe in &pipes {
        mknodat(CWD, pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    }
    let mut served = world.upstream.seen().len();
    let (answer, took) = loop {
        let began = Instant::now();
        let answer = world.read(&writ).await;
        if answer.status != 200 {
            break (answer, began.elapsed());
        }
        served += 1;
        assert!(served < 1000, "a segment has no end");
    };
    refused(&answer, 503, "journal");
    assert!(took >= second && took < PATIENCE, "{took:?}");
    let together = futures_util::future::join_all((0..20).map(|_| world.read(&writ))).await;
    for answer in together {
        refused(&answer, 503, "journal");
    }
    assert_eq!(world.upstream.seen().len(), served, "what was refused did not reach the service");
    assert_eq!(world.send("GET /.writ/healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.status, 200);
    assert!(world.edge.knowledge().lease_holds(), "revocations are followed all the same");
    // Whoever opened one of them goes on, and the edge can end.
    for pipe in &pipes {
        fs::OpenOptions::new().read(true).write(true).open(pipe).unwrap();
        fs::remove_file(pipe).unwrap();
    }
}
