use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock};

use bollard::errors::Error;
use bollard::models::ContainerInspectResponse;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Response, Uri};
use tokio::sync::Mutex;

use crate::host::{Endpoint, Script, Shell};
use crate::modules::{ModuleError, TaskContext};
use crate::quay::http::Wire;
use crate::value::Value;

/// Where Docker listens unless somebody says otherwise.
pub(super) const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";

/// How long an answer may take; loading an image answers only when the image is in.
const ANSWER_SECONDS: u64 = 3600;

/// Connections that stand and wait for the next task, by the way they go.
///
/// Starting a program that reaches an engine as another user costs far more than asking the engine.
static WAITING: LazyLock<Mutex<HashMap<String, Wire>>> = LazyLock::new(Mutex::default);

/// What tasks in check mode would have brought into an engine by now.
static FORESEEN: LazyLock<Mutex<HashSet<(String, String)>>> = LazyLock::new(Mutex::default);

/// Notes that a task in check mode would make this (or remove it), and says whether an earlier one would have made it.
pub(super) async fn foreseen(
    cx: &TaskContext,
    docker_host: Option<&str>,
    what: String,
    present: bool,
) -> bool {
    if !cx.check {
        return false;
    }
    let spec = cx.shell.target().spec();
    let engine = format!("{} {}:{} {}", spec.name, spec.address, spec.port, address(cx, docker_host));
    let mut all = FORESEEN.lock().await;
    if present {
        return !all.insert((engine, what));
    }
    all.remove(&(engine, what));
    false
}

/// The way to an engine's API.
struct Line {
    shell: Shell,
    endpoint: Endpoint,
    /// Host, users and endpoint: what makes two ways the same.
    way: String,
}

impl Line {
    async fn request(&self, request: BollardRequest) -> Result<Response<Incoming>, Error> {
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |p| p.as_str());
        parts.uri = path.parse::<Uri>().map_err(|e| Error::IOError { err: std::io::Error::other(e) })?;
        parts.headers.insert(HOST, HeaderValue::from_static("docker"));
        let mut request = Request::from_parts(parts, body.map_err(std::io::Error::other).boxed_unsync());
        let waiting = WAITING.lock().await.remove(&self.way).filter(Wire::is_idle);
        if let Some(mut wire) = waiting {
            match wire.send_again(request).await {
                Ok(answer) => return self.keep(wire, answer).await,
                Err(unsent) => request = unsent,
            }
        }
        let stream = self.shell.dial(&self.endpoint).await.map_err(std::io::Error::other)?;
        let mut wire = Wire::open(stream).await?;
        let answer = wire.send(request).await;
        self.keep(wire, answer).await
    }

    async fn keep(
        &self,
        wire: Wire,
        answer: Result<Response<Incoming>, hyper::Error>,
    ) -> Result<Response<Incoming>, Error> {
        let response = answer?;
        WAITING.lock().await.insert(self.way.clone(), wire);
        Ok(response)
    }

    async fn is_open(&self) -> bool {
        WAITING.lock().await.get(&self.way).is_some_and(Wire::is_idle)
    }
}

/// Connects to the engine that the target sees at `docker_host`.
///
/// Requests name no version of the API, so that each engine answers in its own.
pub(super) async fn connect(cx: &TaskContext, docker_host: Option<&str>) -> Result<Docker, ModuleError> {
    let host = address(cx, docker_host);
    let (user, endpoint) = endpoint(cx, &host).await?;
    let spec = cx.shell.target().spec();
    let way = format!("{} {}@{}:{} {user} {endpoint:?}", spec.name, spec.user, spec.address, spec.port);
    let line = Arc::new(Line { shell: cx.shell.clone(), endpoint, way });
    let open = line.is_open().await;
    let docker = Docker::connect_with_custom_transport(
        move |request: BollardRequest| {
            let line = Arc::clone(&line);
            async move { line.request(request).await }
        },
        Some("http://docker"),
        ANSWER_SECONDS,
        API_DEFAULT_VERSION,
    )
    .map_err(|e| failure("the container engine's address", &e))?;
    if !open {
        docker.ping().await.map_err(|e| {
            ModuleError::failed(format!(
                "the container engine on {} does not answer at {host}: {}",
                cx.host,
                reason(&e)
            ))
            .hint("is it installed and started (systemctl status docker), and may this user reach it (become: true)?")
        })?;
    }
    Ok(docker)
}

/// The engine for a task that looks; `None` where none answers in check mode: there an earlier task may have foreseen
/// the engine itself, and nothing is in an engine that is yet to come.
pub(super) async fn look(cx: &TaskContext, docker_host: Option<&str>) -> Result<Option<Docker>, ModuleError> {
    match connect(cx, docker_host).await {
        Err(ModuleError::Failed { .. }) if cx.check => Ok(None),
        other => other.map(Some),
    }
}

fn address(cx: &TaskContext, docker_host: Option<&str>) -> String {
    let from_environment =
        || cx.environment.iter().find(|(name, _)| name == "DOCKER_HOST").map(|(_, v)| v.clone());
    docker_host.map(str::to_owned).or_else(from_environment).unwrap_or_else(|| DEFAULT_HOST.to_owned())
}

/// Who the target's user is, and the way in: the socket itself for the login user; as another user a program of that user's that speaks to it.
async fn endpoint(cx: &TaskContext, host: &str) -> Result<(String, Endpoint), ModuleError> {
    if let Some(address) = host.strip_prefix("tcp://") {
        let (name, port) = address.rsplit_once(':').unwrap_or((address, "2375"));
        let port = port
            .parse()
            .map_err(|_| ModuleError::Arguments(format!("docker_host {host:?} has no valid port")))?;
        return Ok((String::new(), Endpoint::Tcp { host: name.trim_matches(['[', ']']).to_owned(), port }));
    }
    let Some(path) = host.strip_prefix("unix://") else {
        return Err(ModuleError::Arguments(format!(
            "docker_host {host:?} is neither unix:///path nor tcp://host:port"
        )));
    };
    let probe = Script::new("id -un; command -v docker >/dev/null 2>&1 && echo docker");
    let reply = cx.shell.probe(&probe).await?;
    let out = reply.out();
    let mut lines = out.lines();
    let user = lines.next().unwrap_or_default().to_owned();
    let has_client = lines.next() == Some("docker");
    let endpoint = if user != cx.shell.target().spec().user && has_client {
        let argv = ["docker", "-H", host, "system", "dial-stdio"].map(str::to_owned).to_vec();
        Endpoint::Program { argv }
    } else {
        Endpoint::Unix { path: path.to_owned() }
    };
    Ok((user, endpoint))
}

/// What an engine's error says, without the crate's wrapping.
pub(super) fn reason(error: &Error) -> String {
    match error {
        Error::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        Error::DockerStreamError { error } => error.trim().to_owned(),
        Error::RequestTimeoutError => format!("no answer within {ANSWER_SECONDS} s"),
        Error::HyperResponseError { err } if err.is_incomplete_message() => {
            "the connection was closed before an answer came".to_owned()
        }
        other => other.to_string(),
    }
}

/// An engine's error as a module's.
pub(super) fn failure(what: &str, error: &Error) -> ModuleError {
    let reason = reason(error);
    let full = super::last_words::speaks_of_a_full_disk(&reason);
    let failed = ModuleError::failed(format!("{what}: {reason}"));
    if full { failed.hint(FULL) } else { failed }
}

/// What to try where the engine's own disk is full.
const FULL: &str = "the engine's disk is full (docker info names its folder, df -h shows it): docker system prune frees what no \
                    container uses; or let the disk grow, then run this again";

/// `None` where the engine says that there is no such thing.
pub(super) fn found<T>(answer: Result<T, Error>) -> Result<Option<T>, Error> {
    match answer {
        Ok(thing) => Ok(Some(thing)),
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A container as the engine describes it, without its environment: secrets do not reach results.
pub(super) fn without_environment(container: &ContainerInspectResponse) -> Value {
    let mut shown = serde_json::to_value(container).unwrap_or_default();
    if let Some(config) = shown.get_mut("Config").and_then(Value::as_object_mut) {
        config.remove("Env");
    }
    shown
}
