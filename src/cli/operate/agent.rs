//! `writ agent`: keys and registration.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::workload::{Claims, WorkloadCommand, WorkloadName};
use super::{Column, list, of_tenant, receipt_told, text, when};
use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::files::{SecretSource, random, read_key, write_private};
use crate::cli::online;
use crate::cli::output::{good, plain_line, strong, term};
use crate::cli::remote::{OperatorArgs, Remote, RemoteArgs};
use crate::cli::time::parse_duration;
use crate::clock::Timestamp;
use crate::id::{AgentName, EnrolmentId, Note};
use crate::key::{KeyPair, PublicKey, sha256};
use crate::token::Capability;
use crate::token::chain::ProofCovers;
use crate::token::proof::{ProvenRequest, make};

/// `writ agent …`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum AgentCommand {
    /// Make a key pair: the private key into a file that nobody else may read, the public key on standard output.
    Keygen {
        /// Where to write the private key (PKCS #8, PEM).
        #[arg(long, value_name = "FILE", default_value = "agent.pem")]
        out: PathBuf,
    },
    /// Show the public key of a key file.
    Key {
        /// The private key file.
        key: PathBuf,
    },
    /// Register an agent by its public key, or by a workload.
    Register {
        /// Its name, unique in the tenant.
        name: AgentName,
        /// Its public key, `did:key:…`.
        #[arg(long, value_name = "DID", required_unless_present_any = ["key_file", "workload"])]
        key: Option<PublicKey>,
        /// The key file to take the public key from.
        #[arg(long, value_name = "FILE", conflicts_with = "key")]
        key_file: Option<PathBuf>,
        /// The workload that it is: its issuer, as the settings call it, and what the issuer calls it (`sub`).
        #[arg(long, value_name = "ISSUER:SUB")]
        workload: Option<WorkloadName>,
        #[command(flatten)]
        claims: Claims,
        #[command(flatten)]
        about: About,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// Replace what is written beside an agent: who answers for it, what it is for.
    Describe {
        /// Its name.
        name: AgentName,
        #[command(flatten)]
        about: About,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// Show one agent: every key that counts, who answers for it, when it was last seen.
    Show {
        /// Its name.
        name: AgentName,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// Give an agent another key. The one before counts for a while.
    Rotate {
        /// Its name.
        name: AgentName,
        /// The new public key, `did:key:…`.
        #[arg(long, value_name = "DID")]
        key: PublicKey,
        /// For how long the key before still counts: `1h`, `2d`; at most 7 days.
        #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "1h")]
        overlap: Duration,
        /// End the key before at once, and every chain that holds it. Returns once no edge serves one.
        #[arg(long, conflicts_with = "overlap")]
        now: bool,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// As an agent: replace the own key, proven by both. Needs no operator.
    Rekey {
        /// The key file that it has.
        #[arg(long, value_name = "FILE")]
        key_file: PathBuf,
        /// The key file that it will have.
        #[arg(long, value_name = "FILE")]
        new_key_file: PathBuf,
        /// For how long the key before still counts.
        #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "1h")]
        overlap: Duration,
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Make a code with which an agent registers itself. Prints it, this once.
    Code {
        /// The name that the agent gets.
        #[arg(long, value_name = "NAME", required_unless_present = "prefix")]
        name: Option<AgentName>,
        /// How the names of the agents begin, where several register with one code.
        #[arg(long, value_name = "PREFIX", conflicts_with = "name")]
        prefix: Option<AgentName>,
        /// For how long it can be used.
        #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "1h")]
        ttl: Duration,
        /// How many agents can register with it.
        #[arg(long, value_name = "COUNT", default_value_t = 1)]
        uses: u32,
        /// A capability that each may be given for itself; may be repeated. Without it, none.
        #[arg(long = "allow", value_name = "CAPABILITY")]
        capabilities: Vec<Capability>,
        #[command(flatten)]
        about: About,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// List the codes that can be used, or remove one.
    Codes {
        /// Remove the code with this id.
        #[arg(long, value_name = "ID")]
        remove: Option<EnrolmentId>,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// As an agent: register with a code, read from standard input or a file. Needs no operator.
    Enrol {
        /// The private key file of the agent.
        #[arg(long, value_name = "FILE")]
        key_file: PathBuf,
        /// The name it wants, where the code does not say it.
        #[arg(long, value_name = "NAME")]
        name: Option<AgentName>,
        #[command(flatten)]
        code: SecretSource,
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Workloads by which agents are known instead of by a key.
    #[command(subcommand)]
    Workload(WorkloadCommand),
    /// List the agents of a tenant.
    List {
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// Disable an agent and end what it was issued. Returns once no edge serves it.
    Disable {
        /// Its name.
        name: AgentName,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// Let a disabled agent be issued writs again. What was ended stays ended.
    Enable {
        /// Its name.
        name: AgentName,
        #[command(flatten)]
        operator: OperatorArgs,
    },
}

/// What is written beside an agent.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct About {
    /// Who answers for it: a person, a team.
    #[arg(long, value_name = "TEXT")]
    owner: Option<Note>,
    /// What it is for.
    #[arg(long, value_name = "TEXT")]
    purpose: Option<Note>,
}

impl AgentCommand {
    pub(crate) fn run(self, context: Context) -> Result<(), Failure> {
        match self {
            Self::Keygen { out } => {
                let public = write_new_key(&out)?;
                context.out.remark(&format!("The private key is in {}.", term(out.display())));
                show(&context, public)
            }
            Self::Key { key } => show(&context, read_key(&key)?.public()),
            online_command => online(online_command.call(context)),
        }
    }

    async fn call(self, context: Context) -> Result<(), Failure> {
        match self {
            Self::Register { name, key, key_file, workload, claims, about, operator } => {
                let remote = operator.open()?;
                let key = match (key, key_file) {
                    (None, Some(path)) => Some(read_key(&path)?.public()),
                    (key, _) => key,
                };
                let path = of_tenant(&remote, "/v1/agents", &[]);
                let workload = workload.map(|workload| workload.stated(&claims));
                let new = json!({
                    "name": name,
                    "key": key,
                    "workload": workload,
                    "owner": about.owner,
                    "purpose": about.purpose,
                });
                let agent: Value = remote.send(Method::POST, &path, &new).await?;
                let with = key.map_or_else(String::new, |key| format!(" with key {key}"));
                context.out.result(&agent, || format!("{} agent {}{with}", good("registered"), strong(&name)))
            }
            Self::Workload(command) => command.call(context).await,
            Self::List { operator } => {
                let remote = operator.open()?;
                let path = of_tenant(&remote, "/v1/agents", &[]);
                list(
                    &context,
                    &remote,
                    &path,
                    &[
                        ("agent", |row, _| text(row, "name")),
                        ("status", |row, _| text(row, "status")),
                        ("key", |row, _| text(row, "key")),
                        ("owner", |row, _| text(row, "owner")),
                        ("purpose", |row, _| text(row, "purpose")),
                        ("last seen", |row, now| when(row, "seen", now)),
                        ("registered", |row, now| when(row, "created", now)),
                    ],
                )
                .await
            }
            Self::Disable { name, operator } => {
                let remote = operator.open()?;
                let path = of_tenant(&remote, &format!("/v1/agents/{name}/disable"), &[]);
                let receipt: Value = remote.send(Method::POST, &path, &json!({})).await?;
                context.out.result(&receipt, || receipt_told(&receipt))
            }
            Self::Enable { name, operator } => {
                let remote = operator.open()?;
                let path = of_tenant(&remote, &format!("/v1/agents/{name}/enable"), &[]);
                let enabled: Value = remote.send(Method::POST, &path, &json!({})).await?;
                context.out.result(&enabled, || format!("{} agent {}", good("enabled"), strong(&name)))
            }
            Self::Describe { name, about, operator } => {
                let remote = operator.open()?;
                let path = of_tenant(&remote, &format!("/v1/agents/{name}/description"), &[]);
                let body = json!({ "owner": about.owner, "purpose": about.purpose });
                let described: Value = remote.send(Method::PUT, &path, &body).await?;
                context.out.result(&described, || format!("{} agent {}", good("described"), strong(&name)))
            }
            Self::Show { name, operator } => {
                let remote = operator.open()?;
                let agent: Value = remote.fetch(&of_tenant(&remote, &format!("/v1/agents/{name}"), &[])).await?;
                context.out.result(&agent, || shown(&agent, context.now()))
            }
            Self::Rotate { name, key, overlap, now, operator } => {
                let remote = operator.open()?;
                let path = of_tenant(&remote, &format!("/v1/agents/{name}/keys"), &[]);
                let body = match now {
                    true => json!({ "key": key, "now": true }),
                    false => json!({ "key": key, "overlap_s": overlap.as_secs() }),
                };
                let answer: Value = remote.send(Method::POST, &path, &body).await?;
                context.out.result(&answer, || if now { receipt_told(&answer) } else { shown(&answer, context.now()) })
            }
            Self::Rekey { key_file, new_key_file, overlap, remote } => {
                let (key, new) = (read_key(&key_file)?, read_key(&new_key_file)?);
                let agent = rekeyed(&remote.open()?, &key, &new, overlap, context.now()).await?;
                context.out.result(&agent, || shown(&agent, context.now()))
            }
            Self::Code { name, prefix, ttl, uses, capabilities, about, operator } => {
                let remote = operator.open()?;
                let body = json!({
                    "name": name,
                    "prefix": prefix,
                    "ttl_s": ttl.as_secs(),
                    "uses": uses,
                    "capabilities": capabilities,
                    "owner": about.owner,
                    "purpose": about.purpose,
                });
                let made: Value =
                    remote.send(Method::POST, &of_tenant(&remote, "/v1/enrolment-codes", &[]), &body).await?;
                context.out.remark("This code is shown once. Hand it over as you would a password.");
                context.out.result(&made, || text(&made, "code"))
            }
            Self::Codes { remove: Some(id), operator } => {
                let remote = operator.open()?;
                let path = of_tenant(&remote, &format!("/v1/enrolment-codes/{id}"), &[]);
                let removed: Value = remote.delete(&path).await?;
                context.out.result(&removed, || format!("{} code {id}", good("removed")))
            }
            Self::Codes { remove: None, operator } => {
                let remote = operator.open()?;
                let columns: &[Column] = &[
                    ("code", |row, _| text(row, "id")),
                    ("name", |row, _| text(row, "name")),
                    ("prefix", |row, _| text(row, "prefix")),
                    ("uses left", |row, _| text(row, "uses_left")),
                    ("ends", |row, now| when(row, "expires", now)),
                    ("made by", |row, _| text(row, "by")),
                ];
                list(&context, &remote, &of_tenant(&remote, "/v1/enrolment-codes", &[]), columns).await
            }
            Self::Enrol { key_file, name, code, remote } => {
                let (remote, key) = (remote.open()?, read_key(&key_file)?);
                let code = code.read("the enrolment code")?;
                let body = json!({ "code": code.expose().trim(), "name": name });
                let issuer = issuer(&remote).await?;
                let agent: Value = remote.send_proven(&issuer, "/v1/agent/enrol", &key, &body, context.now()).await?;
                context
                    .out
                    .result(&agent, || format!("{} as agent {}", good("registered"), strong(text(&agent, "name"))))
            }
            Self::Keygen { .. } | Self::Key { .. } => Ok(()),
        }
    }
}

/// Makes a key pair, writes its private half to `path` and returns the public half.
pub(crate) fn write_new_key(path: &Path) -> Result<PublicKey, Failure> {
    let seed = Zeroizing::new(random()?);
    let pair = KeyPair::from_seed(&seed);
    write_private(path, pair.to_pem().as_bytes())?;
    Ok(pair.public())
}

/// Asks for another key as the agent itself: a proof by the key it has covers the request, one by the new key covers that key.
async fn rekeyed(
    remote: &Remote,
    key: &KeyPair,
    new: &KeyPair,
    overlap: Duration,
    now: Timestamp,
) -> Result<Value, Failure> {
    const PATH: &str = "/v1/agent/key";
    let issuer = issuer(remote).await?;
    let url = format!("{issuer}{PATH}");
    let body_sha256 = Some(sha256(key.public().to_string().as_bytes()));
    let request = ProvenRequest { method: "POST", url: &url, query: None, body_sha256 };
    let covers = ProofCovers { query: false, body: true };
    let proof = make(new, &request, None, covers, None, &random()?, now);
    let body = json!({ "key": new.public(), "proof": proof, "overlap_s": overlap.as_secs() });
    remote.send_proven(&issuer, PATH, key, &body, now).await
}

/// What the authority calls itself: proofs are for that name.
async fn issuer(remote: &Remote) -> Result<String, Failure> {
    let keys: Value = remote.public("/v1/keys").await?;
    Ok(text(&keys, "issuer"))
}

/// An agent for a person.
fn shown(agent: &Value, now: Timestamp) -> String {
    let mut lines = vec![format!("{} {}", strong(text(agent, "name")), term(text(agent, "status")))];
    if agent.get("key").is_some() {
        lines.push(format!("  key        {}", text(agent, "key")));
    }
    for before in agent["keys_before"].as_array().into_iter().flatten() {
        lines.push(format!("  before     {} until {}", text(before, "key"), when(before, "until", now)));
    }
    for (label, value) in [("owner", text(agent, "owner")), ("purpose", text(agent, "purpose"))] {
        if !value.is_empty() {
            lines.push(format!("  {label:<10} {}", plain_line(&value)));
        }
    }
    lines.push(format!("  last seen  {}", when(agent, "seen", now)));
    lines.push(format!("  registered {}", when(agent, "created", now)));
    lines.join("\n")
}

fn show(context: &Context, key: PublicKey) -> Result<(), Failure> {
    let value = json!({ "key": key, "thumbprint": key.thumbprint() });
    context.out.result(&value, || key.to_string())
}
