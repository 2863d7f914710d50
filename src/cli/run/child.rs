//! The program: started with its environment, told what we are told, waited for.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::os::unix::process::ExitStatusExt as _;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::failure::Failure;
use crate::cli::run::environment::Environment;

/// What a shell answers for a program that it can't start.
const NOT_FOUND: u8 = 127;

/// Runs `command` to its end; answers its exit code, or 128 and the number of the signal that ended it.
pub(super) async fn run(command: &[OsString], environment: &Environment) -> Result<u8, Failure> {
    let mut program = Command::new(&command[0]);
    program.args(&command[1..]).envs(environment.set.iter().map(|(name, value)| (name, value))).kill_on_drop(true);
    for name in environment.remove {
        program.env_remove(name);
    }
    let mut child = program.spawn().map_err(|error| {
        Failure::from(error).during(format!("cannot start `{}`", command[0].to_string_lossy())).exiting(NOT_FOUND)
    })?;
    let status = relayed(&mut child).await?;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    Ok(u8::try_from(code).unwrap_or(1))
}

/// Waits, and hands on the signals that are meant for the program.
async fn relayed(child: &mut Child) -> Result<std::process::ExitStatus, Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut quit = signal(SignalKind::quit())?;
    // A terminal sends these two to the whole group: the program has them already.
    let from_terminal = std::io::stdin().is_terminal();
    loop {
        let received = tokio::select! {
            status = child.wait() => return Ok(status?),
            _ = terminate.recv() => Signal::TERM,
            _ = hang_up.recv() => Signal::HUP,
            _ = interrupt.recv() => Signal::INT,
            _ = quit.recv() => Signal::QUIT,
        };
        let has_it = from_terminal && matches!(received, Signal::INT | Signal::QUIT);
        if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())).filter(|_| !has_it) {
            // It may have ended by itself just now.
            let _ = kill_process(pid, received);
        }
    }
}
