use std::ffi::OsString;
use std::path::PathBuf;

/// Nobody says where this user's files are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("nothing says where {what} shall lie: neither HOME nor {variable} is set")]
pub struct NoHome {
    what: &'static str,
    variable: &'static str,
}

impl NoHome {
    pub const HINT: &'static str = "set HOME to a folder that only you may write";
}

/// Where programs keep a user's state: `$XDG_STATE_HOME`, else `~/.local/state`.
pub fn state_home() -> Result<PathBuf, NoHome> {
    home("XDG_STATE_HOME", ".local/state", "what is remembered of labs")
}

/// Where programs keep a user's data: `$XDG_DATA_HOME`, else `~/.local/share`.
pub fn data_home() -> Result<PathBuf, NoHome> {
    home("XDG_DATA_HOME", ".local/share", "what is unpacked from bundles")
}

fn home(variable: &'static str, below: &str, what: &'static str) -> Result<PathBuf, NoHome> {
    let root = rustix::process::geteuid().is_root();
    found(&|name| std::env::var_os(name), root, variable, below).ok_or(NoHome { what, variable })
}

/// Root without a home has `/var/lib`, which is root's alone. Another user has no folder that nobody else may write to, and
/// a shared one will not do.
fn found(var: &dyn Fn(&str) -> Option<OsString>, root: bool, variable: &str, below: &str) -> Option<PathBuf> {
    let path = |name: &str| var(name).map(PathBuf::from).filter(|p| p.is_absolute());
    path(variable)
        .or_else(|| path("HOME").map(|home| home.join(below)))
        .or_else(|| root.then(|| PathBuf::from("/var/lib")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_files_lie_in_folders_of_the_user() {
        for (home, state, root, expected) in [
            (Some("/h"), None, false, Some("/h/.local/state")),
            (Some("/h"), Some("/s"), false, Some("/s")),
            (Some("/h"), Some("s"), false, Some("/h/.local/state")),
            (None, None, true, Some("/var/lib")),
            (None, None, false, None),
            (Some(""), Some(""), false, None),
            (Some("h"), None, false, None),
        ] {
            let var = |name: &str| if name == "HOME" { home } else { state }.map(OsString::from);
            let found = found(&var, root, "XDG_STATE_HOME", ".local/state");
            assert_eq!(found, expected.map(PathBuf::from), "{home:?} {state:?} {root}");
        }
    }
}
