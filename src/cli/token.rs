//! How a writ is given to a command: a file, `-` for standard input, or the text itself.

use std::path::{Path, PathBuf};

use crate::cli::failure::Failure;
use crate::cli::files::read_text;
use crate::token::{Limits, RawToken};

/// Shorter than every writ: the signatures alone take more.
const TEXT_BYTES_MIN: usize = 200;

/// A writ on the command line.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TokenArg {
    /// The writ: a file, `-` for standard input, or its text.
    #[arg(value_name = "TOKEN")]
    token: String,
}

impl TokenArg {
    /// Reads the writ.
    pub(crate) fn read(&self) -> Result<RawToken, Failure> {
        read_token(&self.token)
    }
}

/// Reads a writ from a file, from standard input (`-`), or takes the text itself.
pub(crate) fn read_token(given: &str) -> Result<RawToken, Failure> {
    let limits = Limits::default();
    if given == "-" {
        return parse(&read_text(Path::new("-"))?).map_err(|failure| failure.during("standard input"));
    }
    let path = PathBuf::from(given);
    if path.is_file() {
        return parse(&read_text(&path)?).map_err(|failure| failure.during(path.display()));
    }
    // What is this short was meant as the name of a file.
    if given.len() < TEXT_BYTES_MIN {
        return Err(Failure::new(format!("`{given}` is neither a file nor a writ: check the path")));
    }
    RawToken::parse(given, &limits).map_err(|error| {
        let shown: String = given.chars().take(24).collect();
        Failure::from(error).during(format!("`{shown}…` is neither a file nor a writ"))
    })
}

fn parse(text: &str) -> Result<RawToken, Failure> {
    let text = text.trim();
    if text.len() < TEXT_BYTES_MIN {
        return Err(Failure::new("there is no writ in it"));
    }
    Ok(RawToken::parse(text, &Limits::default())?)
}
