//! Which files folders hold.

use std::path::{Path, PathBuf};

use super::BundleError;

/// What makes a folder a role's.
const OF_A_ROLE: [&str; 7] = ["tasks", "defaults", "handlers", "vars", "meta", "templates", "files"];

/// The files below a folder, each with its path in it, by path. Links are followed: what they lead to is what counts.
/// `except` is left out: the bundle itself may be made in there.
pub fn files_below(folder: &Path, except: &Path) -> Result<Vec<(String, PathBuf)>, BundleError> {
    let mut all = Vec::new();
    walk(folder, "", except, &mut Vec::new(), &mut all)?;
    all.sort();
    Ok(all)
}

fn walk(
    folder: &Path,
    below: &str,
    except: &Path,
    above: &mut Vec<PathBuf>,
    all: &mut Vec<(String, PathBuf)>,
) -> Result<(), BundleError> {
    let real = folder.canonicalize().map_err(BundleError::io("reading", folder))?;
    if above.contains(&real) {
        return Err(BundleError::refused(
            format!("{} leads back to a folder above it", folder.display()),
            "remove that link, or name the folders one by one",
        ));
    }
    above.push(real);
    for entry in std::fs::read_dir(folder).map_err(BundleError::io("reading", folder))? {
        let path = entry.map_err(BundleError::io("reading", folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
            BundleError::refused(format!("the name of {} is not UTF-8", path.display()), "rename it")
        })?;
        let inside = if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") };
        let meta = path.metadata().map_err(BundleError::io("reading", &path))?;
        if meta.is_dir() {
            // What version control and editors keep belongs to nobody's role.
            if name != ".git" {
                walk(&path, &inside, except, above, all)?;
            }
        } else if !meta.is_file() {
            return Err(BundleError::refused(
                format!("{} is neither a file nor a folder", path.display()),
                "remove it from there",
            ));
        } else if path != except {
            all.push((inside, path));
        }
    }
    above.pop();
    Ok(())
}

/// The roles in a folder of roles, by name; none where there is no such folder.
pub fn roles_in(folder: &Path) -> Result<Vec<(String, PathBuf)>, BundleError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(BundleError::io("reading", folder)(e)),
    };
    let mut all = Vec::new();
    for entry in entries {
        let path = entry.map_err(BundleError::io("reading", folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if is_role(&path) {
            all.push((name.to_owned(), path));
        }
    }
    all.sort();
    Ok(all)
}

/// Whether a folder looks like a role.
pub(super) fn is_role(folder: &Path) -> bool {
    OF_A_ROLE.iter().any(|name| folder.join(name).is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_read_whole_and_in_order() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        for folder in ["r/tasks", "r/.git", "common"] {
            std::fs::create_dir_all(at(folder)).expect("made");
        }
        for file in ["r/tasks/main.yml", "r/b", "r/.git/config", "common/x", "r/out"] {
            std::fs::write(at(file), file).expect("written");
        }
        std::os::unix::fs::symlink("../common", at("r/link")).expect("linked");
        let names = |found: Vec<(String, PathBuf)>| found.into_iter().map(|(n, _)| n).collect::<Vec<_>>();
        let found = files_below(&at("r"), &at("r/out")).expect("read");
        assert_eq!(names(found), ["b", "link/x", "tasks/main.yml"]);
        assert_eq!(names(roles_in(dir.path()).expect("read")), ["r"]);
        assert_eq!(roles_in(&at("none")).expect("read"), []);
        std::os::unix::fs::symlink("..", at("r/tasks/back")).expect("linked");
        let error = files_below(&at("r"), Path::new("")).expect_err("a circle");
        assert!(error.to_string().contains("tasks/back leads back"), "{error}");
        std::fs::remove_file(at("r/tasks/back")).expect("gone");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("r/fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .expect("made");
        let error = files_below(&at("r"), Path::new("")).expect_err("a pipe");
        assert!(error.to_string().contains("neither a file nor a folder"), "{error}");
    }
}
