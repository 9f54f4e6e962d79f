use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use tokio_util::sync::CancellationToken;

use super::lab::{Lab, wanted_private};
use crate::diag::Diagnostic;
use crate::engine::{self, Ask, Event, Options, Question, Sink};
use crate::host::{BecomeMethod, Secret};
use crate::inventory::{Inventory, VarMap, parse_extra_vars};
use crate::lab::private;
use crate::playbook::{Folder, Loader, Playbook};
use crate::report::{Lines, Palette, Terminal, Verbosity};
use crate::settings::Settings;

/// The most hosts worked on at the same time unless `-f` says otherwise.
const MOST_FORKS: usize = 200;

/// Options of `quaylab run`, under ansible-playbook's names.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Playbooks; without any, quaylab's own, which brings up the lab.
    playbooks: Vec<PathBuf>,
    /// Inventory file, folder, or comma-separated list of hosts; may be given several times.
    #[arg(short, long, value_name = "SOURCE")]
    inventory: Vec<String>,
    /// Only these hosts (a pattern).
    #[arg(short, long, value_name = "PATTERN")]
    limit: Option<String>,
    /// Only tasks with these tags.
    #[arg(short, long, value_delimiter = ',')]
    tags: Vec<String>,
    /// No tasks with these tags.
    #[arg(long, value_delimiter = ',')]
    skip_tags: Vec<String>,
    /// Variables: key=value, YAML or JSON, or @FILE.
    #[arg(short, long, value_name = "VARS")]
    extra_vars: Vec<String>,
    /// Only say what would change.
    #[arg(short = 'C', long)]
    check: bool,
    /// Show what changes in files and states.
    #[arg(short = 'D', long)]
    diff: bool,
    /// Hosts worked on at the same time (default: all, at most 200).
    #[arg(short, long, value_parser = clap::value_parser!(u16).range(1..))]
    forks: Option<u16>,
    /// User to log in as.
    #[arg(short, long)]
    user: Option<String>,
    /// Become another user (root) on the targets.
    #[arg(short, long)]
    r#become: bool,
    /// The user to become.
    #[arg(long, value_name = "USER")]
    become_user: Option<String>,
    /// How to become: sudo, su or doas.
    #[arg(long, value_name = "METHOD")]
    become_method: Option<String>,
    /// Ask for the password that become needs.
    #[arg(short = 'K', long)]
    ask_become_pass: bool,
    /// Ask for the SSH password.
    #[arg(short = 'k', long)]
    ask_pass: bool,
    /// Private key to log in with.
    #[arg(long, visible_alias = "key-file", value_name = "FILE")]
    private_key: Option<PathBuf>,
    /// Seconds to wait for a connection.
    #[arg(short = 'T', long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Run notified handlers even on hosts where a task failed.
    #[arg(long)]
    force_handlers: bool,
    /// Send no probes of later tasks ahead: every task is looked at when it has its turn.
    #[arg(long)]
    no_speculate: bool,
    /// Read and check everything, then stop.
    #[arg(long)]
    syntax_check: bool,
    /// Tell more; up to -vvvv.
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

/// Runs playbooks.
pub(super) fn run(args: &RunArgs) -> Result<ExitCode> {
    let settings = Settings::load()?;
    let sources = if args.inventory.is_empty() { &settings.inventory } else { &args.inventory };
    if sources.is_empty() {
        return Err(Diagnostic::new("no inventory is given")
            .hint("name one with -i, or set `inventory` in the [defaults] of quaylab.cfg")
            .into());
    }
    let (inventory, warnings) = Inventory::load(sources)?;
    let lab = Lab::of(&inventory);
    let mut roles_path = settings.roles_path.clone();
    roles_path.push(PathBuf::from("roles"));
    let loader = Loader::new(roles_path);
    let playbook = read_playbooks(&loader, &args.playbooks)?;
    if args.syntax_check {
        tell(&format!("{} plays are well formed", playbook.plays.len()));
        return Ok(ExitCode::SUCCESS);
    }
    let mut extra_vars = VarMap::new();
    for text in &args.extra_vars {
        extra_vars.extend(parse_extra_vars(text)?);
    }
    let passwords = Passwords::ask(args)?;
    // Namespaces are joined while there is still one thread only.
    let wants_lab =
        args.playbooks.is_empty() || !matches!(wanted_private(&inventory)?, private::Wanted::Never);
    let mut brought_up = false;
    if wants_lab
        && let private::Entered::Private { fresh } = private::ensure_and_enter(wanted_private(&inventory)?)?
    {
        brought_up = fresh;
        let how = if fresh { "brought one up" } else { "using the one that is running" };
        tell(&format!(
            "no libvirt daemon answers at qemu:///system: {how} in namespaces of its own (libvirt_private)"
        ));
    }
    // A check of a lab that does not exist yet leaves nothing behind, so what it remembers goes with it.
    let passing = (args.check && !lab.state_dir.exists())
        .then(tempfile::tempdir)
        .transpose()
        .context("cannot make a folder for the check")?;
    let state_dir = if let Some(folder) = &passing {
        folder.path().to_owned()
    } else {
        lab.prepare()?;
        lab.state_dir
    };
    let hosts = inventory.hosts().count();
    let options = Options {
        inventory,
        limit: args.limit.clone(),
        tags: args.tags.clone(),
        skip_tags: args.skip_tags.clone(),
        extra_vars,
        check: args.check,
        diff: args.diff,
        forks: args.forks.map(usize::from).or(settings.forks).unwrap_or_else(|| hosts.clamp(1, MOST_FORKS)),
        remote_user: args.user.clone().or(settings.remote_user),
        r#become: args.r#become || settings.r#become,
        become_user: args.become_user.clone().or(settings.become_user),
        become_method: become_method(args.become_method.as_deref().or(settings.become_method.as_deref()))?,
        become_password: passwords.r#become,
        ssh_password: passwords.ssh,
        private_key_file: args.private_key.clone().or(settings.private_key_file),
        host_key_checking: settings.host_key_checking,
        timeout: Duration::from_secs(args.timeout.unwrap_or(settings.timeout)),
        verbosity: args.verbose,
        force_handlers: args.force_handlers || settings.force_handlers,
        speculate: !args.no_speculate,
        state_dir,
        lab: lab.name,
        ask: ask(),
    };
    let terminal = Arc::new(Terminal::new(Lines {
        verbosity: Verbosity(args.verbose),
        palette: Palette::detect(),
        width: width(),
    }));
    for warning in warnings {
        terminal.show(&Event::Warning(warning));
    }
    let sink: Sink = Arc::new(move |event| terminal.show(&event));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let summary = runtime.block_on(async {
        let stop = CancellationToken::new();
        stop_on_signal(stop.clone());
        engine::run(playbook, loader, options, sink, stop).await
    });
    // A blocking call into libvirt must not hold the program up once the run is over.
    runtime.shutdown_timeout(Duration::from_secs(2));
    if args.check && brought_up {
        // Only saying what would change changes nothing: what had to be there for it goes again.
        private::down()?;
    }
    let summary = summary?;
    Ok(match summary {
        s if s.interrupted => ExitCode::from(130),
        s if s.unreachable() => ExitCode::from(4),
        s if s.failed() => ExitCode::from(2),
        _ => ExitCode::SUCCESS,
    })
}

fn read_playbooks(loader: &Loader, files: &[PathBuf]) -> Result<Playbook> {
    let mut all = Playbook { plays: Vec::new(), warnings: Vec::new() };
    let own = [PathBuf::from("playbooks/quaylab.yml")];
    let named = if files.is_empty() && own[0].is_file() { &own[..] } else { files };
    for file in named {
        let folder = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = file.file_name().with_context(|| format!("{} is not a playbook", file.display()))?;
        let read = loader.playbook(&Folder::Disk(folder.to_owned()), &name.to_string_lossy())?;
        all.plays.extend(read.plays);
        all.warnings.extend(read.warnings);
    }
    if named.is_empty() {
        all = loader.playbook(&Folder::Embedded("playbooks".into()), "quaylab.yml")?;
    }
    Ok(all)
}

fn become_method(name: Option<&str>) -> Result<BecomeMethod> {
    match name {
        None | Some("sudo") => Ok(BecomeMethod::Sudo),
        Some("su") => Ok(BecomeMethod::Su),
        Some("doas") => Ok(BecomeMethod::Doas),
        Some(other) => Err(Diagnostic::new(format!("become method {other:?} is not supported"))
            .hint("use sudo, su or doas")
            .into()),
    }
}

struct Passwords {
    ssh: Option<Secret>,
    r#become: Option<Secret>,
}

impl Passwords {
    fn ask(args: &RunArgs) -> Result<Self> {
        let read = |prompt: &str| {
            rpassword::prompt_password(prompt)
                .map(Secret)
                .context("cannot read the password from the terminal")
        };
        let ssh = args.ask_pass.then(|| read("SSH password: ")).transpose()?;
        let mut r#become =
            args.ask_become_pass.then(|| read("BECOME password[defaults to SSH password]: ")).transpose()?;
        if r#become.as_ref().is_some_and(|p| p.0.is_empty()) {
            r#become.clone_from(&ssh);
        }
        Ok(Self { ssh, r#become })
    }
}

/// Asks on the terminal.
fn ask() -> Ask {
    Arc::new(|question: &Question| {
        if !std::io::stdin().is_terminal() {
            return question.default.clone().ok_or_else(|| {
                format!("{} is asked for, and there is no terminal to answer on", question.variable)
            });
        }
        loop {
            let answer = answer(question).map_err(|e| e.to_string())?;
            if !question.confirm
                || answer
                    == self::answer(&Question {
                        text: format!("confirm {}", question.text),
                        ..question.clone()
                    })
                    .map_err(|e| e.to_string())?
            {
                return Ok(answer);
            }
            tell("***** VALUES ENTERED DO NOT MATCH ****");
        }
    })
}

fn answer(question: &Question) -> std::io::Result<String> {
    let default = question
        .default
        .as_ref()
        .filter(|_| !question.private)
        .map(|d| format!(" [{d}]"))
        .unwrap_or_default();
    let prompt = format!("{}{default}: ", question.text);
    let mut typed = String::new();
    if question.private {
        typed = rpassword::prompt_password(prompt)?;
    } else {
        let mut out = std::io::stderr();
        out.write_all(prompt.as_bytes())?;
        out.flush()?;
        std::io::stdin().lock().read_line(&mut typed)?;
    }
    let typed = typed.trim_end_matches(['\n', '\r']);
    Ok(if typed.is_empty() { question.default.clone().unwrap_or_default() } else { typed.to_owned() })
}

/// The first Ctrl-C (or SIGTERM) stops cleanly, the second at once.
fn stop_on_signal(stop: CancellationToken) {
    tokio::spawn(async move {
        let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        else {
            return;
        };
        loop {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            if stop.is_cancelled() {
                std::process::exit(130);
            }
            tell("stopping: the running tasks are broken off; once more to leave at once");
            stop.cancel();
        }
    });
}

#[expect(clippy::print_stderr, reason = "a word to the person at the terminal")]
fn tell(text: &str) {
    eprintln!("{text}");
}

fn width() -> usize {
    let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
    columns
        .or_else(|| rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|s| usize::from(s.ws_col)))
        .filter(|w| *w > 20)
        .unwrap_or(79)
}
