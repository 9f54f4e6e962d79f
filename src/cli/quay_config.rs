//! `quaylab quay-config`: what Quay's start would say of a configuration, before it is started.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};

use super::app::EXIT_INPUT;
use crate::cli::say::show;
use crate::diag::{Diagnostic, SourceFile};
use crate::http::{Direct, Trust, certificates};
use crate::quay::config::{Bundle, Checked, Severity, check};
use crate::quay::probe::{Answer, Probed, probe};

/// Something that the configuration names does not serve.
const EXIT_FAILED: u8 = 2;

/// Looks at Quay's configuration.
#[derive(Debug, Clone, Args)]
pub(super) struct QuayConfigArgs {
    #[command(subcommand)]
    command: QuayConfigCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum QuayConfigCommand {
    /// Check a config.yaml by Quay's own rules; with --probe also ask what it names.
    Check(CheckArgs),
}

#[derive(Debug, Clone, Args)]
struct CheckArgs {
    /// Quay's config.yaml, or the folder that holds it.
    file: PathBuf,
    /// Also ask the database, both Redis servers, the storage, Clair and the certificate, from this machine.
    #[arg(long)]
    probe: bool,
    /// Take warnings for errors.
    #[arg(long)]
    strict: bool,
    /// Where ssl.cert and ssl.key are; the folder of the file, unless it is said.
    #[arg(long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// Believe only what this authority signed (PEM), where something is probed over TLS.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Seconds that each answer may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    timeout: u64,
}

/// Runs it; the exit code is 0 when all is well, 5 for a wrong configuration, 2 when something does not serve.
pub(super) fn run(args: &QuayConfigArgs) -> Result<ExitCode> {
    let QuayConfigCommand::Check(args) = &args.command;
    let path = if args.file.is_dir() { args.file.join("config.yaml") } else { args.file.clone() };
    let text = std::fs::read_to_string(&path).map_err(|error| {
        Diagnostic::new(format!("{} cannot be read: {error}", path.display())).hint("name Quay's config.yaml")
    })?;
    let folder = args.bundle.clone().unwrap_or_else(|| path.parent().unwrap_or(Path::new(".")).to_owned());
    let file = SourceFile::new(path.display().to_string(), text);
    let checked = check(&file, &bundle(&folder), jiff::Timestamp::now());
    show(&(report(&checked, &file.name) + "\n"))?;
    let wrong = checked.errors() > 0 || (args.strict && checked.warnings() > 0);
    if !args.probe {
        return Ok(if wrong { ExitCode::from(EXIT_INPUT) } else { ExitCode::SUCCESS });
    }
    let trust = match &args.ca {
        Some(path) => trust(path)?,
        None => Trust::System,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let wait = Duration::from_secs(args.timeout.max(1));
    let probed = runtime.block_on(probe(&checked.config, &Direct, &trust, wait));
    show(&(table(&probed) + "\n"))?;
    Ok(match (wrong, probed.iter().any(Probed::failed)) {
        (true, _) => ExitCode::from(EXIT_INPUT),
        (false, true) => ExitCode::from(EXIT_FAILED),
        (false, false) => ExitCode::SUCCESS,
    })
}

fn bundle(folder: &Path) -> Bundle {
    // What cannot be read is missing for Quay as well.
    let read = |name: &str| std::fs::read(folder.join(name)).ok();
    let shown = folder.display().to_string();
    let place = if shown.is_empty() { ".".to_owned() } else { shown };
    Bundle { place, certificate: read("ssl.cert"), key: read("ssl.key") }
}

fn trust(path: &Path) -> Result<Trust> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let list = certificates(&text).map_err(|why| Diagnostic::new(format!("{}: {why}", path.display())))?;
    Ok(Trust::Authorities(list))
}

/// The findings, and a line that sums them up.
fn report(checked: &Checked, name: &str) -> String {
    let mut text = String::new();
    for finding in &checked.findings {
        let word = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let _ = writeln!(text, "{word}: {}\n", finding.diagnostic);
    }
    let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let sum = match (checked.errors(), checked.warnings()) {
        (0, 0) => "Quay would take it".to_owned(),
        (0, warnings) => format!("Quay would take it; {}", count(warnings, "warning")),
        (errors, warnings) => format!("{}, {}", count(errors, "error"), count(warnings, "warning")),
    };
    let _ = write!(text, "{name}: {sum}");
    text
}

/// What was asked, a line each, and below what failed why and what to try.
fn table(probed: &[Probed]) -> String {
    let width = |pick: fn(&Probed) -> &str| probed.iter().map(|p| pick(p).chars().count()).max().unwrap_or(0);
    let (keys, places) = (width(|p| &p.key), width(|p| &p.place));
    let mut text = String::new();
    for one in probed {
        let (word, said, hint) = match &one.answer {
            Answer::Serves(said) => ("serves", said, None),
            Answer::But { found, hint } => ("serves", found, Some(hint)),
            Answer::Fails { why, hint } => ("FAILS", why, Some(hint)),
            Answer::NotAsked(why) => ("-", why, None),
        };
        let _ = writeln!(
            text,
            "{word:6}  {:keys$}  {:places$}  {:>5} ms  {said}",
            one.key, one.place, one.milliseconds
        );
        if let Some(hint) = hint {
            let _ = writeln!(text, "        hint: {hint}");
        }
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_a_table() {
        let one = |key: &str, place: &str, answer: Answer| Probed {
            key: key.into(),
            place: place.into(),
            answer,
            milliseconds: 12,
        };
        let fails = Answer::Fails { why: "Redis refused the password".into(), hint: "mend it".into() };
        let table = table(&[
            one("DB_URI", "db:5432/quay", Answer::Serves("PostgreSQL 15 with pg_trgm".into())),
            one("BUILDLOGS_REDIS", "redis:6379", fails),
            one("SERVER_HOSTNAME", "q.lan:80", Answer::NotAsked("plain HTTP has no certificate".into())),
        ]);
        insta::assert_snapshot!(table, @r"
        serves  DB_URI           db:5432/quay     12 ms  PostgreSQL 15 with pg_trgm
        FAILS   BUILDLOGS_REDIS  redis:6379       12 ms  Redis refused the password
                hint: mend it
        -       SERVER_HOSTNAME  q.lan:80         12 ms  plain HTTP has no certificate
        ");
    }
}
