//! What a running process says about itself. Logs go to standard error, so that output stays output; metrics are asked for.

pub mod metrics;

use std::panic::PanicHookInfo;
use std::sync::LazyLock;

use prometheus_client::metrics::counter::Counter;
use tracing_subscriber::EnvFilter;

/// Panics of this process since [`watch_panics`]. Each is a bug in writ.
static PANICS: LazyLock<Counter> = LazyLock::new(Counter::default);

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogForm {
    /// For a person.
    Text,
    /// One JSON object per line.
    Json,
}

/// A log filter that does not parse.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a log filter: use a level such as `info`, or `writ::edge=debug,info`")]
pub struct InvalidFilter(String);

/// Starts logging to standard error, once per process; a second call changes nothing.
pub fn start(filter: &str, form: LogForm) -> Result<(), InvalidFilter> {
    let filter = EnvFilter::try_new(filter).map_err(|_| InvalidFilter(filter.to_owned()))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // An error only says that the process has a subscriber already.
    let _ = match form {
        LogForm::Text => builder.with_ansi(false).try_init(),
        LogForm::Json => builder.json().try_init(),
    };
    Ok(())
}

/// Counts every panic of this process in its metrics, and logs where it was. Not its message: nobody can say what stands in it.
pub fn watch_panics() {
    std::panic::set_hook(Box::new(|panic: &PanicHookInfo<'_>| {
        PANICS.inc();
        let at = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        tracing::error!(%at, "a panic, which is a bug in writ; what it was about has ended, and the process goes on");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_does_not_parse_is_refused_with_an_example() {
        let error = start("writ=loudly", LogForm::Text).unwrap_err();
        assert!(error.to_string().contains("`info`"));
    }
}
