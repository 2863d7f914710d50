//! `writ policy test`: the cases beside policies.

use std::path::PathBuf;

use super::source::Source;
use super::{Known, explain, rules};
use crate::cli::Context;
use crate::cli::failure::{Failure, REFUSED};
use crate::cli::files::read_text;
use crate::cli::output::{bad, good, plain_line, strong};
use crate::policy::rules::cases::{Tried, cases};

/// `writ policy test`
#[derive(Debug, clap::Args)]
pub(crate) struct TestArgs {
    /// Documents in TOML, Cedar files, or folders of them. The cases of `mail.cedar` are in `mail.test.toml`, those of a
    /// folder in its `*.test.toml`.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Cases in another file; may be repeated.
    #[arg(long, value_name = "FILE")]
    cases: Vec<PathBuf>,
    #[command(flatten)]
    known: Known,
}

impl TestArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let source = Source::read(&self.files)?;
        let schema = self.known.schema(Some(&source)).await?;
        let rules = rules(&source, &schema)?;
        let files = if self.cases.is_empty() { Source::cases_of(&self.files) } else { self.cases };
        if files.is_empty() {
            return Err(Failure::new(format!(
                "no cases stand beside {}: write `[[case]]` tables into {}",
                self.files[0].display(),
                self.files[0].with_extension("test.toml").display()
            )));
        }
        let mut tried: Vec<Tried> = Vec::new();
        for file in &files {
            let told = |error| Failure::from(error).during(file.display());
            let cases = cases(&read_text(file)?).map_err(told)?;
            tried.extend(cases.iter().map(|case| case.try_with(&rules, &schema, context.now())));
        }
        let failed = tried.iter().filter(|tried| !tried.passed).count();
        context.out.result(&tried, || told(&tried, failed))?;
        if failed == 0 { Ok(()) } else { Err(Failure::silent(REFUSED)) }
    }
}

fn told(tried: &[Tried], failed: usize) -> String {
    let mut lines = Vec::new();
    for case in tried {
        let verdict = if case.passed { good("ok  ") } else { bad("FAIL") };
        let problem = case.problem.as_deref().map(|problem| format!(": {}", plain_line(problem))).unwrap_or_default();
        lines.push(format!("{verdict} {}{problem}", strong(plain_line(&case.name))));
        if let (false, Some(explanation)) = (case.passed, &case.explanation) {
            lines.push(explain::told(explanation));
        }
    }
    lines.push(format!("{} of {} cases as expected", tried.len() - failed, tried.len()));
    lines.join("\n")
}
