//! What a holder does offline: `writ delegate`, `writ narrow`, `writ seal`.

use std::path::PathBuf;
use std::time::Duration;

use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::files::{random, read_key};
use crate::cli::time::{parse_duration, parse_moment};
use crate::cli::token::TokenArg;
use crate::clock::Timestamp;
use crate::id::{AgentName, BlockId};
use crate::key::PublicKey;
use crate::token::hop::{Narrowing, NewHop, delegate, narrow, seal};
use crate::token::inspect::inspect;
use crate::token::{Capability, Limits, RawToken};

/// What the new writ may do at most.
#[derive(Debug, clap::Args)]
struct Less {
    /// Only this capability, `service:action:resource`; may be repeated. Without it, everything stays allowed.
    #[arg(long = "allow", value_name = "CAPABILITY")]
    allow: Vec<Capability>,
    /// A further check in Datalog: `check if arg("amount", $x), $x <= 500`. May be repeated.
    #[arg(long = "check", value_name = "DATALOG")]
    checks: Vec<String>,
    /// Only for so long from now: `90s`, `15m`, `2h`, `1d`.
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    lasting: Option<Duration>,
    /// Only until this moment, RFC 3339.
    #[arg(long, value_name = "MOMENT", value_parser = parse_moment, conflicts_with = "lasting")]
    until: Option<Timestamp>,
}

impl Less {
    fn until(&self, now: Timestamp) -> Option<Timestamp> {
        self.until.or_else(|| self.lasting.map(|length| now.after(length)))
    }
}

/// `writ delegate`
#[derive(Debug, clap::Args)]
pub(crate) struct DelegateArgs {
    #[command(flatten)]
    token: TokenArg,
    /// The holder's private key file.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The public key of the next holder, `did:key:…`.
    #[arg(long, value_name = "DID")]
    to: PublicKey,
    /// What to call the next holder. Shown beside its key; nothing is decided by it.
    #[arg(long, value_name = "NAME")]
    name: Option<AgentName>,
    #[command(flatten)]
    less: Less,
}

impl DelegateArgs {
    pub(crate) fn run(self, context: Context) -> Result<(), Failure> {
        let (token, limits) = (self.token.read()?, Limits::default());
        let parent = inspect(&token, &limits)?;
        let hop = NewHop {
            holder: self.to,
            id: BlockId::from_bytes(random()?),
            // Without a wish of its own, a hop ends when what it hangs on ends.
            expires: self.less.until(context.now()).unwrap_or_else(|| parent.claims().expires()),
            not_before: None,
            agent: self.name,
            narrowing: Narrowing { capabilities: self.less.allow, until: None, checks: self.less.checks },
        };
        let delegated = delegate(&token, &read_key(&self.key)?, &hop, &random()?, &limits)?;
        print(&context, &delegated)
    }
}

/// `writ narrow`
#[derive(Debug, clap::Args)]
pub(crate) struct NarrowArgs {
    #[command(flatten)]
    token: TokenArg,
    #[command(flatten)]
    less: Less,
}

impl NarrowArgs {
    pub(crate) fn run(self, context: Context) -> Result<(), Failure> {
        let until = self.less.until(context.now());
        let narrowing = Narrowing { capabilities: self.less.allow, until, checks: self.less.checks };
        if narrowing.capabilities.is_empty() && narrowing.checks.is_empty() && until.is_none() {
            return Err(Failure::usage("say what to take away: give `--allow`, `--check`, `--for` or `--until`"));
        }
        let narrowed = narrow(&self.token.read()?, &narrowing, &random()?, &Limits::default())?;
        print(&context, &narrowed)
    }
}

/// `writ seal`
#[derive(Debug, clap::Args)]
pub(crate) struct SealArgs {
    #[command(flatten)]
    token: TokenArg,
}

impl SealArgs {
    pub(crate) fn run(self, context: Context) -> Result<(), Failure> {
        print(&context, &seal(&self.token.read()?, &Limits::default())?)
    }
}

fn print(context: &Context, token: &RawToken) -> Result<(), Failure> {
    context.out.result(&serde_json::json!({ "token": token.text() }), || token.text().to_owned())
}
