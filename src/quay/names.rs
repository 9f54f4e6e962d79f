use std::time::Duration;

use reqwest::header::WWW_AUTHENTICATE;

/// How long a name may take to lead somewhere.
const SECONDS: u64 = 3;

/// The proxy through which a registry's own name leads to it, where this machine does not know that name.
///
/// Quay puts the name that its configuration gives it into its challenges and locations, whatever it was called by. A
/// request that names a whole URL is answered by any server that the URL means, so the registry can be its own proxy.
/// Over TLS there is no such way: the name must be known.
pub(super) async fn proxy(registry: &str, secure: bool) -> Option<String> {
    if secure {
        return None;
    }
    let base = format!("http://{registry}");
    let client = reqwest::Client::builder().timeout(Duration::from_secs(SECONDS)).build().ok()?;
    let answer = client.get(format!("{base}/v2/")).send().await.ok()?;
    let challenge = answer.headers().get(WWW_AUTHENTICATE)?.to_str().ok()?;
    let (host, port) = realm_address(challenge)?;
    let connect = tokio::net::TcpStream::connect((host.as_str(), port));
    let known = matches!(tokio::time::timeout(Duration::from_secs(SECONDS), connect).await, Ok(Ok(_)));
    (!known).then_some(base)
}

/// The host and port of the token service that a challenge names, where it is spoken to without TLS.
fn realm_address(challenge: &str) -> Option<(String, u16)> {
    let realm = challenge.split_once("realm=\"")?.1.split_once('"')?.0;
    let uri: hyper::Uri = realm.parse().ok()?;
    (uri.scheme_str() == Some("http")).then(|| ())?;
    Some((uri.host()?.to_owned(), uri.port_u16().unwrap_or(80)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_names_the_token_service() {
        for (challenge, expected) in [
            (
                r#"Bearer realm="http://quay.lab.lan/v2/auth",service="quay.lab.lan""#,
                Some(("quay.lab.lan".to_owned(), 80)),
            ),
            (
                r#"Bearer service="q.lan:8080",realm="http://q.lan:8080/v2/auth""#,
                Some(("q.lan".to_owned(), 8080)),
            ),
            (r#"Bearer realm="https://quay.lab.lan/v2/auth",service="quay.lab.lan""#, None),
            (r#"Basic realm="registry""#, None),
        ] {
            assert_eq!(realm_address(challenge), expected, "{challenge}");
        }
    }
}
