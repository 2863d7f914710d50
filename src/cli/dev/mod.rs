//! `writ dev`: everything in one process on real sockets, told as a story, with nothing to configure.

use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::output::{faint, good, strong};
use crate::cli::serve::told_to_stop;
use crate::clock::{Clock as _, SystemClock};

mod caller;
mod notes;
mod stage;
mod story;

/// `writ dev`
#[derive(Debug, clap::Args)]
pub(crate) struct DevArgs {
    /// Tell the story, check every step of it, and end: with 0 if all went as told, with 1 if not.
    #[arg(long)]
    check: bool,
}

impl DevArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), Failure> {
        let began = SystemClock.monotonic();
        let stage = stage::Stage::raise(context).await?;
        let ready = SystemClock.monotonic().since(began);
        let told = story::tell(context, &stage, ready).await;
        if self.check {
            let ended =
                told.and_then(|steps| context.out.raw(&format!("\n{} all {steps} steps went as told.", good("ok"))));
            stage.clear().await;
            return ended;
        }
        told?;
        story::prepare(context, &stage).await?;
        story::invite(context, &stage)?;
        told_to_stop().await?;
        context.out.remark(&format!("\n{}", faint("The stage is cleared: processes, sockets and files are gone.")));
        stage.clear().await;
        Ok(())
    }
}

/// A heading of the story.
fn heading(number: usize, text: &str) -> String {
    format!("\n{} {}\n", strong(format!("{number}.")), strong(text))
}
