//! `writ policy draft`: a language model's proposal, checked and printed. Nothing here loads a policy.

use std::path::{Path, PathBuf};

use http::HeaderValue;

use super::source::Source;
use super::{Known, parsed, template};
use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::files::read_text;
use crate::cli::output::{doubtful, plain_line, term};
use crate::cli::remote::{client_config, variable};
use crate::config::client::DraftConfig;
use crate::dial::TrustedRoots;
use crate::identity::fetch::Fetcher;
use crate::policy::rules::Severity;
use crate::policy::rules::draft::{WANTED_BYTES_MAX, answered, asked};
use crate::policy::rules::template::Template;

const MODEL: &str = "gpt-4.1-mini";
/// The variable that holds the endpoint's key.
const KEY_VARIABLE: &str = "WRIT_DRAFT_KEY";

/// `writ policy draft`
#[derive(Debug, clap::Args)]
pub(crate) struct DraftArgs {
    /// What agents shall be allowed, in your own words: `"only read calendar events"`.
    #[arg(value_name = "TEXT")]
    wanted: String,
    /// An OpenAI-compatible API, as `https://api.openai.com/v1/chat/completions`. Without one, here or in the `[draft]` table of
    /// `client.toml`, the nearest template is shown.
    #[arg(long, value_name = "URL", env = "WRIT_DRAFT_URL")]
    endpoint: Option<String>,
    /// The model to ask; `gpt-4.1-mini` where nothing says otherwise.
    #[arg(long, value_name = "NAME", env = "WRIT_DRAFT_MODEL")]
    model: Option<String>,
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
        // Who names another endpoint does not send it the key of the one in the settings.
        let settings = if self.endpoint.is_some() { DraftConfig::default() } else { client_config()?.draft };
        let Some(endpoint) = self.endpoint.as_ref().or(settings.endpoint.as_ref()) else {
            return self.nearest(context);
        };
        let model = self.model.as_ref().or(settings.model.as_ref()).map_or(MODEL, String::as_str);
        let schema = self.known.schema(None).await?;
        let fetcher = Fetcher::new(&TrustedRoots::web(), true);
        let request = asked(model, &self.wanted, &schema).to_string();
        let answer =
            fetcher.endpoint(endpoint)?.poll(self.authorization(settings.key_file.as_deref())?, request).await?;
        let draft = answered(&answer)?;
        let source = Source::of_text(&draft);
        let findings = parsed(&source).map(|set| schema.findings(&set));
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

    fn authorization(&self, settings: Option<&Path>) -> Result<HeaderValue, Failure> {
        let key = match (&self.key_file, variable(KEY_VARIABLE), settings) {
            (Some(path), _, _) => read_text(path)?,
            (None, Some(key), _) => key,
            (None, None, Some(path)) => read_text(path)?,
            (None, None, None) => {
                return Err(Failure::usage(format!(
                    "set {KEY_VARIABLE} or give `--key-file`: an endpoint that asks for no key takes any"
                )));
            }
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
