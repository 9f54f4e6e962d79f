use schemars::JsonSchema;
use serde::Deserialize;

use crate::docker_config::DockerConfig;
use crate::host::{Reply, Script, Secret, Step, quote};
use crate::value::Map;
use crate::words::secret;
use crate::{Diff, ModuleError, Plan, RemotePath, RunMode, ShellResource};

/// The target's user is logged in to a registry, for podman: its login file holds these words. Podman itself asks the
/// registry whether they are right before it keeps them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PodmanLogin {
    /// The registry, `HOST` or `HOST:PORT`.
    registry: String,
    username: String,
    #[schemars(with = "String")]
    #[serde(default, deserialize_with = "secret")]
    password: Option<Secret>,
    /// The login file; by default that of `podman login`, which a reboot empties.
    authfile: Option<RemotePath>,
    /// A folder with the certificates of the registry.
    #[serde(alias = "cert_dir")]
    certdir: Option<RemotePath>,
    /// Whether the registry's certificate is judged.
    tlsverify: Option<bool>,
}

/// Where podman keeps a user's logins.
const OWN_FILE: &str = "d=${XDG_RUNTIME_DIR:+$XDG_RUNTIME_DIR/containers}; \
                        f=${REGISTRY_AUTH_FILE:-${d:-/run/containers/$(id -u)}/auth.json}";

impl PodmanLogin {
    fn given(&self) -> Option<(String, Secret)> {
        Some((self.username.clone(), self.password.clone()?))
    }
}

impl ShellResource for PodmanLogin {
    const NAME: &'static str = "podman_login";
    const FQCN: &'static [&'static str] = &["containers.podman.podman_login"];
    /// Who the login file names, and with what.
    type Observed = Option<(String, Secret)>;

    fn validate(&self) -> Result<(), ModuleError> {
        let wrong = |text: &str| Err(ModuleError::Arguments(text.to_owned()));
        match &self.password {
            None => wrong("password is needed: nobody can be asked for it on the target"),
            Some(password) if password.0.contains('\n') => wrong("a password has no line's end"),
            Some(_) if self.registry.starts_with('-') || self.registry.is_empty() => {
                wrong("registry is HOST or HOST:PORT")
            }
            Some(_) => Ok(()),
        }
    }

    fn probe(&self) -> Script {
        let file = match &self.authfile {
            Some(path) => format!("f={}", quote(path.as_str())),
            None => OWN_FILE.to_owned(),
        };
        Script::new(format!("{file}; [ ! -f \"$f\" ] || cat -- \"$f\""))
    }

    fn read(&self, reply: &Reply) -> Result<Self::Observed, ModuleError> {
        if !reply.ok() {
            return Err(ModuleError::failed(format!("reading the login file: {}", reply.err().trim())));
        }
        let name =
            self.authfile.as_ref().map_or_else(|| "podman's login file".to_owned(), ToString::to_string);
        Ok(DockerConfig::read(&reply.stdout, &name)?.login(&self.registry))
    }

    fn plan(&self, now: &Self::Observed, _: RunMode) -> Result<Plan, ModuleError> {
        if now.is_some() && *now == self.given() {
            return Ok(Plan::default());
        }
        let mut argv: Vec<String> =
            ["podman", "login", "--username", &self.username, "--password-stdin"].map(str::to_owned).to_vec();
        for (flag, path) in [("--authfile", &self.authfile), ("--cert-dir", &self.certdir)] {
            if let Some(path) = path {
                argv.extend([flag.to_owned(), path.to_string()]);
            }
        }
        argv.extend(self.tlsverify.map(|judged| format!("--tls-verify={judged}")));
        argv.push(self.registry.clone());
        let password = self.password.as_ref().map_or("", |p| p.0.as_str());
        let before = now.as_ref().map_or_else(
            || "nobody\n".to_owned(),
            |(user, _)| {
                let same = *user == self.username;
                format!("{user}{}\n", if same { ", with another password" } else { "" })
            },
        );
        let name = format!("login to {}", self.registry);
        Ok(Plan::new(
            vec![Step::Run { argv, stdin: password.as_bytes().to_vec(), environment: Vec::new() }],
            vec![Diff::new(&name, before, format!("{}\n", self.username))],
        ))
    }

    fn result(&self, _now: &Self::Observed) -> Map {
        Map::new()
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    use super::*;
    use crate::from_args;
    use crate::value::Value;

    fn login(more: &[(&str, Value)]) -> PodmanLogin {
        let args = json!({"registry": "quay.lan:8443", "username": "robot", "password": "pw:1"});
        let Value::Object(mut args) = args else { panic!("an object") };
        args.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        from_args(args).expect("arguments")
    }

    #[test]
    fn a_login_is_made_where_the_file_says_another_one() {
        let stored = |user: &str, password: &str| {
            let auth = STANDARD.encode(format!("{user}:{password}"));
            json!({"auths": {"quay.lan:8443": {"auth": auth}}}).to_string()
        };
        for (file, before) in [
            (String::new(), Some("nobody\n")),
            (json!({"auths": {"other.lan": {"auth": "eDp5"}}}).to_string(), Some("nobody\n")),
            (stored("robot", "old"), Some("robot, with another password\n")),
            (stored("somebody", "pw:1"), Some("somebody\n")),
            (stored("robot", "pw:1"), None),
        ] {
            let reply = Reply { status: 0, stdout: file.clone().into_bytes(), stderr: Vec::new() };
            let login = login(&[]);
            let plan = login.plan(&login.read(&reply).expect("read"), RunMode::default()).expect("a plan");
            assert_eq!(plan.diff.first().map(|d| d.before.as_str()), before, "{file}");
            assert_eq!(plan.steps.is_empty(), before.is_none(), "{file}");
        }
    }

    #[test]
    fn the_password_is_in_no_argument() {
        let plan = login(&[("tlsverify", json!(false)), ("authfile", json!("/root/auth.json"))])
            .plan(&None, RunMode::default())
            .expect("a plan");
        let [Step::Run { argv, stdin, .. }] = plan.steps.as_slice() else { panic!("one step") };
        assert_eq!(
            argv.join(" "),
            "podman login --username robot --password-stdin --authfile /root/auth.json --tls-verify=false quay.lan:8443"
        );
        assert_eq!(stdin, b"pw:1");
    }

    #[test]
    fn the_file_is_podmans_own() {
        let probe = |more: &[(&str, Value)]| login(more).probe().text;
        let read = "; [ ! -f \"$f\" ] || cat -- \"$f\"";
        assert_eq!(probe(&[]), format!("{OWN_FILE}{read}"));
        assert_eq!(probe(&[("authfile", json!("/a b"))]), format!("f='/a b'{read}"));
        let none: PodmanLogin = from_args(Map::from_iter([
            ("registry".to_owned(), json!("a")),
            ("username".to_owned(), json!("b")),
        ]))
        .expect("arguments");
        assert!(none.validate().is_err());
    }
}
