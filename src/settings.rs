//! What the user has set: `quaylab.cfg`, the environment, and defaults. Flags come on top in `cli`.

use std::path::{Path, PathBuf};

use crate::diag::{Diagnostic, closest};
use crate::value::truth;

/// Settings of a run before its flags are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The file that was read, if there was one.
    pub file: Option<PathBuf>,
    /// Inventories, when `-i` is not given.
    pub inventory: Vec<String>,
    /// Hosts worked on at the same time; `None`: as many as there are, at most 200.
    pub forks: Option<usize>,
    pub roles_path: Vec<PathBuf>,
    pub remote_user: Option<String>,
    pub private_key_file: Option<PathBuf>,
    pub host_key_checking: bool,
    /// Seconds for a connection.
    pub timeout: u64,
    pub force_handlers: bool,
    pub r#become: bool,
    pub become_user: Option<String>,
    pub become_method: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            file: None,
            inventory: Vec::new(),
            forks: None,
            roles_path: Vec::new(),
            remote_user: None,
            private_key_file: None,
            host_key_checking: true,
            timeout: 10,
            force_handlers: false,
            r#become: false,
            become_user: None,
            become_method: None,
        }
    }
}

/// Every key: section, name in the file, environment variable.
const KEYS: [(&str, &str, &str); 11] = [
    ("defaults", "inventory", "ANSIBLE_INVENTORY"),
    ("defaults", "forks", "ANSIBLE_FORKS"),
    ("defaults", "roles_path", "ANSIBLE_ROLES_PATH"),
    ("defaults", "remote_user", "ANSIBLE_REMOTE_USER"),
    ("defaults", "private_key_file", "ANSIBLE_PRIVATE_KEY_FILE"),
    ("defaults", "host_key_checking", "ANSIBLE_HOST_KEY_CHECKING"),
    ("defaults", "timeout", "ANSIBLE_TIMEOUT"),
    ("defaults", "force_handlers", "ANSIBLE_FORCE_HANDLERS"),
    ("privilege_escalation", "become", "ANSIBLE_BECOME"),
    ("privilege_escalation", "become_user", "ANSIBLE_BECOME_USER"),
    ("privilege_escalation", "become_method", "ANSIBLE_BECOME_METHOD"),
];

impl Settings {
    /// Reads `$QUAYLAB_CONFIG`, else `./quaylab.cfg`, else `~/.quaylab.cfg`, then the environment.
    pub fn load() -> Result<Self, Diagnostic> {
        let var = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let home = var("HOME").map(|h| Path::new(&h).join(".quaylab.cfg"));
        let chosen = var("QUAYLAB_CONFIG").map(PathBuf::from);
        if let Some(path) = chosen.as_ref().filter(|p| !p.is_file()) {
            return Err(Diagnostic::new(format!(
                "QUAYLAB_CONFIG names {}, which is not a file",
                path.display()
            )));
        }
        let file = chosen.or_else(|| {
            [Some(PathBuf::from("quaylab.cfg")), home].into_iter().flatten().find(|p| p.is_file())
        });
        let mut settings = Self::default();
        if let Some(path) = file {
            settings.read(&path)?;
            settings.file = Some(path);
        }
        for (_, key, name) in KEYS {
            if let Some(value) = var(name) {
                settings
                    .set(key, &value, Path::new("."))
                    .map_err(|e| Diagnostic::new(format!("{name}: {e}")))?;
            }
        }
        Ok(settings)
    }

    fn read(&mut self, path: &Path) -> Result<(), Diagnostic> {
        let wrong = |e: String| Diagnostic::new(format!("{}: {e}", path.display()));
        let name = path.to_string_lossy();
        let sections = ini::ini!(safe name.as_ref() as &str).map_err(wrong)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        for (section, keys) in sections {
            for (key, value) in keys {
                if !KEYS.iter().any(|(s, k, _)| *s == section && *k == key) {
                    let near =
                        closest(&key, KEYS.iter().map(|(_, k, _)| *k)).map(|n| format!("did you mean {n}?"));
                    return Err(wrong(format!("[{section}] {key} is not a setting")).hint_opt(near));
                }
                self.set(&key, value.as_deref().unwrap_or(""), folder).map_err(wrong)?;
            }
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: &str, folder: &Path) -> Result<(), String> {
        let flag = || truth(&value.into()).ok_or_else(|| format!("{key} must be a boolean, not {value:?}"));
        let number =
            || value.trim().parse::<u64>().map_err(|_| format!("{key} must be a number, not {value:?}"));
        let path = |text: &str| match (text.strip_prefix("~/"), std::env::var_os("HOME")) {
            (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
            _ => folder.join(text),
        };
        match key {
            "inventory" => {
                self.inventory =
                    value.split(',').map(|part| path(part.trim()).to_string_lossy().into_owned()).collect();
            }
            "forks" => self.forks = usize::try_from(number()?).ok().filter(|n| *n > 0),
            "roles_path" => self.roles_path = value.split(':').map(path).collect(),
            "remote_user" => self.remote_user = Some(value.to_owned()),
            "private_key_file" => self.private_key_file = Some(path(value)),
            "host_key_checking" => self.host_key_checking = flag()?,
            "timeout" => self.timeout = number()?,
            "force_handlers" => self.force_handlers = flag()?,
            "become" => self.r#become = flag()?,
            "become_user" => self.become_user = Some(value.to_owned()),
            "become_method" => self.become_method = Some(value.to_owned()),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("quaylab.cfg");
        std::fs::write(&path, text).expect("written");
        let mut settings = Settings::default();
        settings.read(&path).map_err(|e| e.to_string().replace(&folder.path().display().to_string(), ""))?;
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
}
