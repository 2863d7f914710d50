//! `writ init` and `writ migrate`: a new installation, and its schema.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::authority::Authority;
use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::files::write_private;
use crate::cli::operate::vault::write_kek;
use crate::cli::output::{good, strong, term};
use crate::cli::remote::SECRET_FILE;
use crate::cli::serve::{keyring, store_url};
use crate::clock::SystemClock;
use crate::config::authority::{AuthorityConfig, Issuer};
use crate::id::OperatorName;
use crate::secret::Secret;
use crate::store::{self, StoreUrl};

const CONFIG_FILE: &str = "writ.toml";
const KEK_FILE: &str = "kek";

/// `writ init`
#[derive(Debug, clap::Args)]
pub(crate) struct InitArgs {
    /// The folder for `writ.toml`, the key-encryption key and, by default, the database. Made if it is missing.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The address to listen on.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8700")]
    listen: SocketAddr,
    /// The URL at which agents and edges will reach the authority; it stands in every writ and never changes. Without
    /// it, `http://` and the address.
    #[arg(long, value_name = "URL")]
    issuer: Option<Issuer>,
    /// Where the state is: `sqlite:<path>`, or `postgres://…` in the file that `--store-file` names.
    #[arg(long, value_name = "URL", default_value = "sqlite:writ.db", value_parser = parse_store)]
    store: String,
    /// A file with the store's URL, for one that holds a password.
    #[arg(long, value_name = "FILE", conflicts_with = "store")]
    store_file: Option<PathBuf>,
    /// The first operator's name.
    #[arg(long, value_name = "NAME", default_value = "admin")]
    operator: OperatorName,
    /// Write the operator secret to `operator-secret` (mode 0600) in the folder instead of showing it.
    #[arg(long)]
    save_secret: bool,
}

fn parse_store(text: &str) -> Result<String, String> {
    if !text.starts_with("sqlite:") {
        return Err("on the command line only `sqlite:<path>`: a URL that may hold a password goes into a file, \
                    named by `--store-file`"
            .to_owned());
    }
    Ok(text.to_owned())
}

impl InitArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), Failure> {
        std::fs::create_dir_all(&self.dir)
            .map_err(|error| Failure::from(error).during(format!("cannot make {}", self.dir.display())))?;
        let mut files = NewFiles::default();
        let config_file = self.dir.join(CONFIG_FILE);
        let kek_file = self.dir.join(KEK_FILE);
        files.make(&config_file, |path| write_private(path, self.config()?.as_bytes()))?;
        files.make(&kek_file, write_kek)?;
        let secret = self.install(&config_file).await?;
        let secret_file = self.dir.join(SECRET_FILE);
        if self.save_secret {
            write_private(&secret_file, format!("{}\n", secret.expose()).as_bytes())?;
        }
        files.keep();
        self.told(context, &config_file, &kek_file, &secret)
    }

    async fn install(&self, config_file: &Path) -> Result<Secret<String>, Failure> {
        let config = AuthorityConfig::read(config_file)?;
        let store = store::open(&store_url(&config)?).await?;
        let keyring = keyring(&config.keks)?;
        Ok(Authority::init(&*store, &keyring, &SystemClock, &config.issuer, self.operator.clone()).await?)
    }

    fn config(&self) -> Result<String, Failure> {
        let issuer = match &self.issuer {
            Some(issuer) => issuer.to_string(),
            None if self.listen.ip().is_loopback() => format!("http://{}", self.listen),
            None => return Err(Failure::usage("beyond this machine, say at which `https://` URL: `--issuer`")),
        };
        let store = match &self.store_file {
            Some(path) => crate::cli::files::read_text(path)?.trim().to_owned(),
            None => self.store.clone(),
        };
        // Refused here, before anything is written.
        store.parse::<StoreUrl>()?;
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        Ok(format!(
            "# A writ authority. Relative paths count from this file's folder; `samples/authority.toml` has every setting.\n\
             \n[authority]\nlisten = {}\n# Stands in every writ; never change it.\nissuer = {}\n\
             \n[store]\nurl = {}\n\
             \n[vault]\n# The first key seals, all of them open.\nkek_files = [{}]\n",
            quoted(&self.listen.to_string()),
            quoted(&issuer),
            quoted(&store),
            quoted(KEK_FILE),
        ))
    }

    fn told(&self, context: Context, config: &Path, kek: &Path, secret: &Secret<String>) -> Result<(), Failure> {
        let secret_file = self.dir.join(SECRET_FILE);
        let mut value = json!({ "config": config, "kek": kek, "operator": self.operator });
        if self.save_secret {
            value["operator_secret_file"] = json!(secret_file);
        } else {
            value["operator_secret"] = json!(secret.expose());
        }
        context.out.result(&value, || {
            let shown = if self.save_secret {
                format!("The operator secret of {} is in {}.", strong(&self.operator), term(secret_file.display()))
            } else {
                format!(
                    "The operator secret of {}, shown this once:\n\n    {}\n",
                    strong(&self.operator),
                    secret.expose()
                )
            };
            format!(
                "{} an installation in {}\n{shown}\nKeep a copy of {} apart from the database: without it no secret opens again.\n\
                 Next: {}",
                good("made"),
                term(self.dir.display()),
                term(kek.display()),
                term(format!("writ serve --config {}", config.display()))
            )
        })
    }
}

/// Files that go again unless everything succeeds: an installation by half helps nobody.
#[derive(Default)]
struct NewFiles(Vec<PathBuf>);

impl NewFiles {
    fn make(&mut self, path: &Path, write: impl FnOnce(&Path) -> Result<(), Failure>) -> Result<(), Failure> {
        write(path)?;
        self.0.push(path.to_owned());
        Ok(())
    }

    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for NewFiles {
    fn drop(&mut self) {
        for path in &self.0 {
            // It was made a moment ago; if it can't be removed, the error that led here says more.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// `writ migrate`
#[derive(Debug, clap::Args)]
pub(crate) struct MigrateArgs {
    /// The settings file.
    #[arg(long, value_name = "FILE", default_value = "writ.toml")]
    config: PathBuf,
    /// A file with the store's URL as the role that owns the schema, where the authority's own role may not change it.
    #[arg(long, value_name = "FILE")]
    store_file: Option<PathBuf>,
}

impl MigrateArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), Failure> {
        let url = match &self.store_file {
            Some(path) => crate::cli::files::read_text(path)?.trim().parse()?,
            None => store_url(&AuthorityConfig::read(&self.config)?)?,
        };
        store::migrate(&url).await?;
        context.out.result(&json!({ "migrated": true }), || "The schema is up to date.".to_owned())
    }
}
