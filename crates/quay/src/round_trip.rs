use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use oci_client::Reference;
use oci_client::client::{Certificate, CertificateEncoding, Client, ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::manifest::{IMAGE_LAYER_GZIP_MEDIA_TYPE, OciImageManifest};
use oci_client::secrets::RegistryAuth;
use serde_json::Value;
use thiserror::Error;

use super::http::chain;
use super::image::small_image;
use super::login::log_in;
use super::names;
use crate::host::Secret;

const USER_AGENT: &str = concat!("quaylab/", env!("CARGO_PKG_VERSION"));

/// Where a registry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryAddress {
    pub host: String,
    pub port: u16,
    pub secure: bool,
}

impl fmt::Display for RegistryAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// A push and a pull that shall prove a registry.
#[derive(Debug, Clone)]
pub struct RoundTrip {
    pub address: RegistryAddress,
    /// A tunnel's end on the controller, where the registry is not reached straight.
    pub dialled: Option<SocketAddr>,
    pub credentials: Option<(String, Secret)>,
    pub repository: String,
    pub tag: String,
    pub delete: bool,
    pub verify_certificates: bool,
    /// The authority (PEM) that is believed besides the system's.
    pub authority: Option<String>,
    /// Also try to pull without a login.
    pub anonymous: bool,
    /// For each operation.
    pub timeout: Duration,
}

/// The parts of a round trip, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Login,
    Push,
    Pull,
    AnonymousPull,
    Delete,
}

impl Part {
    pub fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Push => "push",
            Self::Pull => "pull",
            Self::AnonymousPull => "anonymous pull",
            Self::Delete => "delete",
        }
    }
}

/// How long a part took, and what the registry did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timed {
    pub part: Part,
    pub milliseconds: u64,
    pub answer: &'static str,
}

/// What a round trip found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoundTripReport {
    /// Of the manifest, as pushed and as pulled.
    pub digest: String,
    /// Whether the image could be pulled without a login, where that was asked for.
    pub anonymous: Option<bool>,
    /// Whether the image could be removed again, where that was asked for.
    pub deleted: Option<bool>,
}

/// Which part of a round trip failed, and why.
#[derive(Debug, Error)]
pub enum RoundTripError {
    #[error("the registry at {0} does not answer: {1}")]
    Unreachable(RegistryAddress, String),
    #[error("the registry at {0} refused the login: {1}")]
    Login(RegistryAddress, String),
    #[error("the registry at {address} sends the login to {realm}, {why}")]
    Realm { address: RegistryAddress, realm: String, why: String },
    #[error("pushing {image} failed: {reason}")]
    Push { image: String, reason: String },
    #[error("pulling {image} failed: {reason}")]
    Pull { image: String, reason: String },
    #[error("{image} came back with the digest {pulled}, but was pushed with {pushed}")]
    Differs { image: String, pushed: String, pulled: String },
    #[error("making the image failed: {0}")]
    Image(String),
}

/// What to try where a registry's disk is full.
const FULL_HINT: &str = "the file system that holds the registry's images is full: df -h on its host; make room or let it \
                         grow, then run this again";

/// Whether a registry speaks of a full disk.
fn is_full(reason: &str) -> bool {
    let reason = reason.to_lowercase();
    ["no space left", "enospc", "disk quota exceeded"].iter().any(|words| reason.contains(words))
}

impl RoundTripError {
    /// The part that failed.
    pub fn part(&self) -> Part {
        match self {
            Self::Unreachable(..) | Self::Login(..) | Self::Realm { .. } => Part::Login,
            Self::Push { .. } | Self::Image(_) => Part::Push,
            Self::Pull { .. } | Self::Differs { .. } => Part::Pull,
        }
    }

    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreachable(..) => "is the registry running, and does its port answer from there?",
            Self::Login(..) => "check the user and password; the summary says where the password is kept",
            Self::Realm { .. } => {
                "is this the registry that is meant? Let it name a token service (realm) that is https, or is on its own host while it \
                 speaks http itself"
            }
            Self::Push { reason, .. } if is_full(reason) => FULL_HINT,
            Self::Push { .. } => "may this user push to that repository, and has the registry's disk room?",
            Self::Pull { .. } | Self::Differs { .. } => "look at the registry's storage and its log",
            Self::Image(_) => "this is an error of quaylab's own",
        }
    }
}

/// Logs in, pushes a small image of random content, pulls it and compares.
///
/// `times` gets the parts that were done, also where a later one fails.
pub async fn round_trip(trip: &RoundTrip, times: &mut Vec<Timed>) -> Result<RoundTripReport, RoundTripError> {
    // Whoever installed a provider before is welcome to have done so.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let named = names::find(&trip.address, trip.dialled).await;
    let reference = Reference::with_tag(named.registry, trip.repository.clone(), trip.tag.clone());
    let image = format!("{}/{}:{}", trip.address, trip.repository, trip.tag);
    let client = client(trip, named.proxy.clone());
    let mut done = |part: Part, started: Instant, answer: &'static str| {
        times.push(Timed { part, milliseconds: milliseconds(started), answer });
    };

    let started = Instant::now();
    let token = logged_in(trip, &client, &reference, named.proxy.as_deref()).await?;
    done(Part::Login, started, "");

    let content: [u8; 512] = rand::random();
    let small = small_image(&content).map_err(|e| RoundTripError::Image(e.to_string()))?;
    let layers = [small.layer];
    let manifest = OciImageManifest::build(&layers, &small.config, None);
    let started = Instant::now();
    within(trip, client.push(&reference, &layers, small.config, &NO_PASSWORD, Some(manifest)))
        .await
        .map_err(|e| {
            if is_denied(&e) {
                refused(trip, &e)
            } else {
                RoundTripError::Push { image: image.clone(), reason: e.to_string() }
            }
        })?;
    done(Part::Push, started, "");

    let pull_error = |e: Failure| RoundTripError::Pull { image: image.clone(), reason: e.to_string() };
    let pushed =
        within(trip, client.fetch_manifest_digest(&reference, &NO_PASSWORD)).await.map_err(pull_error)?;
    let started = Instant::now();
    let pull = client.pull(&reference, &NO_PASSWORD, vec![IMAGE_LAYER_GZIP_MEDIA_TYPE]);
    let pulled = within(trip, pull).await.map_err(pull_error)?;
    let digest = pulled.digest.clone().unwrap_or_default();
    let same_layer = pulled.layers.first().map(|l| &l.data) == Some(&layers[0].data);
    if digest != pushed || !same_layer {
        return Err(RoundTripError::Differs { image, pushed, pulled: digest });
    }
    done(Part::Pull, started, "the same image");
    let mut report = RoundTripReport { digest, anonymous: None, deleted: None };
    if trip.anonymous {
        let started = Instant::now();
        let open = pulls_anonymously(trip, &reference, named.proxy.clone()).await;
        done(Part::AnonymousPull, started, if open { "allowed" } else { "refused" });
        report.anonymous = Some(open);
    }
    if trip.delete {
        let started = Instant::now();
        let deleted =
            delete(trip, &reference, &report.digest, token.as_deref(), named.proxy.as_deref()).await;
        done(Part::Delete, started, if deleted { "removed" } else { "not allowed" });
        report.deleted = Some(deleted);
    }
    Ok(report)
}

/// The digest of an image's configuration, which is its ID in an engine, as the registry has it; fails where it has no such
/// image, or does not say.
pub async fn configuration_digest(trip: &RoundTrip) -> Result<String, RoundTripError> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let named = names::find(&trip.address, trip.dialled).await;
    let reference = Reference::with_tag(named.registry, trip.repository.clone(), trip.tag.clone());
    let client = client(trip, named.proxy.clone());
    logged_in(trip, &client, &reference, named.proxy.as_deref()).await?;
    let found = within(trip, client.pull_image_manifest(&reference, &NO_PASSWORD)).await;
    let image = format!("{}/{}:{}", trip.address, trip.repository, trip.tag);
    let (manifest, _) = found.map_err(|e| RoundTripError::Pull { image, reason: e.to_string() })?;
    Ok(manifest.config.digest)
}

/// What the client is given once it is logged in: with the password it would go where a challenge says.
const NO_PASSWORD: RegistryAuth = RegistryAuth::Anonymous;

/// Logs in, in the time that there is.
async fn logged_in(
    trip: &RoundTrip,
    client: &Client,
    reference: &Reference,
    proxy: Option<&str>,
) -> Result<Option<String>, RoundTripError> {
    let web = web(trip, proxy).map_err(|e| RoundTripError::Unreachable(trip.address.clone(), e))?;
    let login = log_in(trip, &web, client, reference, proxy.is_some());
    tokio::time::timeout(trip.timeout, login)
        .await
        .unwrap_or_else(|_| Err(refused(trip, &Failure::Timeout(trip.timeout.as_secs()))))
}

/// What talks to the registry where the client does not. It goes where it is sent and no further.
fn web(trip: &RoundTrip, proxy: Option<&str>) -> Result<reqwest::Client, String> {
    let mut builder = reqwest::Client::builder()
        .timeout(trip.timeout)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(USER_AGENT)
        .tls_danger_accept_invalid_certs(!trip.verify_certificates);
    if let Some(proxy) = proxy {
        let proxy =
            if trip.address.secure { reqwest::Proxy::https(proxy) } else { reqwest::Proxy::http(proxy) };
        builder = builder.proxy(proxy.map_err(|e| chain(&e))?);
    }
    if let Some(pem) = &trip.authority {
        let authority = reqwest::Certificate::from_pem(pem.as_bytes()).map_err(|e| chain(&e))?;
        builder = builder.add_root_certificate(authority);
    }
    builder.build().map_err(|e| chain(&e))
}

/// Whether somebody who is nobody gets the image; asked by a client that knows no token.
async fn pulls_anonymously(trip: &RoundTrip, reference: &Reference, proxy: Option<String>) -> bool {
    let nobody = client(trip, proxy);
    within(trip, nobody.fetch_manifest_digest(reference, &RegistryAuth::Anonymous)).await.is_ok()
}

fn client(trip: &RoundTrip, proxy: Option<String>) -> Client {
    let authority = trip
        .authority
        .iter()
        .map(|pem| Certificate { encoding: CertificateEncoding::Pem, data: pem.clone().into_bytes() });
    let (plain, secure) = if trip.address.secure { (None, proxy) } else { (proxy, None) };
    Client::new(ClientConfig {
        protocol: if trip.address.secure { ClientProtocol::Https } else { ClientProtocol::Http },
        accept_invalid_certificates: !trip.verify_certificates,
        connect_timeout: Some(trip.timeout),
        read_timeout: Some(trip.timeout),
        http_proxy: plain,
        https_proxy: secure,
        extra_root_certificates: authority.collect(),
        user_agent: USER_AGENT,
        ..ClientConfig::default()
    })
}

/// Why an operation failed: the registry said so, or time ran out.
#[derive(Debug, Error)]
enum Failure {
    #[error("{}", said(.0))]
    Registry(OciDistributionError),
    #[error("no answer within {0} s")]
    Timeout(u64),
}

async fn within<T>(
    trip: &RoundTrip,
    operation: impl Future<Output = Result<T, OciDistributionError>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(trip.timeout, operation).await {
        Ok(done) => done.map_err(Failure::Registry),
        Err(_) => Err(Failure::Timeout(trip.timeout.as_secs())),
    }
}

/// The registry's own words, with the causes of what went wrong below HTTP.
fn said(error: &OciDistributionError) -> String {
    match error {
        OciDistributionError::RegistryError { envelope, .. } => envelope
            .errors
            .iter()
            .map(|e| if e.message.is_empty() { format!("{:?}", e.code) } else { e.message.clone() })
            .collect::<Vec<_>>()
            .join("; "),
        OciDistributionError::UnauthorizedError { .. } => "not authorized".into(),
        OciDistributionError::ServerError { code, message, .. } => {
            format!("HTTP {code}: {}", server_said(message))
        }
        OciDistributionError::RequestError(error) => {
            let mut text = error.to_string();
            let mut source = std::error::Error::source(error);
            while let Some(cause) = source {
                text = format!("{text}: {cause}");
                source = cause.source();
            }
            text
        }
        other => other.to_string(),
    }
}

/// What a registry's own error says: its messages, with what its storage met.
fn server_said(body: &str) -> String {
    let envelope: Option<Value> = serde_json::from_str(body).ok();
    let errors = envelope.as_ref().and_then(|e| e.get("errors")?.as_array());
    let told: Vec<String> = errors.into_iter().flatten().filter_map(one_error).collect();
    if told.is_empty() { body.trim().chars().take(300).collect() } else { told.join("; ") }
}

fn one_error(error: &Value) -> Option<String> {
    let message = error.get("message").and_then(Value::as_str)?;
    // As the CNCF distribution reports what its file system refused.
    let met = error.pointer("/detail/Enclosed").and_then(|met| {
        let text = |key: &str| met.get(key).and_then(Value::as_str);
        let number = met.get("Err").and_then(Value::as_u64)?;
        let why = match number {
            13 => "permission denied".to_owned(),
            28 => "no space left on device".to_owned(),
            30 => "read-only file system".to_owned(),
            122 => "disk quota exceeded".to_owned(),
            other => format!("error {other}"),
        };
        Some(format!("{message}: {} {}: {why}", text("Op")?, text("Path")?))
    });
    Some(met.unwrap_or_else(|| message.to_owned()))
}

fn is_denied(failure: &Failure) -> bool {
    match failure {
        Failure::Registry(
            OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_),
        ) => true,
        Failure::Registry(OciDistributionError::ServerError { code, .. }) => [401, 403].contains(code),
        Failure::Registry(OciDistributionError::RegistryError { envelope, .. }) => {
            envelope.errors.iter().any(|e| {
                matches!(
                    e.code,
                    oci_client::errors::OciErrorCode::Unauthorized | oci_client::errors::OciErrorCode::Denied
                )
            })
        }
        _ => false,
    }
}

fn refused(trip: &RoundTrip, failure: &Failure) -> RoundTripError {
    let address = trip.address.clone();
    if is_denied(failure) {
        RoundTripError::Login(address, failure.to_string())
    } else {
        RoundTripError::Unreachable(address, failure.to_string())
    }
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Removes a manifest; many registries do not allow it.
async fn delete(
    trip: &RoundTrip,
    reference: &Reference,
    digest: &str,
    token: Option<&str>,
    proxy: Option<&str>,
) -> bool {
    let scheme = if trip.address.secure { "https" } else { "http" };
    let url =
        format!("{scheme}://{}/v2/{}/manifests/{digest}", reference.resolve_registry(), trip.repository);
    let Ok(client) = web(trip, proxy) else { return false };
    let mut request = client.delete(url);
    request = match (token, &trip.credentials) {
        (Some(token), _) => request.bearer_auth(token),
        (None, Some((user, password))) => request.basic_auth(user, Some(&password.0)),
        (None, None) => request,
    };
    matches!(request.send().await, Ok(answer) if answer.status().is_success())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use quaylab_testing::http_server::{answer, serve};

    fn trip(address: SocketAddr) -> RoundTrip {
        RoundTrip {
            address: RegistryAddress { host: address.ip().to_string(), port: address.port(), secure: false },
            dialled: None,
            credentials: Some(("me".into(), Secret("secret".into()))),
            repository: "a/b".into(),
            tag: "latest".into(),
            delete: false,
            verify_certificates: true,
            authority: None,
            anonymous: false,
            timeout: Duration::from_secs(10),
        }
    }

    fn challenged(challenge: &str) -> String {
        answer("401 Unauthorized", &format!("WWW-Authenticate: {challenge}\r\n"), "")
    }

    #[tokio::test]
    async fn a_registry_does_not_say_who_gets_the_password() {
        let (thief, at_thief) = serve(|_| answer("200 OK", "", r#"{"token": "stolen"}"#));
        // A registry that wants a password first, and a token from elsewhere when it is asked again.
        let asked = Mutex::new(0);
        let (changing, _) = serve(move |request| {
            let mut asked = asked.lock().expect("unpoisoned");
            *asked += 1;
            if *asked <= 2 || request.to_lowercase().contains("authorization: basic") {
                return challenged(r#"Basic realm="registry""#);
            }
            challenged(&format!(r#"Bearer realm="http://localhost:{}/steal",service="x""#, thief.port()))
        });
        for service in ["x".to_owned(), format!("localhost:{}", thief.port())] {
            let (registry, _) = serve(move |_| {
                let realm = format!("http://localhost:{}/steal", thief.port());
                challenged(&format!(r#"Bearer realm="{realm}",service="{service}""#))
            });
            let failed =
                round_trip(&trip(registry), &mut Vec::new()).await.expect_err("no password, no login");
            assert_eq!(failed.part(), Part::Login, "{failed}");
            assert!(configuration_digest(&trip(registry)).await.is_err());
        }
        let (registry, _) = serve(move |_| {
            challenged(&format!(r#"Bearer realm="http://localhost:{}/steal",service="x""#, thief.port()))
        });
        let told = round_trip(&trip(registry), &mut Vec::new()).await.expect_err("refused").to_string();
        assert!(told.contains("localhost") && told.contains("unencrypted"), "{told}");
        round_trip(&trip(changing), &mut Vec::new()).await.expect_err("it lets nobody in");
        configuration_digest(&trip(changing)).await.expect_err("it lets nobody in");
        let told = at_thief.lock().expect("unpoisoned").join("\n").to_lowercase();
        assert!(!told.contains("authorization"), "{told}");
    }

    #[tokio::test]
    async fn a_token_service_on_the_registrys_own_host_gets_the_password() {
        let (service, at_service) = serve(|_| answer("200 OK", "", r#"{"token": "given"}"#));
        let manifest = r#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json",
            "digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0},"layers":[]}"#;
        let (registry, at_registry) = serve(move |request| {
            if request.to_lowercase().contains("authorization: bearer given") {
                return answer(
                    "200 OK",
                    "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n",
                    manifest,
                );
            }
            challenged(&format!(r#"Bearer realm="http://{service}/token",service="x""#))
        });
        let digest = configuration_digest(&trip(registry)).await.expect("it is let in");
        assert!(digest.starts_with("sha256:e3b0"), "{digest}");
        let told = at_service.lock().expect("unpoisoned").join("\n").to_lowercase();
        assert!(told.contains("authorization: basic") && told.contains("service=x"), "{told}");
        assert!(
            !at_registry
                .lock()
                .expect("unpoisoned")
                .join("\n")
                .to_lowercase()
                .contains("authorization: basic")
        );
    }

    #[test]
    fn a_full_disk_is_read_out_of_what_a_registry_says() {
        let body = r#"{"errors":[{"code":"UNKNOWN","message":"unknown error","detail":{"DriverName":"filesystem",
            "Enclosed":{"Op":"write","Path":"/var/lib/registry/x","Err":28}}}]}"#;
        let reason = server_said(body);
        assert_eq!(reason, "unknown error: write /var/lib/registry/x: no space left on device");
        let push = |reason: &str| RoundTripError::Push { image: "r/x:1".into(), reason: reason.into() };
        assert_eq!((push(&reason).hint(), push(&reason).part()), (FULL_HINT, Part::Push));
        assert_ne!(push("HTTP 500: no").hint(), FULL_HINT);
        assert_eq!(server_said("<html>bad gateway</html>\n"), "<html>bad gateway</html>");
        assert_eq!(server_said(r#"{"errors":[{"code":"NAME_INVALID","message":"bad name"}]}"#), "bad name");
    }
}
