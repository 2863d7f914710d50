//! `writ`: parses the arguments, calls [`writ::cli`], turns what comes back into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    writ::cli::main()
}
