use std::time::Duration;

use reqwest::header::WWW_AUTHENTICATE;

/// How long the registry may take to say its name.
const SECONDS: u64 = 20;

/// How requests name a registry, and how they get there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// Host and port.
    pub(super) registry: String,
    /// The registry's address, where the name need not lead to it.
    pub(super) proxy: Option<String>,
}

/// Finds out what a registry calls itself.
///
/// Quay puts the name of its configuration into its challenges and locations, whatever it was called by, and clients
/// send no password to another host. So it is called by that name; as the name may be unknown here, the registry's
/// address is then the proxy: a server answers requests that name their whole URL. Over TLS there is no such way.
pub(super) async fn find(registry: String, secure: bool) -> Named {
    let base = format!("http://{registry}");
    let name = if secure { None } else { own_name(&base).await };
    match name.filter(|name| *name != registry) {
        Some(name) => Named { registry: name, proxy: Some(base) },
        None => Named { registry, proxy: None },
    }
}

async fn own_name(base: &str) -> Option<String> {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(SECONDS)).build().ok()?;
    let answer = client.get(format!("{base}/v2/")).send().await.ok()?;
    service_name(answer.headers().get(WWW_AUTHENTICATE)?.to_str().ok()?)
}

/// The name in a challenge, where the token service is the registry itself and is spoken to without TLS.
fn service_name(challenge: &str) -> Option<String> {
    let value = |key: &str| Some(challenge.split_once(&format!("{key}=\""))?.1.split_once('"')?.0);
    let realm: hyper::Uri = value("realm")?.parse().ok()?;
    let name = realm.authority()?.as_str();
    (realm.scheme_str() == Some("http") && value("service") == Some(name)).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_names_the_registry() {
        for (challenge, expected) in [
            (r#"Bearer realm="http://quay.lab.lan/v2/auth",service="quay.lab.lan""#, Some("quay.lab.lan")),
            (r#"Bearer service="q.lan:8080",realm="http://q.lan:8080/v2/auth""#, Some("q.lan:8080")),
            // A token service of its own says nothing of the registry's name.
            (r#"Bearer realm="http://auth.lan/token",service="registry.lan""#, None),
            (r#"Bearer realm="https://quay.lab.lan/v2/auth",service="quay.lab.lan""#, None),
            (r#"Basic realm="registry""#, None),
        ] {
            assert_eq!(service_name(challenge).as_deref(), expected, "{challenge}");
        }
    }
}
