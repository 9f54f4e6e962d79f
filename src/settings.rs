//! What the user has set: `ansible.cfg`, `quaylab.cfg`, the environment, and defaults. Flags come on top in `cli`.

use std::path::{Path, PathBuf};

use crate::diag::{Diagnostic, closest};
use crate::host::Limits;
use crate::store::expanded;
use crate::value::truth;

/// Settings of a run before its flags are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The files that were read, the stronger last.
    pub files: Vec<PathBuf>,
    /// Inventories, when `-i` is not given.
    pub inventory: Vec<String>,
    /// Hosts worked on at the same time; `None`: as many as there are, at most 200.
    pub forks: Option<usize>,
    pub roles_path: Vec<PathBuf>,
    pub remote_user: Option<String>,
    pub remote_port: Option<u16>,
    pub private_key_file: Option<PathBuf>,
    pub host_key_checking: bool,
    /// Seconds for a connection.
    pub timeout: u64,
    /// How much a host may answer at once (`max_reply_size`, `max_http_size`).
    pub limits: Limits,
    /// Kind of connection (`transport`), where nothing else says it.
    pub connection: Option<String>,
    /// Arguments for OpenSSH, of which jumps and host key checking are understood.
    pub ssh_arguments: Option<String>,
    pub ask_pass: bool,
    pub force_handlers: bool,
    pub any_errors_fatal: bool,
    pub gathering: Option<String>,
    pub strategy: Option<String>,
    pub run_tags: Vec<String>,
    pub skip_tags: Vec<String>,
    pub diff: bool,
    pub verbosity: u8,
    pub r#become: bool,
    pub become_user: Option<String>,
    pub become_method: Option<String>,
    pub become_exe: Option<String>,
    pub become_flags: Option<String>,
    pub become_ask_pass: bool,
    pub vault: VaultSettings,
    /// What is set but does nothing here, and why; told once.
    pub notes: Vec<String>,
    /// Files that are there and do not count, and why.
    pub passed_over: Vec<String>,
}

/// Where vault passwords come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VaultSettings {
    pub password_file: Option<PathBuf>,
    /// `LABEL@SOURCE`, each.
    pub identities: Vec<String>,
    pub encrypt_identity: Option<String>,
    /// A fixed salt: the same text then becomes the same encrypted text.
    pub salt: Option<String>,
    pub ask: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            inventory: Vec::new(),
            forks: None,
            roles_path: Vec::new(),
            remote_user: None,
            remote_port: None,
            private_key_file: None,
            host_key_checking: true,
            timeout: 10,
            limits: Limits::default(),
            connection: None,
            ssh_arguments: None,
            ask_pass: false,
            force_handlers: false,
            any_errors_fatal: false,
            gathering: None,
            strategy: None,
            run_tags: Vec::new(),
            skip_tags: Vec::new(),
            diff: false,
            verbosity: 0,
            r#become: false,
            become_user: None,
            become_method: None,
            become_exe: None,
            become_flags: None,
            become_ask_pass: false,
            vault: VaultSettings::default(),
            notes: Vec::new(),
            passed_over: Vec::new(),
        }
    }
}

/// Every key: section, name in the file, environment variable.
const KEYS: [(&str, &str, &str); 38] = [
    ("defaults", "inventory", "ANSIBLE_INVENTORY"),
    ("defaults", "forks", "ANSIBLE_FORKS"),
    ("defaults", "roles_path", "ANSIBLE_ROLES_PATH"),
    ("defaults", "remote_user", "ANSIBLE_REMOTE_USER"),
    ("defaults", "remote_port", "ANSIBLE_REMOTE_PORT"),
    ("defaults", "private_key_file", "ANSIBLE_PRIVATE_KEY_FILE"),
    ("defaults", "host_key_checking", "ANSIBLE_HOST_KEY_CHECKING"),
    ("defaults", "timeout", "ANSIBLE_TIMEOUT"),
    ("defaults", "max_reply_size", "QUAYLAB_MAX_REPLY_SIZE"),
    ("defaults", "max_http_size", "QUAYLAB_MAX_HTTP_SIZE"),
    ("defaults", "transport", "ANSIBLE_TRANSPORT"),
    ("defaults", "ask_pass", "ANSIBLE_ASK_PASS"),
    ("defaults", "force_handlers", "ANSIBLE_FORCE_HANDLERS"),
    ("defaults", "any_errors_fatal", "ANSIBLE_ANY_ERRORS_FATAL"),
    ("defaults", "gathering", "ANSIBLE_GATHERING"),
    ("defaults", "strategy", "ANSIBLE_STRATEGY"),
    ("defaults", "hash_behaviour", "ANSIBLE_HASH_BEHAVIOUR"),
    ("defaults", "verbosity", "ANSIBLE_VERBOSITY"),
    ("defaults", "stdout_callback", "ANSIBLE_STDOUT_CALLBACK"),
    ("defaults", "vault_password_file", "ANSIBLE_VAULT_PASSWORD_FILE"),
    ("defaults", "vault_identity_list", "ANSIBLE_VAULT_IDENTITY_LIST"),
    ("defaults", "vault_encrypt_identity", "ANSIBLE_VAULT_ENCRYPT_IDENTITY"),
    ("defaults", "vault_encrypt_salt", "ANSIBLE_VAULT_ENCRYPT_SALT"),
    ("defaults", "ask_vault_pass", "ANSIBLE_ASK_VAULT_PASS"),
    ("defaults", "library", "ANSIBLE_LIBRARY"),
    ("defaults", "filter_plugins", "ANSIBLE_FILTER_PLUGINS"),
    ("defaults", "callbacks_enabled", "ANSIBLE_CALLBACKS_ENABLED"),
    ("privilege_escalation", "become", "ANSIBLE_BECOME"),
    ("privilege_escalation", "become_user", "ANSIBLE_BECOME_USER"),
    ("privilege_escalation", "become_method", "ANSIBLE_BECOME_METHOD"),
    ("privilege_escalation", "become_exe", "ANSIBLE_BECOME_EXE"),
    ("privilege_escalation", "become_flags", "ANSIBLE_BECOME_FLAGS"),
    ("privilege_escalation", "become_ask_pass", "ANSIBLE_BECOME_ASK_PASS"),
    ("ssh_connection", "ssh_args", "ANSIBLE_SSH_ARGS"),
    ("ssh_connection", "ssh_common_args", "ANSIBLE_SSH_COMMON_ARGS"),
    ("tags", "run", "ANSIBLE_RUN_TAGS"),
    ("tags", "skip", "ANSIBLE_SKIP_TAGS"),
    ("diff", "always", "ANSIBLE_DIFF_ALWAYS"),
];

/// What is done with a key that is none of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unknown {
    /// In `quaylab.cfg` it can only be a mistake.
    Refused,
    /// `ansible.cfg` is also read by programs that know more keys.
    LeftAlone,
}

impl Settings {
    /// Reads `ansible.cfg` (`$ANSIBLE_CONFIG`, here, `~/.ansible.cfg`, `/etc/ansible/`), over it `quaylab.cfg`
    /// (`$QUAYLAB_CONFIG`, here, `~/.quaylab.cfg`), and over both the environment.
    pub fn load() -> Result<Self, Diagnostic> {
        let mut settings = Self::default();
        let etc = Some(PathBuf::from("/etc/ansible/ansible.cfg"));
        for (variable, name, last, unknown) in [
            ("ANSIBLE_CONFIG", "ansible.cfg", etc, Unknown::LeftAlone),
            ("QUAYLAB_CONFIG", "quaylab.cfg", None, Unknown::Refused),
        ] {
            let (path, passed_over) = chosen(variable, name, last, Path::new("."))?;
            settings.passed_over.extend(passed_over);
            if let Some(path) = path {
                settings.read(&path, unknown)?;
                settings.files.push(path);
            }
        }
        for (section, key, name) in KEYS {
            if let Some(value) = variable(name) {
                settings
                    .set(section, key, &value, Path::new("."))
                    .map_err(|e| Diagnostic::new(format!("{name}: {e}")))?;
            }
        }
        Ok(settings)
    }

    fn read(&mut self, path: &Path, unknown: Unknown) -> Result<(), Diagnostic> {
        let wrong = |e: String| Diagnostic::new(format!("{}: {e}", path.display()));
        let name = path.to_string_lossy();
        let sections = ini::ini!(safe name.as_ref() as &str).map_err(wrong)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        for (section, keys) in sections {
            for (key, value) in keys {
                if KEYS.iter().any(|(s, k, _)| *s == section && *k == key) {
                    self.set(&section, &key, value.as_deref().unwrap_or(""), folder).map_err(wrong)?;
                } else if unknown == Unknown::Refused {
                    let near =
                        closest(&key, KEYS.iter().map(|(_, k, _)| *k)).map(|n| format!("did you mean {n}?"));
                    return Err(wrong(format!("[{section}] {key} is not a setting")).hint_opt(near));
                }
            }
        }
        Ok(())
    }

    fn set(&mut self, section: &str, key: &str, value: &str, folder: &Path) -> Result<(), String> {
        let flag = || truth(&value.into()).ok_or_else(|| format!("{key} must be a boolean, not {value:?}"));
        let number =
            || value.trim().parse::<u64>().map_err(|_| format!("{key} must be a number, not {value:?}"));
        let path = |text: &str| folder.join(expanded(text));
        let parts = || value.split(',').map(str::trim).filter(|p| !p.is_empty());
        let text = || Some(value.trim()).filter(|v| !v.is_empty()).map(str::to_owned);
        match (section, key) {
            ("defaults", "inventory") => {
                // A list of hosts is no path.
                let list = value.contains(',') && !parts().any(|part| path(part).exists());
                self.inventory = if list {
                    vec![value.to_owned()]
                } else {
                    parts().map(|part| path(part).to_string_lossy().into_owned()).collect()
                };
            }
            (_, "forks") => self.forks = usize::try_from(number()?).ok().filter(|n| *n > 0),
            (_, "roles_path") => self.roles_path = value.split(':').map(path).collect(),
            (_, "remote_user") => self.remote_user = text(),
            (_, "remote_port") => {
                self.remote_port =
                    Some(u16::try_from(number()?).map_err(|_| format!("{value:?} is no port: 1 to 65535"))?);
            }
            (_, "private_key_file") => self.private_key_file = Some(path(value)),
            (_, "host_key_checking") => self.host_key_checking = flag()?,
            (_, "timeout") => self.timeout = number()?,
            (_, "max_reply_size") => self.limits.reply = size(key, value)?,
            (_, "max_http_size") => self.limits.http = size(key, value)?,
            (_, "transport") => self.connection = text().filter(|t| t != "smart"),
            (_, "ask_pass") => self.ask_pass = flag()?,
            (_, "force_handlers") => self.force_handlers = flag()?,
            (_, "any_errors_fatal") => self.any_errors_fatal = flag()?,
            (_, "gathering") => match value.trim() {
                "implicit" | "explicit" | "smart" => self.gathering = text(),
                other => return Err(format!("gathering is implicit, explicit or smart, not {other:?}")),
            },
            (_, "strategy") => self.strategy = text(),
            (_, "hash_behaviour") if value.trim() != "replace" => {
                return Err(format!(
                    "hash_behaviour = {value} is not supported: mappings of one name replace each other; merge them with \
                     the filter `combine`"
                ));
            }
            (_, "verbosity") => self.verbosity = u8::try_from(number()?).unwrap_or(4),
            (_, "stdout_callback") if !["default", "ansible.builtin.default"].contains(&value.trim()) => {
                self.notes
                    .push(format!("stdout_callback = {value} is not used: the output is that of `default`"));
            }
            (_, "library" | "filter_plugins" | "callbacks_enabled") => {
                self.notes
                    .push(format!("{key} is not used: modules, filters and callbacks in Python are not run"));
            }
            (_, "vault_password_file") => self.vault.password_file = Some(path(value)),
            (_, "vault_identity_list") => {
                self.vault.identities = parts()
                    .map(|part| match part.split_once('@') {
                        Some((_, "prompt" | "prompt_ask_vault_pass")) => part.to_owned(),
                        Some((label, file)) => format!("{label}@{}", path(file).display()),
                        None => path(part).display().to_string(),
                    })
                    .collect();
            }
            (_, "vault_encrypt_identity") => self.vault.encrypt_identity = text(),
            (_, "vault_encrypt_salt") => self.vault.salt = text(),
            (_, "ask_vault_pass") => self.vault.ask = flag()?,
            (_, "become") => self.r#become = flag()?,
            (_, "become_user") => self.become_user = text(),
            (_, "become_method") => self.become_method = text(),
            (_, "become_exe") => self.become_exe = text(),
            (_, "become_flags") => self.become_flags = text(),
            (_, "become_ask_pass") => self.become_ask_pass = flag()?,
            (_, "ssh_args" | "ssh_common_args") => {
                let all = [self.ssh_arguments.take(), text()];
                self.ssh_arguments = Some(all.into_iter().flatten().collect::<Vec<_>>().join(" "));
            }
            ("tags", "run") => self.run_tags = parts().map(str::to_owned).collect(),
            ("tags", "skip") => self.skip_tags = parts().map(str::to_owned).collect(),
            ("diff", "always") => self.diff = flag()?,
            _ => {}
        }
        Ok(())
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}

/// Whether everybody may write to a folder, and so may put things there for others to use.
pub fn open_to_all(folder: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(folder).is_ok_and(|there| there.permissions().mode() & 0o002 != 0)
}

/// Why something in the folder of the call does not count, in Ansible's words.
pub fn passed_over(what: &str) -> String {
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    let a = if what.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!(
        "quaylab is being run in a world writable directory ({}), ignoring it as {a} {what}",
        here.display()
    )
}

/// The file that a variable names, or the first of the usual ones; and whether one of them is passed over because everybody
/// may write to the folder. The rule is Ansible's: what is named counts, what is only found there does not.
fn chosen(
    name: &str,
    file: &str,
    last: Option<PathBuf>,
    here: &Path,
) -> Result<(Option<PathBuf>, Option<String>), Diagnostic> {
    if let Some(named) = variable(name) {
        let named = PathBuf::from(named);
        // Ansible takes a folder for the file inside.
        let path = if named.is_dir() { named.join(file) } else { named };
        return if path.is_file() || path.to_str() == Some("/dev/null") {
            Ok((Some(path).filter(|p| p.is_file()), None))
        } else if name == "ANSIBLE_CONFIG" {
            Ok((None, None))
        } else {
            Err(Diagnostic::new(format!("{name} names {}, which is not a file", path.display())))
        };
    }
    let mut in_folder = Some(if here == Path::new(".") { PathBuf::from(file) } else { here.join(file) });
    let mut warning = None;
    if open_to_all(here) && in_folder.take().is_some_and(|path| path.exists()) {
        warning = Some(passed_over(&format!("{file} source")));
    }
    let home = variable("HOME").map(|h| Path::new(&h).join(format!(".{file}")));
    let usual = [in_folder, home, last];
    Ok((usual.into_iter().flatten().find(|p| p.is_file()), warning))
}

/// The least that an answer may be limited to: what quaylab itself asks must fit.
const LEAST: usize = 1 << 20;

/// A size as `64M`, `64 MiB`, or a number of bytes.
fn size(key: &str, text: &str) -> Result<usize, String> {
    let wrong = || format!("{key} must be a size such as 64M, not {text:?}");
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return Err(wrong()),
    };
    let bytes = number.parse::<usize>().map_err(|_| wrong())?.checked_mul(1 << shift).ok_or_else(wrong)?;
    if bytes < LEAST {
        return Err(format!("{key} must be 1M or more, not {text:?}"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("quaylab.cfg");
        std::fs::write(&path, text).expect("written");
        let mut settings = Settings::default();
        settings
            .read(&path, Unknown::Refused)
            .map_err(|e| e.to_string().replace(&folder.path().display().to_string(), ""))?;
        Ok(settings)
    }

    #[test]
    fn a_file_sets_what_it_names() {
        let settings =
            read("[defaults]\nforks = 7\nhost_key_checking = no\n[privilege_escalation]\nbecome = true\n")
                .expect("valid");
        assert_eq!((settings.forks, settings.host_key_checking, settings.r#become), (Some(7), false, true));
    }

    #[test]
    fn sizes_are_read_with_their_units() {
        let limit =
            |text: &str| read(&format!("[defaults]\nmax_reply_size = {text}\n")).map(|s| s.limits.reply);
        for (text, bytes) in [("64M", 64 << 20), ("1 GiB", 1 << 30), ("2097152", 2 << 20), ("2048k", 2 << 20)]
        {
            assert_eq!(limit(text), Ok(bytes), "{text}");
        }
        for text in ["0", "many", "12x", "512k", "-1", "99999999999999999999G"] {
            assert!(limit(text).expect_err(text).contains("max_reply_size must be"), "{text}");
        }
        assert_eq!(read("[defaults]\nmax_http_size = 2M\n").expect("valid").limits.http, 2 << 20);
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(
            read("[defaults]\nfork = 7\n").expect_err("unknown"),
            "/quaylab.cfg: [defaults] fork is not a setting\n  hint: did you mean forks?"
        );
        assert_eq!(
            read("[defaults]\nforks = many\n").expect_err("no number"),
            "/quaylab.cfg: forks must be a number, not \"many\""
        );
    }

    #[test]
    fn files_of_ansibles_are_read_too() {
        let mut settings = Settings::default();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ansible.cfg");
        let text = "[defaults]\ninventory = hosts\nlog_path = x\nstdout_callback = yaml\nvault_identity_list = dev@pw, prod@prompt\n\
                    [ssh_connection]\nssh_args = -J gw\npipelining = true\n[tags]\nrun = a,b\n";
        std::fs::write(&path, text).expect("written");
        settings.read(&path, Unknown::LeftAlone).expect("valid");
        assert_eq!(settings.inventory, [folder.path().join("hosts").to_string_lossy()]);
        assert_eq!(
            settings.vault.identities,
            [format!("dev@{}/pw", folder.path().display()), "prod@prompt".into()]
        );
        assert_eq!((settings.ssh_arguments.as_deref(), settings.run_tags.len()), (Some("-J gw"), 2));
        assert_eq!(settings.notes.len(), 1);
        std::fs::write(&path, "[defaults]\nhash_behaviour = merge\n").expect("written");
        assert!(settings.read(&path, Unknown::LeftAlone).is_err());
    }

    #[test]
    fn what_everybody_may_put_somewhere_does_not_count() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let here = folder.path();
        let chosen = || chosen("QUAYLAB_TEST_NO_SUCH", "quaylab-test.cfg", None, here).expect("looked for");
        for (mode, there, counts) in [
            (0o755, true, true),
            (0o777, true, false),
            (0o1777, true, false),
            (0o777, false, false),
            (0o775, true, true),
        ] {
            std::fs::set_permissions(here, std::fs::Permissions::from_mode(mode)).expect("set");
            let file = here.join("quaylab-test.cfg");
            if there {
                std::fs::write(&file, "").expect("written");
            } else {
                std::fs::remove_file(&file).expect("removed");
            }
            let (path, warning) = chosen();
            assert_eq!(path.is_some(), counts, "{mode:o}");
            let told = warning.is_some_and(|w| w.contains("world writable directory"));
            assert_eq!(told, there && !counts, "{mode:o}");
        }
    }
}
