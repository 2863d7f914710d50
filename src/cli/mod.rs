//! The command line: parses, calls the rooms below, prints. The only room that prints or reads the environment.
//!
//! Exit codes: 0 done; 1 refused, denied or failed; 2 the command line is wrong; `writ run` ends as its program ended.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::cli::failure::Failure;
use crate::cli::operate::{
    agent, approval, audit, credential, grant, key, limit, operator, relying, revoke, scim, service, stop, user, vault,
};
use crate::cli::output::{Form, Output};
use crate::clock::{Clock as _, SystemClock, Timestamp};

mod dev;
mod explain;
mod failure;
mod files;
mod hop;
mod init;
mod inspect;
mod login;
mod operate;
mod output;
mod policy;
mod receipt;
mod remote;
mod request;
mod run;
mod serve;
mod time;
mod token;
mod tree;

/// Capability tokens for AI agents: issue them, narrow them, prove them, revoke them.
#[derive(Debug, Parser)]
#[command(
    name = "writ",
    version,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done; 1 refused, denied or failed; 2 wrong command line; `run` ends as its program ended.\n\
                  New here? `writ dev` shows everything in a minute, with nothing to configure."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: Global,
}

/// What every command takes.
#[derive(Debug, clap::Args)]
struct Global {
    /// Print JSON, for scripts.
    #[arg(long, global = true, help_heading = "Global")]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show everything in a minute, in one process, with nothing to configure; then keep serving.
    Dev(dev::DevArgs),
    /// Make a new installation: settings, key-encryption key, database, and the first operator.
    Init(init::InitArgs),
    /// Run an authority.
    Serve(serve::ServeArgs),
    /// Run an edge, or see to edges: `ticket`, `list`, `remove`.
    Edge(serve::EdgeArgs),
    /// Sign in as an operator, with the browser and your identity provider.
    Login(login::LoginArgs),
    /// End the session that `writ login` began.
    Logout(login::LogoutArgs),
    /// Bring the database's schema up to date.
    Migrate(init::MigrateArgs),
    /// Agents: their keys, who is registered.
    #[command(subcommand)]
    Agent(agent::AgentCommand),
    /// Services: what agents may call, and how requests are understood.
    #[command(subcommand)]
    Service(service::ServiceCommand),
    /// Credentials: the secrets of services. They go in and never come out.
    #[command(subcommand)]
    Credential(credential::CredentialCommand),
    /// Grants: which agent may be given which capabilities.
    #[command(subcommand)]
    Grant(grant::GrantCommand),
    /// Requests of agents that need a person: what exactly would be sent, and the person's word.
    #[command(subcommand)]
    Approval(approval::ApprovalCommand),
    /// Policies: what agents may do beyond what their writs say. Check, test and explain them before they stop anybody.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Limits: how often, how much, and what of it is used.
    #[command(subcommand)]
    Limit(limit::LimitCommand),
    /// Operators: who administers the authority.
    #[command(subcommand)]
    Operator(operator::OperatorCommand),
    /// End a writ, a key, an agent, a user's writs, or everything. Returns once no edge serves it.
    Revoke(revoke::RevokeArgs),
    /// Relying services: who may ask the authority whether a writ is active.
    #[command(subcommand)]
    Relying(relying::RelyingCommand),
    /// Identity providers that provision users and groups (SCIM): their clients' secrets.
    #[command(subcommand)]
    Scim(scim::ScimCommand),
    /// The stop that `writ revoke everything` makes: who made it, and how another operator lifts it.
    #[command(subcommand)]
    Stop(stop::StopCommand),
    /// Users whose writs were revoked: who is suspended, and who may be issued writs again.
    #[command(subcommand)]
    User(user::UserCommand),
    /// Receipts of revocations: whether one is what the authority signed.
    #[command(subcommand)]
    Receipt(receipt::ReceiptCommand),
    /// What happened, and whether the record of it is whole.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// The root keys that sign writs.
    #[command(subcommand)]
    Keys(key::KeysCommand),
    /// Ask the authority for a writ, with an agent's key.
    Request(request::RequestArgs),
    /// Run a program whose requests get a writ and fresh proofs by themselves: `writ run … -- CMD`.
    Run(run::RunArgs),
    /// Hand a writ on to another key, offline: a hop signed by the holder's key.
    Delegate(hop::DelegateArgs),
    /// Make a writ allow less, offline. No key is needed.
    Narrow(hop::NarrowArgs),
    /// Close a writ, offline: it works as before, and nobody can delegate or narrow it further.
    Seal(hop::SealArgs),
    /// Show what a writ says, as a tree: who holds it, who signed each hop, what it allows, when it ends.
    Inspect(inspect::InspectArgs),
    /// Check a writ's signatures, its profile and its time; ends with 1 if it does not hold.
    Verify(inspect::VerifyArgs),
    /// Say whether a request would be allowed, and which block, route or rule decides; ends with 1 if denied.
    Explain(explain::ExplainArgs),
    /// The vault's key-encryption keys.
    #[command(subcommand)]
    Vault(vault::VaultCommand),
    /// Print a completion script for a shell.
    Completions {
        /// Which shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

/// What a command works with besides its own arguments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    out: Output,
}

impl Context {
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    keep_memory_to_itself();
    let cli = Cli::parse();
    let context = Context { out: Output::new(if cli.global.json { Form::Json } else { Form::Text }) };
    match cli.command.run(context) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::complain(&failure);
            failure.exit_code()
        }
    }
}

/// Secrets stand in it: no core file, and no debugger of the same user.
fn keep_memory_to_itself() {
    // It cannot fail, and there is nothing better to do than to go on.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

impl Command {
    fn run(self, context: Context) -> Result<(), Failure> {
        match self {
            Self::Dev(args) => online(args.run(context)),
            Self::Init(args) => online(args.run(context)),
            Self::Serve(args) => online(args.run(context)),
            Self::Edge(args) => online(args.run(context)),
            Self::Login(args) => online(args.run(context)),
            Self::Logout(args) => online(args.run(context)),
            Self::Migrate(args) => online(args.run(context)),
            Self::Agent(command) => command.run(context),
            Self::Service(command) => online(command.run(context)),
            Self::Credential(command) => online(command.run(context)),
            Self::Grant(command) => online(command.run(context)),
            Self::Approval(command) => online(command.run(context)),
            Self::Policy(command) => online(command.run(context)),
            Self::Limit(command) => online(command.run(context)),
            Self::Operator(command) => online(command.run(context)),
            Self::Revoke(args) => online(args.run(context)),
            Self::Relying(command) => online(command.run(context)),
            Self::Scim(command) => online(command.run(context)),
            Self::Stop(command) => online(command.run(context)),
            Self::User(command) => online(command.run(context)),
            Self::Receipt(command) => command.run(context),
            Self::Audit(command) => online(command.run(context)),
            Self::Keys(command) => online(command.run(context)),
            Self::Request(args) => online(args.run(context)),
            Self::Run(args) => online(args.run(context)),
            Self::Delegate(args) => args.run(context),
            Self::Narrow(args) => args.run(context),
            Self::Seal(args) => args.run(context),
            Self::Inspect(args) => args.run(context),
            Self::Verify(args) => args.run(context),
            Self::Explain(args) => args.run(context),
            Self::Vault(command) => command.run(context),
            Self::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "writ", &mut script);
                context.out.raw(String::from_utf8_lossy(&script).trim_end())
            }
        }
    }
}

/// After how many tasks the sockets are looked at. A task checks signatures for a tenth of a millisecond: with tokio's 61 an answer of
/// the database could lie unread for six.
const TASKS_BETWEEN_LOOKS: u32 = 4;

/// Runs what calls somebody.
fn online<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.enable_all().event_interval(TASKS_BETWEEN_LOOKS).build()?.block_on(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
