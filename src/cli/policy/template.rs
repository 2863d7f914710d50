//! `writ policy template`: policies with parameters, ready to use.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

use serde_json::json;

use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::output::{good, strong, table, term};
use crate::policy::rules::template::Template;

/// `writ policy template …`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum TemplateCommand {
    /// List them.
    List,
    /// Show one with its parameters.
    Show {
        /// Its name.
        name: String,
    },
    /// Fill one in, and print the policies.
    Use {
        /// Its name.
        name: String,
        /// A parameter's value.
        #[arg(long = "param", value_name = "NAME=VALUE")]
        parameters: Vec<String>,
        /// Write the policies here instead, and nothing if the file exists.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

impl TemplateCommand {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::List => {
                let all = Template::all();
                let rows: Vec<Vec<String>> =
                    all.iter().map(|template| vec![template.name.to_string(), template.about.to_string()]).collect();
                let json: Vec<_> =
                    all.iter().map(|template| json!({ "name": template.name, "about": template.about })).collect();
                context.out.result(&json, || table(&["name", "what it allows"], &rows))
            }
            Self::Show { name } => {
                let template = named(&name)?;
                let parameters: Vec<_> = template
                    .parameters
                    .iter()
                    .map(|parameter| json!({ "name": parameter.name, "about": parameter.about, "example": parameter.example }))
                    .collect();
                let json = json!({
                    "name": template.name, "about": template.about, "services": template.services,
                    "parameters": parameters, "policy": template.policy,
                });
                context.out.result(&json, || told(&template))
            }
            Self::Use { name, parameters, out } => {
                let text = named(&name)?.fill(&values(&parameters)?)?;
                let Some(path) = out else { return context.out.raw(text.trim_end()) };
                let told =
                    |error: std::io::Error| Failure::from(error).during(format!("cannot write {}", path.display()));
                let mut file = std::fs::File::create_new(&path).map_err(told)?;
                file.write_all(text.as_bytes()).map_err(told)?;
                let next = term(format!("writ policy check {}", path.display()));
                context.out.raw(&format!("{} {}; next: {next}", good("wrote"), strong(path.display())))
            }
        }
    }
}

fn named(name: &str) -> Result<Template, Failure> {
    Template::named(name)
        .ok_or_else(|| Failure::usage(format!("there is no template `{name}`: `writ policy template list` shows them")))
}

fn values(given: &[String]) -> Result<BTreeMap<Box<str>, Vec<Box<str>>>, Failure> {
    let mut values: BTreeMap<Box<str>, Vec<Box<str>>> = BTreeMap::new();
    for text in given {
        let (name, value) =
            text.split_once('=').ok_or_else(|| Failure::usage("write a parameter as `--param name=value`"))?;
        values.entry(name.into()).or_default().push(value.into());
    }
    Ok(values)
}

/// A template for a person, with a command that uses it.
pub(super) fn told(template: &Template) -> String {
    let mut lines = vec![format!("{}  {}", strong(&template.name), template.about), String::new()];
    let mut command = format!("writ policy template use {}", template.name);
    for parameter in &template.parameters {
        let example = parameter.example.first().map(|example| &**example).unwrap_or_default();
        lines.push(format!("  {}  {}", term(&parameter.name), parameter.about));
        command.push_str(&format!(" --param {}={example}", parameter.name));
    }
    lines.push(String::new());
    lines.push(template.policy.trim_end().to_owned());
    lines.push(String::new());
    lines.push(term(command));
    lines.join("\n")
}
