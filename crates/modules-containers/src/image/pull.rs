use bollard::auth::DockerCredentials;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt;

use super::registry_of;
use crate::docker_config::{DockerConfig, HUB};
use crate::engine::{self, Engine};
use crate::engine_kind::EngineKind;
use crate::host::{Script, Secret};
use crate::{ModuleError, TaskContext};

/// Pulls an image with the given credentials, or with those that the target's user has for that registry.
pub(crate) async fn pull(
    cx: &TaskContext,
    docker: &Engine,
    name: &str,
    platform: Option<&str>,
    credentials: Option<(String, Secret)>,
) -> Result<(), ModuleError> {
    let registry = registry_of(name);
    let credentials = match credentials {
        Some(given) => Some(given),
        // Podman's service looks for its user's by itself.
        None if docker.kind == EngineKind::Podman => None,
        None => own_credentials(cx, registry).await?,
    };
    let anonymous = credentials.is_none();
    let credentials = credentials.map(|(user, password)| DockerCredentials {
        username: Some(user),
        password: Some(password.0),
        serveraddress: Some(registry.to_owned()),
        ..DockerCredentials::default()
    });
    cx.controller.progress(&format!("pulling {name}"));
    let mut options = CreateImageOptionsBuilder::new().from_image(name);
    if let Some(platform) = platform {
        options = options.platform(platform);
    }
    let mut answers = std::pin::pin!(docker.create_image(Some(options.build()), None, credentials));
    while let Some(answer) = answers.next().await {
        let info =
            answer.map_err(|e| {
                let text = engine::reason(&e);
                ModuleError::failed(format!("{name} cannot be pulled from {registry}: {text}"))
                    .hint(pull_hint(&text, registry, anonymous, docker.kind))
            })?;
        if let (Some(layer), Some(status)) = (info.id, info.status) {
            cx.controller.progress(&format!("pulling {name}: {layer} {}", status.to_lowercase()));
        }
    }
    Ok(())
}

/// What to try when a pull fails with this text.
fn pull_hint(text: &str, registry: &str, anonymous: bool, kind: EngineKind) -> String {
    let lower = text.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|w| lower.contains(w));
    if has(&["unauthorized", "authentication required", "denied", "no basic auth", "forbidden"]) {
        let who = if anonymous {
            "give username and password, or log in"
        } else {
            "check the user and password, or log in"
        };
        format!(
            "{who} with {} login {registry} on the target; some registries answer so for a name that does not exist",
            kind.program()
        )
    } else if has(&["manifest unknown", "not found", "no such image"]) {
        "check the image's name and tag".into()
    } else if has(&["server gave http response to https"]) {
        format!("{registry} speaks plain HTTP: add it to {}", kind.insecure_registries())
    } else if has(&["certificate", "x509"]) {
        format!("the engine does not trust {registry}: put its CA into {}", kind.authority_of(registry))
    } else if has(&[
        "no such host",
        "lookup",
        "timeout",
        "timed out",
        "refused",
        "unreachable",
        "dial tcp",
        "deadline",
    ]) {
        format!(
            "the target does not reach {registry}: check its DNS, route and proxy, or load the image from an archive"
        )
    } else {
        "load the image from an archive instead (source: load, archive: FILE)".into()
    }
}

/// The credentials that the target's user has stored for a registry (`docker login`, a pull secret).
pub(super) async fn own_credentials(
    cx: &TaskContext,
    registry: &str,
) -> Result<Option<(String, Secret)>, ModuleError> {
    let script = Script::new(r#"f=${DOCKER_CONFIG:-$HOME/.docker}/config.json; [ -f "$f" ] && cat -- "$f""#);
    let reply = cx.shell.run(&script).await?;
    Ok(stored_credentials(&reply.stdout, registry))
}

fn stored_credentials(config: &[u8], registry: &str) -> Option<(String, Secret)> {
    let config = DockerConfig::read(config, "config.json").ok()?;
    if registry == "docker.io" {
        return ["docker.io", HUB, "index.docker.io"].iter().find_map(|name| config.login(name));
    }
    config.login(registry).or_else(|| config.login(&format!("https://{registry}")))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    use super::*;

    #[test]
    fn stored_credentials_are_found_by_registry() {
        let auth = STANDARD.encode("robot:pw:1");
        let config =
            json!({"auths": {"quay.io": {"auth": auth}, "https://index.docker.io/v1/": {"auth": auth}}});
        let config = config.to_string();
        for (registry, found) in [("quay.io", true), ("docker.io", true), ("example.com", false)] {
            let credentials = stored_credentials(config.as_bytes(), registry);
            assert_eq!(credentials, found.then(|| ("robot".into(), Secret("pw:1".into()))), "{registry}");
        }
        assert_eq!(stored_credentials(b"", "quay.io"), None);
    }

    #[test]
    fn a_failed_pull_says_what_to_try() {
        for (text, hint) in [
            (
                "unauthorized: access to the requested resource is not authorized",
                "give username and password",
            ),
            ("Get \"https://q/v2/\": dial tcp: lookup q: no such host", "check its DNS, route and proxy"),
            ("manifest for q/a:1 not found: manifest unknown", "check the image's name and tag"),
            ("http: server gave HTTP response to HTTPS client", "docker_insecure_registries"),
            ("x509: certificate signed by unknown authority", "certs.d/q/ca.crt"),
        ] {
            assert!(pull_hint(text, "q", true, EngineKind::Docker).contains(hint), "{text}");
        }
    }
}
