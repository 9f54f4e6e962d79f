//! What the folder says in which the program is started: settings, roles and a playbook of one's own. Where everybody may write, nothing of it counts.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::tell;
use crate::settings::{Settings, open_to_all, passed_over};

/// The settings; a file that is passed over is told.
pub(super) fn settings() -> Result<Settings> {
    let settings = Settings::load()?;
    for text in &settings.passed_over {
        tell(&format!("[WARNING]: {text}"));
    }
    Ok(settings)
}

/// The folder of roles here, and where else they are looked for.
pub(super) fn roles() -> Option<PathBuf> {
    let roles = PathBuf::from("roles");
    let open = open_to_all(Path::new(".")) || open_to_all(&roles);
    if open && roles.exists() {
        tell(&format!("[WARNING]: {}", passed_over("source of roles")));
    }
    (!open).then_some(roles)
}

/// The product's own playbook, where this folder has one that takes its place.
pub(super) fn playbook() -> Option<PathBuf> {
    let own = PathBuf::from("playbooks/quaylab.yml");
    let open = open_to_all(Path::new(".")) || open_to_all(Path::new("playbooks"));
    if open && own.is_file() {
        tell(&format!("[WARNING]: {}", passed_over("source of playbooks/quaylab.yml")));
    }
    Some(own).filter(|own| !open && own.is_file())
}
