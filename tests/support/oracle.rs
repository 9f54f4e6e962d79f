//! ansible-core, to compare with: one Python environment that every test shares.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The version that everything is compared at.
pub(crate) const CORE: &str = "ansible-core==2.19.14";

/// A Python with ansible-core, made once and kept beside the build; `Err` says why there is none.
pub(crate) fn python() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(folder).map_err(|e| e.to_string())?;
    let lock = File::create(folder.join("ansible-core-venv.lock")).map_err(|e| e.to_string())?;
    // Other test binaries make the same one.
    lock.lock().map_err(|e| e.to_string())?;
    let venv = folder.join("ansible-core-venv");
    let python = venv.join("bin/python");
    if ready(&python) {
        return Ok(python);
    }
    run(Path::new("python3"), &["-m", "venv", &venv.to_string_lossy()])?;
    run(&python, &["-m", "pip", "install", "--quiet", "--disable-pip-version-check", CORE])?;
    if ready(&python) { Ok(python) } else { Err("ansible-core was installed but cannot be imported".into()) }
}

fn ready(python: &Path) -> bool {
    let version = CORE.rsplit('=').next().unwrap_or_default();
    let check = format!("import ansible.template, ansible.release as r; assert r.__version__ == '{version}'");
    let found = Command::new(python).args(["-c", &check]).stderr(Stdio::null()).status();
    found.is_ok_and(|s| s.success())
}

fn run(program: &Path, args: &[&str]) -> Result<(), String> {
    let done =
        Command::new(program).args(args).output().map_err(|e| format!("{}: {e}", program.display()))?;
    if done.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&done.stderr);
    Err(format!("{}: {}", program.display(), stderr.lines().last().unwrap_or("no reason given")))
}
