use schemars::JsonSchema;
use serde::Deserialize;

use crate::args::Presence;
use crate::host::Secret;
use crate::{Mode, ModuleError, RemotePath};

use super::apr1;
use super::attributes::Attributes;
use super::edit::{Edit, Edited, Edition, edits, failed, lines_of};

/// One user of a password file for HTTP basic authentication.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HtPasswd {
    #[serde(alias = "dest", alias = "destfile")]
    path: RemotePath,
    #[serde(alias = "username")]
    name: String,
    /// In clear; an entry that it opens stays as it is.
    #[serde(default, deserialize_with = "secret")]
    #[schemars(with = "Option<String>")]
    password: Option<Secret>,
    #[serde(default)]
    state: Presence,
    /// How a new entry is written: `bcrypt` or `apr_md5_crypt`.
    #[serde(default, alias = "crypt_scheme")]
    hash_scheme: Scheme,
    /// Make the file if it is missing.
    #[serde(default = "crate::args::yes")]
    create: bool,
    mode: Option<Mode>,
    owner: Option<String>,
    group: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Scheme {
    #[default]
    AprMd5Crypt,
    Bcrypt,
}

/// Every request to a registry costs one check, so the hash is as slow as Apache's own default, not slower.
const COST: u32 = 10;

fn secret<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Option::<String>::deserialize(deserializer).map(|s| s.map(Secret))
}

edits!(HtPasswd, "htpasswd", &["community.general.htpasswd"]);

impl Edit for HtPasswd {
    fn edited(&self) -> Edited<'_> {
        Edited {
            path: &self.path,
            attributes: Attributes {
                mode: self.mode.clone(),
                owner: self.owner.clone(),
                group: self.group.clone(),
            },
            backup: false,
            validate: None,
            secret: true,
        }
    }

    fn check_arguments(&self) -> Result<(), ModuleError> {
        if self.name.is_empty() || self.name.contains([':', '\n']) {
            return Err(ModuleError::Arguments(format!(
                "{:?} cannot be a user's name in such a file",
                self.name
            )));
        }
        if self.state == Presence::Present && self.password.is_none() {
            return Err(ModuleError::Arguments(
                "state is present but the following are missing: password".into(),
            ));
        }
        Ok(())
    }

    fn edit(&self, before: Option<&str>) -> Result<Edition, ModuleError> {
        let name = &self.name;
        let mine = |line: &String| line.split_once(':').is_some_and(|(user, _)| user == name);
        let mut lines = lines_of(before.unwrap_or_default());
        let done = |lines: Vec<String>, message: String| {
            Ok(Edition { text: Some(lines.concat()), message, ..Edition::default() })
        };
        let at = lines.iter().position(mine);
        let (Presence::Present, Some(password)) = (self.state, &self.password) else {
            if before.is_none() {
                let message = format!("{} not present", self.path);
                return Ok(Edition { message, ..Edition::default() });
            }
            if at.is_none() {
                return done(lines, format!("{name} not present"));
            }
            lines.retain(|l| !mine(l));
            return done(lines, format!("Remove {name}"));
        };
        let password = password.0.as_str();
        if before.is_none() && !self.create {
            return Err(failed(257, format!("Destination {} does not exist", self.path)));
        }
        let opens =
            |line: &String| line.trim_end().split_once(':').is_some_and(|(_, hash)| verifies(password, hash));
        if at.is_some_and(|n| lines.get(n).is_some_and(opens)) {
            return done(lines, format!("{name} already present"));
        }
        let line = format!("{name}:{}\n", self.hash(password)?);
        let message = if let Some(n) = at {
            lines[n] = line;
            format!("Update {name}")
        } else {
            {
                if let Some(last) = lines.last_mut().filter(|l| !l.ends_with('\n')) {
                    last.push('\n');
                }
                lines.push(line);
                if before.is_none() {
                    format!("Created {} and added {name}", self.path)
                } else {
                    format!("Add {name}")
                }
            }
        };
        done(lines, message)
    }
}

impl HtPasswd {
    fn hash(&self, password: &str) -> Result<String, ModuleError> {
        match self.hash_scheme {
            Scheme::AprMd5Crypt => Ok(apr1::hash(password)),
            Scheme::Bcrypt => {
                // Apache and Go's registry know the 2y form.
                let parts = bcrypt::hash_with_result(password, COST)
                    .map_err(|e| ModuleError::failed(format!("hashing the password failed: {e}")))?;
                Ok(parts.format_for_version(bcrypt::Version::TwoY))
            }
        }
    }
}

fn verifies(password: &str, hash: &str) -> bool {
    if hash.starts_with("$2") {
        return bcrypt::verify(password, hash).unwrap_or(false);
    }
    apr1::verify(password, hash)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::from_args;

    fn module(scheme: &str, state: &str) -> HtPasswd {
        let args =
            json!({"path": "/f", "name": "quay", "password": "pw", "hash_scheme": scheme, "state": state});
        from_args(args.as_object().cloned().unwrap_or_default()).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn an_entry_that_the_password_opens_stays() {
        for scheme in ["bcrypt", "apr_md5_crypt"] {
            let module = module(scheme, "present");
            let first = module.edit(Some("x:y")).unwrap_or_else(|e| panic!("{e}"));
            let text = first.text.unwrap_or_default();
            assert!(text.starts_with("x:y\nquay:$"), "{text}");
            let again = module.edit(Some(&text)).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!((again.text.as_ref(), again.message.as_str()), (Some(&text), "quay already present"));
        }
        let changed = module("bcrypt", "present").edit(Some("quay:$apr1$x$y\n")).map(|e| e.message);
        assert_eq!(changed.ok().as_deref(), Some("Update quay"));
        let gone = module("bcrypt", "absent").edit(Some("a:b\nquay:z\n"));
        assert_eq!(gone.ok().and_then(|e| e.text).as_deref(), Some("a:b\n"));
    }

    #[test]
    fn the_password_is_not_shown() {
        assert!(!format!("{:?}", module("bcrypt", "present")).contains("\"pw\""));
    }
}
