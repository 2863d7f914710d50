//! `writ service import`: a service's file from another's description of an API. Calls nobody.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::catalog::Service;
use crate::catalog::import::{Change, DOCUMENT_BYTES_MAX, Imported, Note, Wanted, changes, import};
use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::files::{read_bytes, read_text};
use crate::cli::output::{doubtful, good, strong, term};
use crate::id::{CredentialName, ServiceName};

/// The arguments of `writ service import`.
#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// An OpenAPI 3, Swagger 2 or Google discovery document, in JSON; `-` for standard input.
    file: PathBuf,
    /// What to call the service.
    #[arg(long)]
    name: ServiceName,
    /// Where the service is, instead of where the document says.
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// The vaulted credential to inject.
    #[arg(long, value_name = "NAME")]
    credential: Option<CredentialName>,
    /// Import only what is at or below this path. May be given more than once.
    #[arg(long, value_name = "PATH")]
    only: Vec<String>,
    /// Write the service's file here instead of to standard output. An existing file is not replaced.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Say what is different from this file of the service.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
}

impl ImportArgs {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        let document = read_bytes(&self.file, DOCUMENT_BYTES_MAX)?;
        let old = self.against.as_deref().map(service).transpose()?;
        let wanted = Wanted { name: self.name, upstream: self.upstream, credential: self.credential, only: self.only };
        let imported = import(&document, &wanted).map_err(|error| Failure::from(error).during(self.file.display()))?;
        let differences = old.map(|old| changes(&old, &imported.service));
        let toml = imported.service.to_toml();
        if let Some(path) = &self.out {
            write_new(path, &toml)?;
        }
        if context.out.is_json() {
            return context.out.result(&as_json(&imported, differences.as_deref()), String::new);
        }
        context.out.remark(&told(&imported, differences.as_deref()));
        match &self.out {
            Some(path) => {
                let next = term(format!("writ service add {}", path.display()));
                context.out.raw(&format!("{} {}; read it, then {next}", good("wrote"), strong(path.display())))
            }
            None => context.out.raw(toml.trim_end()),
        }
    }
}

fn service(path: &Path) -> Result<Service, Failure> {
    Service::from_toml(&read_text(path)?).map_err(|error| Failure::from(error).during(path.display()))
}

fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let told = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Failure::new(format!(
            "{} exists already: choose another name, and see the difference with `--against {0}`",
            path.display()
        )),
        _ => Failure::from(error).during(format!("cannot write {}", path.display())),
    };
    let mut file = std::fs::File::create_new(path).map_err(told)?;
    file.write_all(text.as_bytes()).map_err(told)
}

fn as_json(imported: &Imported, differences: Option<&[Change]>) -> serde_json::Value {
    let note = |note: &Note| json!({"doubt": note.doubt, "at": note.at, "about": note.about});
    json!({
        "service": imported.service,
        "operations": imported.operations,
        "notes": imported.notes.iter().map(note).collect::<Vec<_>>(),
        "changes": differences,
    })
}

/// Counts, what was not clear, and the difference: all that a person must read before the file is used.
fn told(imported: &Imported, differences: Option<&[Change]>) -> String {
    let mut text = String::new();
    for group in imported.notes.chunk_by(|a, b| a.doubt == b.doubt) {
        // Expect safety: a chunk is never empty; writing to a string does not fail.
        let _ = writeln!(text, "{} {}:", strong(group.len()), doubtful(group[0].doubt.heading()));
        for note in group {
            let _ = writeln!(text, "  {note}");
        }
    }
    if let Some(differences) = differences {
        let _ = writeln!(text, "{} requests are understood differently:", strong(differences.len()));
        for change in differences {
            let _ = writeln!(text, "  {change}");
        }
    }
    let routes = imported.service.routes().len();
    let unclear = imported.notes.len();
    let _ = write!(text, "{} operations in {routes} routes, at {}; ", imported.operations, imported.service.upstream());
    text + &format!("{unclear} cases to look at")
}
