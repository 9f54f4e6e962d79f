//! The login at a registry, done by ourselves: who gets the password is not for the registry to say.

use oci_client::client::Client;
use oci_client::secrets::RegistryAuth;
use oci_client::token_cache::{RegistryToken, RegistryTokenType};
use oci_client::{Reference, RegistryOperation};
use reqwest::header::WWW_AUTHENTICATE;
use reqwest::{StatusCode, Url};
use serde::Deserialize;

use super::http::{chain, limited_body};
use super::round_trip::{RoundTrip, RoundTripError};

/// Most characters of a token service's own words.
const MOST_WORDS: usize = 300;

/// What a registry wants of who comes.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Bearer { realm: String, service: Option<String> },
    Basic,
}

/// Logs in with `web`, which follows no redirect. The client then has what it needs to be let in, and no password that it could
/// hand on where a registry's next challenge says; the token is given back where there is one.
pub(super) async fn log_in(
    trip: &RoundTrip,
    web: &reqwest::Client,
    client: &Client,
    reference: &Reference,
    proxied: bool,
) -> Result<Option<String>, RoundTripError> {
    let scheme = if trip.address.secure { "https" } else { "http" };
    let unreachable = |e: reqwest::Error| {
        // The URL is ours to know; what is wrong is in the causes.
        RoundTripError::Unreachable(trip.address.clone(), chain(&e))
    };
    let registry = reference.resolve_registry();
    let answer = web.get(format!("{scheme}://{registry}/v2/")).send().await.map_err(unreachable)?;
    let challenges: Vec<&str> =
        answer.headers().get_all(WWW_AUTHENTICATE).iter().filter_map(|v| v.to_str().ok()).collect();
    let Some(challenge) = wanted(&challenges) else {
        client.store_auth_if_needed(registry, &RegistryAuth::Anonymous).await;
        return Ok(None);
    };
    let (realm, service) = match (challenge, &trip.credentials) {
        (Challenge::Bearer { realm, service }, _) => (realm, service),
        (Challenge::Basic, credentials) => {
            client.store_auth_if_needed(registry, &RegistryAuth::Anonymous).await;
            // Kept as what the registry gets with each request: so it is not asked again how it wants the password.
            if let Some((user, password)) = credentials {
                for operation in [RegistryOperation::Push, RegistryOperation::Pull] {
                    let basic = RegistryTokenType::Basic(user.clone(), password.0.clone());
                    client.tokens.insert(reference, operation, basic).await;
                }
            }
            return Ok(None);
        }
    };
    let refused = |why: String| RoundTripError::Login(trip.address.clone(), why);
    let bad_realm = |why: &str| RoundTripError::Realm {
        address: trip.address.clone(),
        realm: realm.clone(),
        why: why.into(),
    };
    let mut url = Url::parse(&realm).map_err(|_| bad_realm("which is no URL"))?;
    if trip.credentials.is_some() {
        // What it calls itself is itself only where a proxy leads every name to it.
        let named = if proxied { host_of(registry) } else { trip.address.host.as_str() };
        let own = [trip.address.host.as_str(), named];
        if let Some(why) = unsafe_realm(&url, trip.address.secure, &own) {
            return Err(bad_realm(&why));
        }
    }
    url.query_pairs_mut()
        .append_pair("scope", &format!("repository:{}:pull,push", reference.repository()))
        .extend_pairs(service.map(|service| ("service", service)));
    let mut request = web.get(url);
    if let Some((user, password)) = &trip.credentials {
        request = request.basic_auth(user, Some(&password.0));
    }
    let answer = request.send().await.map_err(unreachable)?;
    let status = answer.status();
    let limit = crate::host::Limits::default().http;
    let body = limited_body(answer, limit).await.map_err(&refused)?;
    if status != StatusCode::OK {
        let words: String = String::from_utf8_lossy(&body).trim().chars().take(MOST_WORDS).collect();
        return Err(refused(if words.is_empty() { format!("{realm} says HTTP {status}") } else { words }));
    }
    let token = token(&body).ok_or_else(|| refused(format!("{realm} gave no token")))?;
    client.store_auth_if_needed(registry, &RegistryAuth::Bearer(token.clone())).await;
    for operation in [RegistryOperation::Push, RegistryOperation::Pull] {
        let bearer = RegistryTokenType::Bearer(RegistryToken::Token { token: token.clone() });
        client.tokens.insert(reference, operation, bearer).await;
    }
    Ok(Some(token))
}

fn token(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Given {
        token: Option<String>,
        access_token: Option<String>,
    }
    let given: Given = serde_json::from_slice(body).ok()?;
    // A token goes into a header.
    let fits = |token: &String| !token.is_empty() && token.chars().all(|c| c.is_ascii_graphic());
    given.token.or(given.access_token).filter(fits)
}

/// The host of `host:port`.
fn host_of(registry: &str) -> &str {
    let host = match registry.rsplit_once(':') {
        Some((host, port)) if port.chars().all(|c| c.is_ascii_digit()) => host,
        _ => registry,
    };
    host.trim_matches(['[', ']'])
}

/// Why a password is not sent to a token service, if it is not. It was given for the registry: over the network it goes
/// encrypted, or to the registry itself, where that has no encryption either.
fn unsafe_realm(realm: &Url, secure: bool, own: &[&str]) -> Option<String> {
    match realm.scheme() {
        "https" => return None,
        "http" => {}
        _ => return Some("which is neither http nor https: the password is not sent there".into()),
    }
    if secure {
        return Some(
            "where the password would go unencrypted, though the registry speaks https: it is not sent"
                .into(),
        );
    }
    let host = realm.host_str().unwrap_or_default().trim_matches(['[', ']']);
    if own.iter().any(|own| own.eq_ignore_ascii_case(host)) {
        return None;
    }
    Some("another host, where the password would go unencrypted: it is not sent".into())
}

/// What a registry wants, by the challenges that it gives; a token before the password itself.
fn wanted(challenges: &[&str]) -> Option<Challenge> {
    let of = |kind: &str| {
        challenges.iter().find_map(|challenge| {
            let (scheme, rest) = challenge.trim_start().split_once(' ').unwrap_or((challenge.trim(), ""));
            scheme.eq_ignore_ascii_case(kind).then_some(rest)
        })
    };
    let bearer = of("bearer").and_then(|rest| {
        let given = parameters(rest);
        let named = |name: &str| given.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        Some(Challenge::Bearer { realm: named("realm")?, service: named("service") })
    });
    bearer.or_else(|| (!challenges.is_empty()).then_some(Challenge::Basic))
}

/// `realm="…",service="…"`; names in small letters.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| *c == ',' || c.is_whitespace()).is_some() {}
        let mut key = String::new();
        while let Some(c) = chars.next_if(|c| !matches!(c, '=' | ',')) {
            key.push(c.to_ascii_lowercase());
        }
        if chars.next_if_eq(&'=').is_none() {
            if chars.peek().is_none() {
                return found;
            }
            continue;
        }
        let mut value = String::new();
        if chars.next_if_eq(&'"').is_some() {
            while let Some(c) = chars.next() {
                match c {
                    '"' => break,
                    '\\' => value.extend(chars.next()),
                    c => value.push(c),
                }
            }
        } else {
            while let Some(c) = chars.next_if(|c| *c != ',') {
                value.push(c);
            }
        }
        found.push((key.trim().to_owned(), value.trim().to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_goes_encrypted_or_to_the_registry_itself() {
        for (realm, secure, goes) in [
            ("https://auth.lan/token", true, true),
            ("https://auth.lan/token", false, true),
            ("https://registry.lan/token", true, true),
            ("http://registry.lan/token", false, true),
            ("http://REGISTRY.lan:81/token", false, true),
            ("http://quay.lan/v2/auth", false, true),
            ("http://registry.lan/token", true, false),
            ("http://auth.lan/token", false, false),
            ("http://registry.lan.evil/token", false, false),
            ("http://registry.lan@evil/token", false, false),
            ("http://127.0.0.1:18094/steal", false, false),
            ("ftp://registry.lan/token", false, false),
        ] {
            let url = Url::parse(realm).expect(realm);
            let why = unsafe_realm(&url, secure, &["registry.lan", "quay.lan"]);
            assert_eq!(why.is_none(), goes, "{realm} {secure}: {why:?}");
        }
        assert!(unsafe_realm(&Url::parse("http://[::1]:80/t").expect("a URL"), false, &["::1"]).is_none());
    }

    #[test]
    fn challenges_are_read() {
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer { realm: realm.into(), service: service.map(str::to_owned) })
        };
        for (challenges, expected) in [
            (&[][..], None),
            (&[r#"Bearer realm="http://q/a",service="q""#][..], bearer("http://q/a", Some("q"))),
            (&[r#"bearer scope="a,b", Realm="http://q/a\"b""#], bearer("http://q/a\"b", None)),
            (&["Bearer realm=http://q/a,service=q"], bearer("http://q/a", Some("q"))),
            (&[r#"Basic realm="registry""#], Some(Challenge::Basic)),
            (&[r#"Basic realm="registry""#, r#"Bearer realm="http://q/a""#], bearer("http://q/a", None)),
            (&["Bearer nonsense"], Some(Challenge::Basic)),
        ] {
            assert_eq!(wanted(challenges), expected, "{challenges:?}");
        }
    }

    #[test]
    fn names_lose_their_port_and_tokens_are_for_headers() {
        assert_eq!((host_of("r.lan:5000"), host_of("r.lan"), host_of("[::1]:80")), ("r.lan", "r.lan", "::1"));
        assert_eq!(token(br#"{"access_token": "x.y"}"#).as_deref(), Some("x.y"));
        assert_eq!(token(b"{\"token\": \"a\\nb\"}"), None);
        assert_eq!(token(b"{}"), None);
    }
}
