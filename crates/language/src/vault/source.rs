//! Where passwords come from: files, programs, questions.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{DEFAULT_ID, Key, VaultError};
use crate::children;

/// One `--vault-id`: a label and what gives the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub id: String,
    pub from: From,
}

/// What gives a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    Prompt,
    /// A file that holds the password, or a program that prints it.
    File(PathBuf),
}

/// Asks for a password, with these words; `true` where it is a new one, which is asked for twice.
pub type Prompt<'a> = &'a dyn Fn(&str, bool) -> Result<String, VaultError>;

impl Source {
    /// Reads `LABEL@SOURCE` or `SOURCE`.
    pub fn parse(text: &str) -> Result<Self, VaultError> {
        let (id, from) = text.split_once('@').unwrap_or((DEFAULT_ID, text));
        if id.contains(';') || from.is_empty() {
            return Err(VaultError::Source(format!(
                "{text:?} is not a vault id: it is LABEL@FILE, LABEL@prompt or FILE"
            )));
        }
        let id = if id.is_empty() { DEFAULT_ID } else { id };
        Ok(match from {
            "prompt" | "prompt_ask_vault_pass" => Self { id: id.to_owned(), from: From::Prompt },
            path => Self::file(id, Path::new(path)),
        })
    }

    /// A password file without a label.
    pub fn file(id: &str, path: &Path) -> Self {
        Self { id: id.to_owned(), from: From::File(crate::store::expanded(path)) }
    }

    /// A question for a password without a label.
    pub fn prompt() -> Self {
        Self { id: DEFAULT_ID.to_owned(), from: From::Prompt }
    }

    /// Gets the password; `new` asks for one that is not in use yet.
    pub fn key(&self, new: bool, prompt: Prompt<'_>) -> Result<Key, VaultError> {
        let password = match &self.from {
            From::Prompt => {
                let label = if self.id == DEFAULT_ID { String::new() } else { format!(" ({})", self.id) };
                let what = if new { "New vault password" } else { "Vault password" };
                prompt(&format!("{what}{label}: "), new)?
            }
            From::File(path) => self.read(path)?,
        };
        if password.is_empty() {
            return Err(VaultError::Source(match &self.from {
                From::Prompt => "the vault password is empty".into(),
                From::File(path) => format!("the vault password in {} is empty", path.display()),
            }));
        }
        Ok(Key::new(self.id.clone(), password))
    }

    fn read(&self, path: &Path) -> Result<String, VaultError> {
        let shown = path.display();
        let wrong = |why: String| VaultError::Source(format!("the vault password file {shown}: {why}"));
        let meta = std::fs::metadata(path).map_err(|e| wrong(e.to_string()))?;
        let bytes = if meta.is_file() && meta.permissions().mode() & 0o111 != 0 {
            self.ask_program(path)?
        } else {
            std::fs::read(path).map_err(|e| wrong(e.to_string()))?
        };
        let text = String::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8".into()))?;
        Ok(text.trim().to_owned())
    }

    /// Runs a program; one whose name ends in `-client` is told the label.
    fn ask_program(&self, path: &Path) -> Result<Vec<u8>, VaultError> {
        let shown = path.display();
        let wrong = |why: String| VaultError::Source(format!("the vault password program {shown}: {why}"));
        let program = std::path::absolute(path).map_err(|e| wrong(e.to_string()))?;
        let mut command = Command::new(program);
        if path.file_stem().is_some_and(|name| name.to_string_lossy().ends_with("-client")) {
            command.args(["--vault-id", &self.id]);
        }
        let done = children::output(command.stdin(Stdio::null()).stderr(Stdio::inherit()))
            .map_err(|e| wrong(e.to_string()))?;
        if done.status.success() {
            Ok(done.stdout)
        } else {
            Err(wrong(format!("it ended with {}", done.status)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_prompt(_: &str, _: bool) -> Result<String, VaultError> {
        Err(VaultError::Source("nobody to ask".into()))
    }

    #[test]
    fn every_form_is_read() {
        let source = |text: &str| Source::parse(text).map(|s| (s.id, s.from));
        let file = |path: &str| From::File(PathBuf::from(path));
        assert_eq!(source("pw.txt"), Ok(("default".into(), file("pw.txt"))));
        assert_eq!(source("dev@/etc/pw"), Ok(("dev".into(), file("/etc/pw"))));
        assert_eq!(source("dev@prompt"), Ok(("dev".into(), From::Prompt)));
        assert_eq!(source("@prompt"), Ok(("default".into(), From::Prompt)));
        assert!(source("dev@").is_err());
        assert!(source("a;b@prompt").is_err());
    }

    #[test]
    fn files_and_programs_give_passwords() {
        let folder = tempfile::tempdir().expect("a folder");
        let make = |name: &str, text: &str, mode: u32| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
            path
        };
        let sealed_with = |path: &Path, id: &str| {
            let key = Source::file(id, path).key(false, &no_prompt)?;
            key.seal(b"x", Some(b"salt"))
        };
        let expected = |password: &str, id: &str| Key::new(id, password).seal(b"x", Some(b"salt"));
        let file = make("pw", "s3cret\n", 0o600);
        assert_eq!(sealed_with(&file, "default"), expected("s3cret", "default"));
        let program = make("pw.sh", "#!/bin/sh\necho from-$1-program\n", 0o700);
        assert_eq!(sealed_with(&program, "dev"), expected("from--program", "dev"));
        let client = make("pw-client.sh", "#!/bin/sh\necho \"$1 $2\"\n", 0o700);
        assert_eq!(sealed_with(&client, "dev"), expected("--vault-id dev", "dev"));
        let empty = make("empty", "\n", 0o600);
        assert!(sealed_with(&empty, "default").is_err());
        let failing = make("no.sh", "#!/bin/sh\nexit 3\n", 0o700);
        assert!(sealed_with(&failing, "default").is_err());
    }
}
