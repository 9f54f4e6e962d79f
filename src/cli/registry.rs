use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};

use super::common::{authorities, password};
use super::say::show_exactly;
use super::tell;
use crate::diag::Diagnostic;
use crate::host::Secret;
use crate::http::{Client, Direct, Trust};
use crate::limits::Limits;
use crate::quay::{Login, Rest, export};

/// Looks at a registry that runs.
#[derive(Debug, Clone, Args)]
pub(super) struct RegistryArgs {
    #[command(subcommand)]
    command: RegistryCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum RegistryCommand {
    /// Write what a running Quay holds as inventory data: `quay_users` and `quay_organizations`.
    #[command(
        after_help = "Who asks is told by --token-file, by --username with --password-file, or by QUAY_TOKEN, QUAY_USERNAME and QUAY_PASSWORD."
    )]
    Export(ExportArgs),
}

#[derive(Debug, Clone, Args)]
struct ExportArgs {
    /// Quay's address (`https://HOST[:PORT]`).
    url: String,
    /// Write to this file instead of standard output.
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// A file with an OAuth token of Quay's API.
    #[arg(long, value_name = "FILE", conflicts_with = "username")]
    token_file: Option<PathBuf>,
    /// A user, instead of a token; without --password-file the password is asked for.
    #[arg(long, value_name = "USER")]
    username: Option<String>,
    /// A file with that user's password.
    #[arg(long, value_name = "FILE", requires = "username")]
    password_file: Option<PathBuf>,
    /// Believe only what this authority signed, or this certificate (PEM).
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    ca: Option<PathBuf>,
    /// Believe any certificate.
    #[arg(long)]
    insecure: bool,
    /// Seconds that each answer may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
}

pub(super) fn run(args: &RegistryArgs) -> Result<ExitCode> {
    let RegistryCommand::Export(args) = &args.command;
    if !["http://", "https://"].iter().any(|scheme| args.url.starts_with(scheme)) {
        return Err(Diagnostic::new(format!("{:?} is no address of a registry", args.url))
            .hint("write it like https://quay.example.com")
            .into());
    }
    let quay = Rest::new(&args.url, client(args)?, login(args)?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let holdings = runtime.block_on(export(&quay))?;
    let body = serde_yaml::to_string(&holdings).context("cannot write it as YAML")?;
    let text =
        format!("# What {} holds. Passwords and tokens cannot be read, and are not in it.\n{body}", args.url);
    match &args.out {
        None => show_exactly(text.as_bytes())?,
        Some(file) => write(file, &text)?,
    }
    let (users, organizations) = (holdings.users.len(), holdings.organizations.len());
    tell(&format!("read {organizations} organizations and {users} users"));
    Ok(ExitCode::SUCCESS)
}

/// A new file, for its owner alone: it says who may do what.
fn write(file: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o600).open(file);
    let mut opened = opened.map_err(|error| {
        Diagnostic::new(format!("{} cannot be made: {error}", file.display()))
            .hint("name a file that is not there yet")
    })?;
    opened.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", file.display()))
}

fn client(args: &ExportArgs) -> Result<Client<Direct>> {
    let trust = match &args.ca {
        None if args.insecure => Trust::Anything,
        None => Trust::System,
        Some(file) => authorities(file)?,
    };
    Ok(Client {
        dial: Direct,
        timeout: Duration::from_secs(args.timeout),
        trust,
        limit: Limits::default().http,
    })
}

fn login(args: &ExportArgs) -> Result<Login> {
    let given = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(token) = password(false, args.token_file.as_deref(), "")? {
        return Ok(Login::Token(token));
    }
    if let Some(user) = &args.username {
        let given = password(true, args.password_file.as_deref(), "Quay password: ")?;
        let password = given.context("nobody gave a password")?;
        return Ok(Login::Password { user: user.clone(), password });
    }
    match (given("QUAY_TOKEN"), given("QUAY_USERNAME"), given("QUAY_PASSWORD")) {
        (Some(token), _, _) => Ok(Login::Token(Secret(token))),
        (None, Some(user), Some(password)) => Ok(Login::Password { user, password: Secret(password) }),
        _ => Err(Diagnostic::new("nothing says who asks Quay")
            .hint("give --token-file, or --username and --password-file, or set QUAY_TOKEN")
            .into()),
    }
}
