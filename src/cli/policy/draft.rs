//! `writ policy draft`: a language model's proposal, checked and printed. Nothing here loads a policy.

use std::path::PathBuf;

use http::HeaderValue;

use super::source::Source;
use super::{Known, parsed, template};
use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::files::read_text;
use crate::cli::output::{doubtful, plain_line, term};
use crate::cli::remote::variable;
use crate::dial::TrustedRoots;
use crate::identity::fetch::Fetcher;
use crate::policy::rules::Severity;
use crate::policy::rules::draft::{WANTED_BYTES_MAX, answered, asked};
use crate::policy::rules::template::Template;

/// The variable that holds the endpoint's key.
const KEY_VARIABLE: &str = "WRIT_DRAFT_KEY";

/// `writ policy draft`
#[derive(Debug, clap::Args)]
pub(crate) struct DraftArgs {
    /// What agents shall be allowed, in your own words: `"only read calendar events"`.
    #[arg(value_name = "TEXT")]
    wanted: String,
    /// An OpenAI-compatible API, as `https://api.openai.com/v1/chat/completions`. Without one, the nearest template is shown.
    #[arg(long, value_name = "URL", env = "WRIT_DRAFT_URL")]
    endpoint: Option<String>,
    /// The model to ask.
    #[arg(long, value_name = "NAME", env = "WRIT_DRAFT_MODEL", default_value = "gpt-4.1-mini")]
    model: String,
    /// A file with the endpoint's key. Without it: WRIT_DRAFT_KEY.
    #[arg(long, value_name = "FILE", env = "WRIT_DRAFT_KEY_FILE")]
    key_file: Option<PathBuf>,
    #[command(flatten)]
    known: Known,
}

impl DraftArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        if self.wanted.len() > WANTED_BYTES_MAX {
            return Err(Failure::usage(format!("say it in at most {WANTED_BYTES_MAX} bytes")));
        }
        let Some(endpoint) = &self.endpoint else { return self.nearest(context) };
        let schema = self.known.schema(None).await?;
        let fetcher = Fetcher::new(&TrustedRoots::web(), true);
        let request = asked(&self.model, &self.wanted, &schema).to_string();
        let answer = fetcher.endpoint(endpoint)?.poll(self.authorization()?, request).await?;
        let draft = answered(&answer)?;
        let source = Source::of_text(&draft);
        let findings = parsed(&source).map(|set| {
            let policies = set.policies().iter().map(|policy| (&policy.cedar, policy.line));
            schema.validate(policies)
        });
        let errors: Vec<String> = match findings {
            Err(error) => vec![error.message().to_owned()],
            Ok(findings) => {
                let (errors, warnings): (Vec<_>, Vec<_>) =
                    findings.iter().partition(|finding| finding.severity == Severity::Error);
                for warning in warnings {
                    context.out.remark(&format!("{} {}", doubtful("warning"), source.told(warning)));
                }
                errors.into_iter().map(|error| source.told(error)).collect()
            }
        };
        if !errors.is_empty() {
            // It is no result: a script that loads what is printed must not get it.
            context.out.remark(&format!(
                "{}\n{}",
                doubtful("this draft is no good:"),
                plain_line(&draft).replace("\\n", "\n")
            ));
            return Err(Failure::new(format!("the draft does not pass the check: {}", errors.join("; "))));
        }
        context.out.remark(&format!(
            "{} a model wrote this. Read every line, try it with {}, and load it yourself with {}.",
            doubtful("draft:"),
            term("writ policy test"),
            term("writ policy put")
        ));
        context.out.raw(draft.trim_end())
    }

    fn authorization(&self) -> Result<HeaderValue, Failure> {
        let key = match &self.key_file {
            Some(path) => read_text(path)?,
            None => variable(KEY_VARIABLE).ok_or_else(|| {
                Failure::usage(format!(
                    "set {KEY_VARIABLE} or give `--key-file`: an endpoint that asks for no key takes any"
                ))
            })?,
        };
        let mut value = HeaderValue::from_str(&format!("Bearer {}", key.trim()))
            .map_err(|_| Failure::usage("the endpoint's key holds characters that no header has"))?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn nearest(&self, context: &Context) -> Result<(), Failure> {
        let Some(found) = Template::nearest(&self.wanted) else {
            return Err(Failure::new(
                "no endpoint is set (WRIT_DRAFT_URL), and no template is like that: `writ policy template list` shows them",
            ));
        };
        context.out.remark("No endpoint is set (WRIT_DRAFT_URL): this template is the nearest.");
        context.out.raw(&template::told(&found))
    }
}
