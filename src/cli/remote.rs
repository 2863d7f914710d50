//! Calls to an authority on behalf of the person at the terminal: where it is, who they are, and what it said.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cli::failure::Failure;
use crate::cli::files::{random, read_text};
use crate::clock::Timestamp;
use crate::config::client::ClientConfig;
use crate::dial::{Answer, AuthorityClient, AuthorityUrl, TrustedRoots};
use crate::id::TenantName;
use crate::key::{KeyPair, sha256};
use crate::secret::Secret;
use crate::token::chain::ProofCovers;
use crate::token::proof::{ProvenRequest, make};

/// The file that `writ init --save-secret` writes beside `writ.toml`.
pub(crate) const SECRET_FILE: &str = "operator-secret";
/// The variable that holds the operator secret itself.
pub(crate) const SECRET_VARIABLE: &str = "WRIT_OPERATOR_SECRET";
/// The variable that names the file which holds it.
pub(crate) const SECRET_FILE_VARIABLE: &str = "WRIT_OPERATOR_SECRET_FILE";
/// Where `writ init` lets an authority listen.
pub(crate) const DEFAULT_URL: &str = "http://127.0.0.1:8700";

const TIMEOUT: Duration = Duration::from_secs(15);

/// Which authority, and for whom.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Authority")]
pub(crate) struct RemoteArgs {
    /// The authority's URL.
    #[arg(long, value_name = "URL", env = "WRIT_URL", default_value = DEFAULT_URL)]
    url: AuthorityUrl,
    /// The tenant.
    #[arg(long, value_name = "NAME", env = "WRIT_TENANT", default_value = TenantName::DEFAULT)]
    tenant: TenantName,
    /// A PEM file with the certificate authority of the authority's own certificate, where the web's do not know it.
    #[arg(long, value_name = "FILE", env = "WRIT_CA")]
    ca: Option<PathBuf>,
}

/// The same, for what only an operator may do.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct OperatorArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    /// The file that holds the operator secret. Without it: WRIT_OPERATOR_SECRET, the session of `writ login`, or
    /// `operator-secret` in this folder.
    #[arg(long, value_name = "FILE", env = SECRET_FILE_VARIABLE, help_heading = "Authority")]
    operator_secret_file: Option<PathBuf>,
}

/// An authority that can be called.
#[derive(Debug)]
pub(crate) struct Remote {
    client: AuthorityClient,
    tenant: TenantName,
    secret: Option<Secret<String>>,
}

/// What a refusal looks like, in either of the authority's forms.
#[derive(serde::Deserialize)]
struct Problem {
    #[serde(default)]
    detail: Option<String>,
    #[serde(default)]
    title: Option<String>,
}

impl RemoteArgs {
    /// An authority for calls that need no operator.
    pub(crate) fn open(&self) -> Result<Remote, Failure> {
        Ok(Remote {
            client: AuthorityClient::new(self.url.clone(), &self.roots()?),
            tenant: self.tenant.clone(),
            secret: None,
        })
    }

    /// The extra certificate authority.
    pub(crate) fn ca(&self) -> Option<&Path> {
        self.ca.as_deref()
    }

    fn roots(&self) -> Result<TrustedRoots, Failure> {
        trusted_roots(self.ca.as_deref())
    }
}

/// The web's certificate authorities, and those of `ca`.
pub(crate) fn trusted_roots(ca: Option<&Path>) -> Result<TrustedRoots, Failure> {
    let web = TrustedRoots::web();
    match ca {
        None => Ok(web),
        Some(path) => {
            web.with_pem(read_text(path)?.as_bytes()).map_err(|error| Failure::from(error).during(path.display()))
        }
    }
}

impl OperatorArgs {
    /// The same authority, for calls that need no operator.
    pub(crate) const fn remote(&self) -> &RemoteArgs {
        &self.remote
    }

    /// An authority for an operator's calls.
    pub(crate) fn open(&self) -> Result<Remote, Failure> {
        let secret = Some(self.secret()?);
        Ok(Remote { secret, ..self.remote.open()? })
    }

    fn secret(&self) -> Result<Secret<String>, Failure> {
        let text = match &self.operator_secret_file {
            Some(path) => read_text(path)?,
            None => match (variable(SECRET_VARIABLE), session_file(&self.remote.url).filter(|path| path.is_file())) {
                (Some(text), _) => text,
                (None, Some(session)) => read_text(&session)?,
                (None, None) if Path::new(SECRET_FILE).is_file() => read_text(Path::new(SECRET_FILE))?,
                (None, None) => {
                    return Err(Failure::usage(format!(
                        "sign in with `writ login`, or use the operator secret that `writ init` showed: set {SECRET_FILE_VARIABLE} or \
                         {SECRET_VARIABLE}, or give `--operator-secret-file`"
                    )));
                }
            },
        };
        Ok(Secret::new(text.trim().to_owned()))
    }
}

/// Where the session at an authority is kept: in the person's own settings folder. `None` where there is none.
pub(crate) fn session_file(url: &AuthorityUrl) -> Option<PathBuf> {
    let name = hex::encode(&sha256(url.to_string().as_bytes())[..8]);
    Some(own_folder()?.join(format!("session-{name}")))
}

/// The settings of the person at the terminal, from `client.toml` in their own folder.
pub(crate) fn client_config() -> Result<ClientConfig, Failure> {
    let Some(folder) = own_folder() else { return Ok(ClientConfig::default()) };
    Ok(ClientConfig::load(&folder.join("client.toml"))?)
}

fn own_folder() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(variable("HOME")?).join(".config"));
    let settings = variable("XDG_CONFIG_HOME").map(PathBuf::from).or_else(home)?;
    Some(settings.join("writ"))
}

/// A variable of this process's environment; an empty one counts as absent.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl Remote {
    /// An authority of this process, for its first operator.
    pub(crate) fn of_operator(url: AuthorityUrl, secret: Secret<String>) -> Result<Self, Failure> {
        let client = AuthorityClient::new(url, &TrustedRoots::web());
        Ok(Self { client, tenant: TenantName::default(), secret: Some(secret) })
    }

    /// The same authority, by the session that is kept at `path`.
    pub(crate) fn of_session(self, path: &Path) -> Result<Self, Failure> {
        let secret = Secret::new(read_text(path)?.trim().to_owned());
        Ok(Self { secret: Some(secret), ..self })
    }

    pub(crate) const fn client(&self) -> &AuthorityClient {
        &self.client
    }

    pub(crate) const fn tenant(&self) -> &TenantName {
        &self.tenant
    }

    /// `GET` that needs no operator.
    pub(crate) async fn public<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let answer = self.client.call(Method::GET, path, HeaderMap::new(), Bytes::new(), TIMEOUT).await?;
        read(&self.client, &answer)
    }

    /// `GET`
    pub(crate) async fn fetch<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        read(&self.client, &self.call(Method::GET, path, None).await?)
    }

    /// `POST` or `PUT` with a JSON body.
    pub(crate) async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(body)?;
        read(&self.client, &self.call(method, path, Some(body)).await?)
    }

    /// `POST` with a JSON body and a proof by `key` over it, for the issuer, at whatever replica is called.
    pub(crate) async fn send_proven<T: DeserializeOwned>(
        &self,
        issuer: &str,
        path: &str,
        key: &KeyPair,
        body: &impl Serialize,
        now: Timestamp,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(body)?;
        let url = format!("{issuer}{path}");
        let request = ProvenRequest { method: "POST", url: &url, query: None, body_sha256: Some(sha256(&body)) };
        let covers = ProofCovers { query: false, body: true };
        let proof = make(key, &request, None, covers, None, &random()?, now);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert("dpop", HeaderValue::from_str(&proof)?);
        read(&self.client, &self.client.call(Method::POST, path, headers, body.into(), TIMEOUT).await?)
    }

    /// `DELETE`
    pub(crate) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        read(&self.client, &self.call(Method::DELETE, path, None).await?)
    }

    async fn call(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Answer, Failure> {
        let mut headers = HeaderMap::new();
        if let Some(secret) = &self.secret {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", secret.expose()))
                .map_err(|_| Failure::usage("the operator secret holds characters that no secret of writ has"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        if body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        Ok(self.client.call(method, path, headers, body.unwrap_or_default().into(), TIMEOUT).await?)
    }
}

fn read<T: DeserializeOwned>(client: &AuthorityClient, answer: &Answer) -> Result<T, Failure> {
    if answer.status.is_success() {
        // An answer without a body reads as `null`.
        let body: &[u8] = if answer.body.is_empty() { b"null" } else { &answer.body };
        return serde_json::from_slice(body)
            .map_err(|error| Failure::from(error).during("the authority's answer is not what was expected"));
    }
    let said =
        serde_json::from_slice::<Problem>(&answer.body).ok().and_then(|problem| problem.detail.or(problem.title));
    Err(Failure::new(said.unwrap_or_else(|| format!("the authority at {} answered {}", client.url(), answer.status))))
}
