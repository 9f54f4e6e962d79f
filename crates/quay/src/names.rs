use std::net::SocketAddr;
use std::time::Duration;

use reqwest::header::WWW_AUTHENTICATE;

use super::RegistryAddress;
use super::http::ConnectProxy;

/// How long the registry may take to say its name.
const SECONDS: u64 = 20;

/// How requests name a registry, and how they get there.
pub(super) struct Named {
    /// Host and port.
    pub(super) registry: String,
    /// The way there, where the name need not lead to it: a proxy's address.
    pub(super) proxy: Option<String>,
    /// What that proxy is, where it is one of ours: it ends with this.
    _lead: Option<ConnectProxy>,
}

/// Finds out what a registry calls itself, and how requests get to it; `dialled` is a tunnel's end on this machine.
///
/// Quay puts the name of its configuration into its challenges and locations, whatever it was called by, and clients
/// send no password to another host. So it is called by that name; as the name may be unknown here, there is a proxy on
/// the way: over plain HTTP the registry itself, which answers requests that name their whole URL; over TLS one of ours.
pub(super) async fn find(address: &RegistryAddress, dialled: Option<SocketAddr>) -> Named {
    let scheme = if address.secure { "https" } else { "http" };
    let place = dialled.map_or_else(|| address.to_string(), |a| a.to_string());
    let base = format!("{scheme}://{place}");
    let own = own_name(&base, scheme).await.filter(|name| *name != place);
    // A certificate is for the registry's name, and never for a tunnel's end.
    let name = match (own, dialled) {
        (Some(own), _) => own,
        (None, Some(_)) if address.secure => address.to_string(),
        (None, _) => return Named { registry: place, proxy: None, _lead: None },
    };
    if !address.secure {
        return Named { registry: name, proxy: Some(base), _lead: None };
    }
    let full = if name.contains(':') { name.clone() } else { format!("{name}:443") };
    match ConnectProxy::start(full, place.clone()).await {
        Ok(lead) => {
            Named { registry: name, proxy: Some(format!("http://{}", lead.address)), _lead: Some(lead) }
        }
        // Without a port on this machine nothing else will work either; the registry's own words tell.
        Err(_) => Named { registry: place, proxy: None, _lead: None },
    }
}

async fn own_name(base: &str, scheme: &str) -> Option<String> {
    // Only a name is asked here; whether its certificate is to be believed is judged afterwards.
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(SECONDS))
        .tls_danger_accept_invalid_certs(true)
        .build()
        .ok()?;
    let answer = client.get(format!("{base}/v2/")).send().await.ok()?;
    service_name(answer.headers().get(WWW_AUTHENTICATE)?.to_str().ok()?, scheme)
}

/// The name in a challenge, where the token service is the registry itself.
fn service_name(challenge: &str, scheme: &str) -> Option<String> {
    let value = |key: &str| Some(challenge.split_once(&format!("{key}=\""))?.1.split_once('"')?.0);
    let realm: hyper::Uri = value("realm")?.parse().ok()?;
    let name = realm.authority()?.as_str();
    (realm.scheme_str() == Some(scheme) && value("service") == Some(name)).then(|| name.to_owned())
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
            assert_eq!(service_name(challenge, "http").as_deref(), expected, "{challenge}");
        }
        let secure = r#"Bearer realm="https://quay.lab.lan/v2/auth",service="quay.lab.lan""#;
        assert_eq!(service_name(secure, "https").as_deref(), Some("quay.lab.lan"));
    }
}
