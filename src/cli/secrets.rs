//! `quaylab secrets`: the passwords and keys that quaylab made for a lab, as an encrypted file of variables.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;

use super::here;
use super::lab::{Held, Lab, NAME_IT, named};
use super::say::say;
use super::vault::{self, EncryptArgs};
use crate::diag::{Diagnostic, SourceFile};
use crate::host::Secret;
use crate::inventory::Inventory;
use crate::yaml;

/// Options of `quaylab secrets`.
#[derive(Debug, Args)]
pub(super) struct SecretsArgs {
    /// The lab's inventory.
    #[arg(short, long, value_name = "SOURCE")]
    inventory: Vec<String>,
    /// The vault file that is written, or brought up to date.
    file: PathBuf,
    #[command(flatten)]
    keys: EncryptArgs,
}

/// What is made once and kept in the lab's folder, and the variables of roles that take it from there.
const MADE: [(&str, &[&str]); 11] = [
    ("clair_database_password", &["clair_database_password"]),
    ("clair_psk", &["clair_psk"]),
    ("mysql_password", &["mysql_password"]),
    ("mysql_root_password", &["mysql_root_password"]),
    ("postgresql_admin_password", &["postgresql_admin_password"]),
    ("postgresql_password", &["postgresql_password"]),
    ("quay_database_secret_key", &["quay_database_secret_key"]),
    ("quay_secret_key", &["quay_secret_key"]),
    ("redis_password", &["redis_password"]),
    ("registry_http_secret", &["registry_http_secret"]),
    ("registry_password", &["quay_admin_password", "registry_password", "verify_registry_password"]),
];

/// By which a file is known again.
const HEADING: &str = "# The lab's passwords and keys, as `quaylab secrets` wrote them.";

/// Variables with their values.
type Variables = BTreeMap<String, Secret>;

/// Writes them.
pub(super) fn run(args: &SecretsArgs) -> Result<ExitCode> {
    let settings = here::settings()?;
    let sources = named(&args.inventory, &settings, NAME_IT)?;
    let opened = args.keys.vault(&settings)?;
    let lab = Lab::of(&Inventory::load_with(sources, &opened)?.0)?;
    let lab = Held::look(lab, "quaylab secrets")?;
    let made = made(&lab)?;
    let before = match std::fs::symlink_metadata(&args.file) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        _ => Some(vault::open(&args.file, &opened)?),
    };
    let mut all = match &before {
        Some(text) => read(&args.file, text)?,
        None => Variables::new(),
    };
    all.extend(made);
    let text = written(&all);
    let shown = args.file.display();
    if before.is_some_and(|before| *before == text) {
        say(&format!("{shown} holds them already"));
        return Ok(ExitCode::SUCCESS);
    }
    vault::seal(&args.file, &text, &args.keys, &settings)?;
    say(&format!("{shown}: {}", all.keys().cloned().collect::<Vec<_>>().join(", ")));
    say(&format!("used by quaylab run -i INVENTORY -e @{shown}, with the vault's password"));
    Ok(ExitCode::SUCCESS)
}

/// What lies in the lab's folder.
fn made(lab: &Lab) -> Result<Variables> {
    let folder = lab.state_dir.join("secrets");
    let mut all = Variables::new();
    for (name, variables) in MADE {
        let path = folder.join(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                // As Ansible's lookup writes it, its salt may follow.
                let secret = text.split_whitespace().next().unwrap_or_default();
                all.extend(variables.iter().map(|v| ((*v).to_owned(), Secret(secret.to_owned()))));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }
    if all.is_empty() {
        return Err(Diagnostic::new(format!("the lab {} has no passwords here", lab.name))
            .note(format!("they would lie in {}", folder.display()))
            .hint("quaylab run makes them")
            .into());
    }
    Ok(all)
}

/// The variables of a file that was written before.
fn read(path: &Path, text: &str) -> Result<Variables> {
    let foreign = || {
        Diagnostic::new(format!("{} is a vault file of something else", path.display()))
            .hint("name another file, or one that quaylab secrets wrote")
    };
    if !text.contains(HEADING) {
        return Err(foreign().into());
    }
    // Not the file's text: a message would show its lines.
    let (document, _) =
        yaml::load_one(&SourceFile::new(path.display().to_string(), text)).map_err(|_| foreign())?;
    let map = document.as_map().ok_or_else(foreign)?;
    let mut all = Variables::new();
    for (key, value) in map.iter() {
        all.insert(key.key_text(), Secret(value.as_str().ok_or_else(foreign)?.to_owned()));
    }
    Ok(all)
}

fn written(all: &Variables) -> String {
    let line = |(name, secret): (&String, &Secret)| {
        let quoted = serde_json::Value::from(secret.0.as_str()).to_string();
        let template = ["{{", "{%", "{#"].iter().any(|mark| secret.0.contains(mark));
        format!("{name}: {}{quoted}\n", if template { "!unsafe " } else { "" })
    };
    format!("---\n{HEADING}\n{}", all.iter().map(line).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A role that keeps another secret would have it forgotten here.
    #[test]
    fn all_that_roles_keep_is_known() {
        let mut kept = std::collections::BTreeSet::new();
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("roles")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("a folder").map(|e| e.expect("an entry").path()) {
                if entry.is_dir() {
                    folders.push(entry);
                    continue;
                }
                let text = std::fs::read_to_string(&entry).expect("text");
                let names = text.split("'/secrets/").skip(1).filter_map(|rest| rest.split('\'').next());
                kept.extend(names.map(str::to_owned));
            }
        }
        assert!(kept.into_iter().eq(MADE.map(|(name, _)| name.to_owned())));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let all = Variables::from([
            ("clair_psk".to_owned(), Secret("abc".into())),
            ("redis_password".to_owned(), Secret("a\"{{b".into())),
        ]);
        let text = written(&all);
        assert!(text.ends_with("clair_psk: \"abc\"\nredis_password: !unsafe \"a\\\"{{b\"\n"), "{text}");
        assert_eq!(read(Path::new("x"), &text).expect("variables"), all);
        let error = read(Path::new("x"), "password: geheim\n").expect_err("another file").to_string();
        assert!(error.contains("something else") && !error.contains("geheim"), "{error}");
    }
}
