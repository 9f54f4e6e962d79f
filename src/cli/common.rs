//! Options that all programs share which work on hosts, under Ansible's names.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;

use super::ask;
use super::here;
use super::say::{show, tell};
use crate::diag::Diagnostic;
use crate::engine::{Course, Gathering, Options};
use crate::host::{BecomeMethod, Secret};
use crate::http::{Trust, certificates};
use crate::inventory::{Inventory, VarMap, parse_extra_vars};
use crate::settings::Settings;
use crate::vault::{Key, Source, Vault};

/// The most hosts worked on at the same time unless `-f` says otherwise.
const MOST_FORKS: usize = 200;

/// What a host is, how it is reached, and what is known of it.
#[derive(Debug, Args)]
pub(super) struct CommonArgs {
    /// Inventory file, folder, script, or comma-separated list of hosts; may be given several times.
    #[arg(short, long, visible_alias = "inventory-file", value_name = "SOURCE")]
    pub(super) inventory: Vec<String>,
    /// Only these hosts (a pattern).
    #[arg(short, long, value_name = "PATTERN")]
    pub(super) limit: Option<String>,
    /// Say which hosts there are, and stop.
    #[arg(long)]
    pub(super) list_hosts: bool,
    /// Variables: key=value, YAML or JSON, or @FILE.
    #[arg(short, long, value_name = "VARS")]
    pub(super) extra_vars: Vec<String>,
    /// Only say what would change.
    #[arg(short = 'C', long)]
    pub(super) check: bool,
    /// Show what changes in files and states.
    #[arg(short = 'D', long)]
    pub(super) diff: bool,
    /// Hosts worked on at the same time (default: all, at most 200).
    #[arg(short, long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) forks: Option<u16>,
    /// Forget facts of earlier runs (none are kept).
    #[arg(long)]
    pub(super) flush_cache: bool,
    /// Folders with modules in Python, which are not used: all modules are built in.
    #[arg(short = 'M', long, value_name = "FOLDER")]
    module_path: Vec<PathBuf>,
    /// Tell more; up to -vvvv.
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
    #[command(flatten)]
    pub(super) connection: ConnectionArgs,
    #[command(flatten)]
    pub(super) r#become: BecomeArgs,
    #[command(flatten)]
    pub(super) vault: VaultArgs,
}

/// How hosts are reached.
#[derive(Debug, Args)]
pub(super) struct ConnectionArgs {
    /// User to log in as.
    #[arg(short, long)]
    user: Option<String>,
    /// Kind of connection: ssh or local.
    #[arg(short, long)]
    connection: Option<String>,
    /// Ask for the SSH password.
    #[arg(short = 'k', long)]
    ask_pass: bool,
    /// File that holds the SSH password.
    #[arg(long, visible_alias = "conn-pass-file", value_name = "FILE", conflicts_with = "ask_pass")]
    connection_password_file: Option<PathBuf>,
    /// Private key to log in with.
    #[arg(long, visible_alias = "key-file", value_name = "FILE")]
    private_key: Option<PathBuf>,
    /// Seconds to wait for a connection.
    #[arg(short = 'T', long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// OpenSSH's arguments; jumps and host key checking are understood.
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    ssh_common_args: Option<String>,
    /// The same.
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    ssh_extra_args: Option<String>,
    /// Not used: there is no scp.
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true, hide = true)]
    scp_extra_args: Option<String>,
    /// Not used: there is no sftp program.
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true, hide = true)]
    sftp_extra_args: Option<String>,
}

/// Who commands run as.
#[derive(Debug, Args)]
pub(super) struct BecomeArgs {
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
    /// File that holds the password that become needs.
    #[arg(long, visible_alias = "become-pass-file", value_name = "FILE", conflicts_with = "ask_become_pass")]
    become_password_file: Option<PathBuf>,
}

/// Passwords for what is encrypted.
#[derive(Debug, Clone, Args)]
pub(super) struct VaultArgs {
    /// A vault password: LABEL@FILE, LABEL@prompt, or a file or program; may be given several times.
    #[arg(long, value_name = "LABEL@SOURCE")]
    vault_id: Vec<String>,
    /// File that holds a vault password, or program that prints it.
    #[arg(long, visible_alias = "vault-pass-file", value_name = "FILE")]
    vault_password_file: Vec<PathBuf>,
    /// Ask for the vault password.
    #[arg(short = 'J', long, visible_alias = "ask-vault-pass")]
    ask_vault_password: bool,
}

impl VaultArgs {
    /// Everything that gives a password, in Ansible's order.
    pub(super) fn sources(&self, settings: &Settings) -> Result<Vec<Source>> {
        let named = settings.vault.identities.iter().chain(&self.vault_id);
        let mut sources = named.map(|text| Source::parse(text)).collect::<Result<Vec<_>, _>>()?;
        let files = self.vault_password_file.iter();
        let set = settings.vault.password_file.iter().filter(|_| self.vault_password_file.is_empty());
        sources.extend(files.chain(set).map(|path| Source::file(crate::vault::DEFAULT_ID, path)));
        if self.ask_vault_password || settings.vault.ask && sources.is_empty() {
            sources.push(Source::prompt());
        }
        Ok(sources)
    }

    /// The passwords themselves.
    pub(super) fn vault(&self, settings: &Settings) -> Result<Arc<Vault>> {
        let sources = self.sources(settings)?;
        let keys = sources.iter().map(|s| s.key(false, &ask::vault_password));
        Ok(Arc::new(Vault::new(keys.collect::<Result<Vec<Key>, _>>()?)))
    }
}

/// What was read before anything else is done.
pub(super) struct Prepared {
    pub(super) settings: Settings,
    pub(super) vault: Arc<Vault>,
    pub(super) inventory: Inventory,
    pub(super) warnings: Vec<Diagnostic>,
}

impl CommonArgs {
    /// Reads settings, passwords and the inventory. `default` is what is taken for an inventory where none is named.
    pub(super) fn prepare(&self, default: Option<&str>) -> Result<Prepared> {
        let settings = here::settings()?;
        if self.verbosity(&settings) > 0 {
            name_files(&settings, default.is_some())?;
        }
        let vault = self.vault.vault(&settings)?;
        let named = if self.inventory.is_empty() { &settings.inventory } else { &self.inventory };
        let usual: Vec<String> =
            default.iter().filter(|path| Path::new(path).exists()).map(|path| (*path).to_owned()).collect();
        let sources = if named.is_empty() && default.is_some() { &usual } else { named };
        if sources.is_empty() && default.is_none() {
            return Err(Diagnostic::new("no inventory is given")
                .hint("name one with -i, or set `inventory` in the [defaults] of quaylab.cfg")
                .into());
        }
        let (inventory, mut warnings) = Inventory::load_with(sources, &vault)?;
        if sources.is_empty() {
            warnings.push(Diagnostic::new("No inventory was parsed, only implicit localhost is available"));
        }
        if inventory.hosts().next().is_none() && default.is_some() {
            warnings.push(Diagnostic::new(
                "provided hosts list is empty, only localhost is available. Note that the implicit localhost does not match 'all'",
            ));
        }
        warnings.extend(settings.notes.iter().map(Diagnostic::new));
        if !self.module_path.is_empty() {
            warnings.push(Diagnostic::new("--module-path is not used: all modules are built in"));
        }
        Ok(Prepared { settings, vault, inventory, warnings })
    }

    /// The options of a run. Passwords are asked for here.
    pub(super) fn options(&self, prepared: &Prepared, state_dir: PathBuf, lab: String) -> Result<Options> {
        let settings = &prepared.settings;
        let (connection, r#become) = (&self.connection, &self.r#become);
        let ssh = password(
            connection.ask_pass || settings.ask_pass,
            connection.connection_password_file.as_deref(),
            "SSH password: ",
        )?;
        let asks = r#become.ask_become_pass || settings.become_ask_pass;
        let prompt =
            if ssh.is_some() { "BECOME password[defaults to SSH password]: " } else { "BECOME password: " };
        let mut become_password = password(asks, r#become.become_password_file.as_deref(), prompt)?;
        if become_password.as_ref().is_some_and(|p| p.0.is_empty()) {
            become_password.clone_from(&ssh);
        }
        let hosts = prepared.inventory.hosts().count();
        let arguments = [&settings.ssh_arguments, &connection.ssh_common_args, &connection.ssh_extra_args];
        Ok(Options {
            limit: self.limit.clone(),
            tags: settings.run_tags.clone(),
            skip_tags: settings.skip_tags.clone(),
            extra_vars: self.extra_vars(&prepared.vault)?,
            check: self.check,
            diff: self.diff || settings.diff,
            forks: self
                .forks
                .map(usize::from)
                .or(settings.forks)
                .unwrap_or_else(|| hosts.clamp(1, MOST_FORKS)),
            remote_user: connection.user.clone().or_else(|| settings.remote_user.clone()),
            r#become: r#become.r#become || settings.r#become,
            become_user: r#become.become_user.clone().or_else(|| settings.become_user.clone()),
            become_method: become_method(
                r#become.become_method.as_deref().or(settings.become_method.as_deref()),
            )?,
            become_exe: settings.become_exe.clone(),
            become_flags: settings.become_flags.clone(),
            become_password,
            ssh_password: ssh,
            private_key_file: connection.private_key.clone().or_else(|| settings.private_key_file.clone()),
            host_key_checking: settings.host_key_checking,
            timeout: Duration::from_secs(connection.timeout.unwrap_or(settings.timeout)),
            limits: settings.limits,
            verbosity: self.verbosity(settings),
            force_handlers: settings.force_handlers,
            ask: ask::prompts(),
            vault: Arc::clone(&prepared.vault),
            course: Course {
                gathering: match settings.gathering.as_deref() {
                    Some("explicit") => Gathering::Explicit,
                    Some("smart") => Gathering::Smart,
                    _ => Gathering::Implicit,
                },
                strategy: settings.strategy.clone(),
                any_errors_fatal: settings.any_errors_fatal,
                connection: connection.connection.clone().or_else(|| settings.connection.clone()),
                port: settings.remote_port,
                ssh_arguments: arguments.into_iter().flatten().cloned().collect::<Vec<_>>().join(" "),
                ..Course::default()
            },
            ..Options::new(prepared.inventory.clone(), lab, state_dir)
        })
    }

    /// The hosts that `--limit` leaves; all of them where it is wrong, which is said elsewhere.
    pub(super) fn selected(&self, inventory: &Inventory) -> Vec<String> {
        match inventory.select_limited("all", self.limit.as_deref()) {
            Ok((hosts, _)) => hosts,
            Err(_) => inventory.hosts().map(str::to_owned).collect(),
        }
    }

    pub(super) fn verbosity(&self, settings: &Settings) -> u8 {
        self.verbose.max(settings.verbosity)
    }

    pub(super) fn extra_vars(&self, vault: &Vault) -> Result<VarMap> {
        let mut vars = VarMap::new();
        for text in &self.extra_vars {
            vars.extend(parse_extra_vars(text, vault)?);
        }
        Ok(vars)
    }
}

/// Says which settings files count: Ansible's programs on standard output and also where there is none, quaylab beside its output.
fn name_files(settings: &Settings, as_ansible: bool) -> Result<()> {
    let lines = settings.files.iter().map(|file| format!("Using {} as config file", file.display()));
    if !as_ansible {
        lines.for_each(|line| tell(&line));
        return Ok(());
    }
    let lines: Vec<String> = lines.collect();
    if lines.is_empty() {
        return show("No config file found; using defaults\n");
    }
    show(&(lines.join("\n") + "\n"))
}

fn become_method(name: Option<&str>) -> Result<BecomeMethod> {
    match name {
        None | Some("sudo" | "ansible.builtin.sudo") => Ok(BecomeMethod::Sudo),
        Some("su" | "ansible.builtin.su") => Ok(BecomeMethod::Su),
        Some("doas" | "community.general.doas") => Ok(BecomeMethod::Doas),
        Some(other) => Err(Diagnostic::new(format!("become method {other:?} is not supported"))
            .hint("use sudo, su or doas")
            .into()),
    }
}

/// Believes only what an authority signed, or the certificate itself, out of a file in PEM.
pub(super) fn authorities(path: &Path) -> Result<Trust> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Diagnostic::new(format!("{} cannot be read: {error}", path.display()))
            .hint("name a file with a certificate in PEM")
    })?;
    let list = certificates(&text).map_err(|why| {
        Diagnostic::new(format!("{}: {why}", path.display())).hint("name a file with a certificate in PEM")
    })?;
    Ok(Trust::Authorities(list))
}

/// A password that is asked for or stands in a file.
pub(super) fn password(asked: bool, file: Option<&Path>, prompt: &str) -> Result<Option<Secret>> {
    if let Some(path) = file {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the password file {}", path.display()))?;
        return Ok(Some(Secret(text.trim_end_matches(['\n', '\r']).to_owned())));
    }
    asked.then(|| ask::secret(prompt).map(Secret)).transpose()
}
