use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};

use super::json;
use super::mended::{Fixed, fix};
use super::report::{changes, report, table};
use crate::cli::app::EXIT_INPUT;
use crate::cli::common::authorities;
use crate::cli::say::{show, show_json, tell};
use crate::diag::{Diagnostic, SourceFile};
use crate::http::{Direct, Trust};
use crate::quay::config::{Bundle, Checked, Circumstances, QuayVersion, check_for};
use crate::quay::probe::{Probed, probe};

/// Something that the configuration names does not serve.
const EXIT_FAILED: u8 = 2;

/// What stands beside a configuration is no longer than this; the rest is not read.
const LARGEST: u64 = 1024 * 1024;

/// Looks at Quay's configuration.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct QuayConfigArgs {
    #[command(subcommand)]
    command: QuayConfigCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum QuayConfigCommand {
    /// Check a config.yaml by the rules of Quay's start; with --probe also ask what it names.
    Check(CheckArgs),
}

#[derive(Debug, Clone, Args)]
struct CheckArgs {
    /// Quay's config.yaml, or the folder that holds it.
    file: PathBuf,
    /// Also ask the database, the Redis servers, the storage, Clair, the certificate and whatever else its start asks, from this machine.
    #[arg(long)]
    probe: bool,
    /// Take warnings for errors.
    #[arg(long)]
    strict: bool,
    /// The version whose rules count, such as 3.12.
    #[arg(long, value_name = "3.N", default_value_t)]
    quay_version: QuayVersion,
    /// Print what was found as JSON.
    #[arg(long)]
    json: bool,
    /// Write the file beside it, with what can be mended safely, as FILE.fixed; the file itself stays as it is.
    #[arg(long)]
    fix: bool,
    /// Where ssl.cert, ssl.key and other files of the configuration are; the folder of the file, unless it is said.
    #[arg(long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// Believe only what this authority signed (PEM), where something is probed over TLS.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Seconds that each answer may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    timeout: u64,
}

/// Runs it; the exit code is 0 when all is well, 5 for a wrong configuration, 2 when something does not serve. With
/// `--fix` it goes by what is left.
pub(in crate::cli) fn run(args: &QuayConfigArgs) -> Result<ExitCode> {
    let QuayConfigCommand::Check(args) = &args.command;
    let path = if args.file.is_dir() { args.file.join("config.yaml") } else { args.file.clone() };
    let text = std::fs::read_to_string(&path).map_err(|error| {
        Diagnostic::new(format!("{} cannot be read: {error}", path.display())).hint("name Quay's config.yaml")
    })?;
    if args.quay_version.is_newer_than_the_rules() {
        tell(&format!("note: the newest rules that are known are those of Quay {}", QuayVersion::default()));
    }
    let folder = args.bundle.clone().unwrap_or_else(|| path.parent().unwrap_or(Path::new(".")).to_owned());
    let beside = |name: &str| file_beside(&folder, name);
    let circumstances = Circumstances { version: args.quay_version, beside: Some(&beside) };
    let bundle = bundle(&folder);
    let now = jiff::Timestamp::now();
    let check =
        |name: String, text: &str| check_for(&SourceFile::new(name, text), &bundle, now, circumstances);
    let name = path.display().to_string();
    let checked = check(name.clone(), &text);
    let fixed = if args.fix { Some(fix(&path, &text, &checked, &check)?) } else { None };
    // What counts is what would be started with: the mended file, where there is one.
    let counts = fixed.as_ref().map_or(&checked, |fixed| &fixed.left);
    let wrong = counts.errors() > 0 || (args.strict && counts.warnings() > 0);
    let probed = if args.probe { Some(ask(args, counts)?) } else { None };
    if args.json {
        show_json(&json::of(&name, args.quay_version, &checked, fixed.as_ref(), probed.as_deref()))?;
    } else {
        told(args, &checked, &name, fixed.as_ref(), probed.as_deref())?;
    }
    let fails = probed.iter().flatten().any(Probed::failed);
    Ok(match (wrong, fails) {
        (true, _) => ExitCode::from(EXIT_INPUT),
        (false, true) => ExitCode::from(EXIT_FAILED),
        (false, false) => ExitCode::SUCCESS,
    })
}

fn told(
    args: &CheckArgs,
    checked: &Checked,
    name: &str,
    fixed: Option<&Fixed>,
    probed: Option<&[Probed]>,
) -> Result<()> {
    match fixed {
        Some(fixed) => show(&(changes(fixed, checked, name, args.probe) + "\n"))?,
        None => show(&(report(checked, name, args.probe) + "\n"))?,
    }
    probed.map_or(Ok(()), |probed| show(&(table(probed) + "\n")))
}

fn ask(args: &CheckArgs, checked: &Checked) -> Result<Vec<Probed>> {
    let trust = match &args.ca {
        Some(path) => authorities(path)?,
        None => Trust::System,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let wait = Duration::from_secs(args.timeout.max(1));
    Ok(runtime.block_on(probe(&checked.config, &Direct, &trust, wait)))
}

fn bundle(folder: &Path) -> Bundle {
    // What cannot be read is missing for Quay as well.
    let read = |name: &str| std::fs::read(folder.join(name)).ok();
    let shown = folder.display().to_string();
    let place = if shown.is_empty() { ".".to_owned() } else { shown };
    Bundle { place, certificate: read("ssl.cert"), key: read("ssl.key") }
}

/// A file that the configuration names in its own folder. What is no file there is none for Quay either.
fn file_beside(folder: &Path, name: &str) -> Option<Vec<u8>> {
    let plain = Path::new(name).components().all(|part| matches!(part, std::path::Component::Normal(_)));
    let path = folder.join(name);
    let there = std::fs::metadata(&path).ok().filter(|there| plain && there.is_file())?;
    if there.len() > LARGEST { Some(Vec::new()) } else { std::fs::read(path).ok() }
}
