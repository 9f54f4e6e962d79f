use std::collections::{HashMap, HashSet};
use std::ops::Deref;
use std::sync::Arc;

use bollard::errors::Error;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::InspectContainerOptions;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::http::request::Builder;
use hyper::{Request, Response, Uri};
use serde_json::json;
use tokio::sync::Mutex;

use super::engine_kind::EngineKind;
use crate::host::{Endpoint, Script, Secret, Shell};
use crate::http::Wire;
use crate::value::Value;
use crate::{ModuleError, TaskContext};

/// How long an answer may take; loading an image answers only when the image is in.
const ANSWER_SECONDS: u64 = 3600;

/// The engines that a run speaks to.
#[derive(Default)]
struct Engines {
    /// Connections that stand and wait for the next task, by the way they go.
    ///
    /// Starting a program that reaches an engine as another user costs far more than asking the engine.
    waiting: Mutex<HashMap<String, Wire>>,
    /// What tasks in check mode would have brought into an engine by now.
    foreseen: Mutex<HashSet<(String, String)>>,
}

/// Notes that a task in check mode would make this (or remove it), and says whether an earlier one would have made it.
pub async fn foreseen(cx: &TaskContext, what: String, present: bool) -> bool {
    if !cx.mode.check {
        return false;
    }
    let spec = cx.shell.target().spec();
    let engine = format!("{} {}:{}", spec.name, spec.address, spec.port);
    let engines = cx.run.get::<Engines>();
    let mut all = engines.foreseen.lock().await;
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
    engines: Arc<Engines>,
}

impl Line {
    async fn request(&self, request: BollardRequest) -> Result<Response<Incoming>, Error> {
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |p| p.as_str());
        parts.uri = path.parse::<Uri>().map_err(|e| Error::IOError { err: std::io::Error::other(e) })?;
        parts.headers.insert(HOST, HeaderValue::from_static("docker"));
        let mut request = Request::from_parts(parts, body.map_err(std::io::Error::other).boxed_unsync());
        let waiting = self.engines.waiting.lock().await.remove(&self.way).filter(Wire::is_idle);
        if let Some(mut wire) = waiting {
            match wire.send_again(request).await {
                Ok(answer) => return self.keep(wire, answer).await,
                Err(unsent) => request = unsent,
            }
        }
        let stream = self.shell.dial(&self.endpoint).await.map_err(std::io::Error::other)?;
        let limit = self.shell.target().spec().limits.http;
        let mut wire = Wire::open_limited(stream, limit).await?;
        let answer = wire.send(request).await;
        self.keep(wire, answer).await
    }

    async fn keep(
        &self,
        wire: Wire,
        answer: Result<Response<Incoming>, hyper::Error>,
    ) -> Result<Response<Incoming>, Error> {
        let response = answer?;
        self.engines.waiting.lock().await.insert(self.way.clone(), wire);
        Ok(response)
    }

    async fn is_open(&self) -> bool {
        self.engines.waiting.lock().await.get(&self.way).is_some_and(Wire::is_idle)
    }
}

/// The way to the engine that the target sees at `docker_host`, and that engine's address.
async fn line(cx: &TaskContext, docker_host: Option<&str>) -> Result<(Line, String), ModuleError> {
    let Place { host, user, endpoint } = place(cx, docker_host).await?;
    let spec = cx.shell.target().spec();
    let way = format!("{} {}@{}:{} {user} {endpoint:?}", spec.name, spec.user, spec.address, spec.port);
    Ok((Line { shell: cx.shell.clone(), endpoint, way, engines: cx.run.get() }, host))
}

/// Asks the engine what bollard has no call for; returns whether it agreed, and what it says.
async fn ask(
    cx: &TaskContext,
    docker_host: Option<&str>,
    request: Builder,
    body: Value,
) -> Result<(bool, Value), String> {
    let text = if body.is_null() { String::new() } else { body.to_string() };
    let request = request
        .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .body(bollard::body_full(text.into()))
        .map_err(|e| e.to_string())?;
    let (line, _) = line(cx, docker_host).await.map_err(|e| e.to_string())?;
    let answer = line.request(request).await.map_err(|e| reason(&e))?;
    let agreed = answer.status().is_success();
    let body = answer.into_body().collect().await.map_err(|e| e.to_string())?.to_bytes();
    Ok((agreed, serde_json::from_slice(&body).unwrap_or_default()))
}

/// Has the engine ask a registry whether it lets somebody in.
pub async fn log_in(
    cx: &TaskContext,
    docker_host: Option<&str>,
    registry: &str,
    user: &str,
    password: &Secret,
) -> Result<(), ModuleError> {
    let kind = connect(cx, docker_host).await?.kind;
    let login = json!({"serveraddress": registry, "username": user, "password": password.0});
    let (succeeded, said) = ask(cx, docker_host, Request::post("/auth"), login)
        .await
        .map_err(|why| ModuleError::failed(format!("the login to {registry}: {why}")))?;
    if succeeded {
        return Ok(());
    }
    let message = said.get("message").and_then(Value::as_str).unwrap_or("it does not say why");
    Err(ModuleError::failed(format!("{registry} does not let {user} in: {message}"))
        .hint(login_hint(message, registry, kind)))
}

/// Whether podman's `registries.conf` calls a registry insecure: its certificate is not judged, or it speaks plain HTTP.
pub async fn is_insecure(cx: &TaskContext, docker_host: Option<&str>, registry: &str) -> bool {
    // The oldest version of this API that podman 4.4 and podman 5 both speak.
    let info = ask(cx, docker_host, Request::get("/v4.0.0/libpod/info"), Value::Null).await;
    let found =
        info.ok().and_then(|(_, info)| info.get("registries")?.get(registry)?.get("Insecure")?.as_bool());
    found.unwrap_or(false)
}

/// What to try when a login fails with this text.
fn login_hint(text: &str, registry: &str, kind: EngineKind) -> String {
    let lower = text.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|w| lower.contains(w));
    if has(&["unauthorized", "denied", "incorrect"]) {
        "check username and password; a robot's name has its organization before it (lab+puller)".into()
    } else if has(&["server gave http response to https"]) {
        format!("{registry} speaks plain HTTP: add it to {}", kind.insecure_registries())
    } else if has(&["certificate", "x509"]) {
        format!("the engine does not trust {registry}: put its CA into {}", kind.authority_of(registry))
    } else {
        format!("does the target reach {registry}? check its DNS, route and proxy")
    }
}

/// An engine that answers.
pub struct Engine {
    docker: Docker,
    pub kind: EngineKind,
}

impl Deref for Engine {
    type Target = Docker;

    fn deref(&self) -> &Docker {
        &self.docker
    }
}

/// Connects to the engine that the target sees at `docker_host`.
///
/// Requests name no version of the API, so that each engine answers in its own.
pub async fn connect(cx: &TaskContext, docker_host: Option<&str>) -> Result<Engine, ModuleError> {
    let (line, host) = line(cx, docker_host).await?;
    let line = Arc::new(line);
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
            .hint(format!(
                "is it installed and started (systemctl status {}), and may this user reach it (become: true)?",
                EngineKind::of(&host).unit()
            ))
        })?;
    }
    Ok(Engine { docker, kind: EngineKind::of(&host) })
}

/// The engine for a task that looks; `None` where none answers in check mode: there an earlier task may have foreseen
/// the engine itself, and nothing is in an engine that is yet to come.
pub async fn look(cx: &TaskContext, docker_host: Option<&str>) -> Result<Option<Engine>, ModuleError> {
    match connect(cx, docker_host).await {
        Err(ModuleError::Failed { .. }) if cx.mode.check => Ok(None),
        other => other.map(Some),
    }
}

/// The engine that the task names, by its argument or its environment.
fn said(cx: &TaskContext, docker_host: Option<&str>) -> Option<String> {
    let from_environment =
        || cx.environment.iter().find(|(name, _)| name == "DOCKER_HOST").map(|(_, v)| v.clone());
    docker_host.map(str::to_owned).or_else(from_environment)
}

/// An engine's address, who the target's user is, and the way in.
struct Place {
    host: String,
    user: String,
    endpoint: Endpoint,
}

/// Where nobody says which engine: Docker, unless podman's is the only one there.
async fn address(cx: &TaskContext, docker_host: Option<&str>) -> Result<(String, String), ModuleError> {
    // One question for all: answers to it are kept.
    let both = [EngineKind::Docker, EngineKind::Podman];
    let sockets = both.map(|k| format!("[ -S {} ] && echo {}", k.socket(), k.program())).join("; ");
    let programs = both.map(|k| format!("command -v {0} >/dev/null 2>&1 && echo {0}-client", k.program()));
    let reply = cx.shell.probe(&Script::new(format!("id -un; {sockets}; {}", programs.join("; ")))).await?;
    let out = reply.out().into_owned();
    let there = |word: &str| out.lines().skip(1).any(|l| l == word);
    let only_podman = there(EngineKind::Podman.program()) && !there(EngineKind::Docker.program());
    let default = if only_podman { EngineKind::Podman } else { EngineKind::Docker };
    Ok((said(cx, docker_host).unwrap_or_else(|| default.host()), out))
}

/// The way in is the socket itself for the login user; for another user it is a program of that user's that speaks to it.
async fn place(cx: &TaskContext, docker_host: Option<&str>) -> Result<Place, ModuleError> {
    let (host, found) = address(cx, docker_host).await?;
    if let Some(address) = host.strip_prefix("tcp://") {
        let (name, port) = address.rsplit_once(':').unwrap_or((address, "2375"));
        let port = port
            .parse()
            .map_err(|_| ModuleError::Arguments(format!("docker_host {host:?} has no valid port")))?;
        let endpoint = Endpoint::Tcp { host: name.trim_matches(['[', ']']).to_owned(), port };
        return Ok(Place { host, user: String::new(), endpoint });
    }
    let Some(path) = host.strip_prefix("unix://") else {
        return Err(ModuleError::Arguments(format!(
            "docker_host {host:?} is neither unix:///path nor tcp://host:port"
        )));
    };
    let kind = EngineKind::of(&host);
    let user = found.lines().next().unwrap_or_default().to_owned();
    let client = format!("{}-client", kind.program());
    let endpoint = if user != cx.shell.target().spec().user && found.lines().any(|l| l == client) {
        Endpoint::Program { argv: kind.dial(&host) }
    } else {
        Endpoint::Unix { path: path.to_owned() }
    };
    Ok(Place { host, user, endpoint })
}

/// A container as the engine describes it; `None` where there is none.
pub async fn container(docker: &Docker, name: &str) -> Result<Option<ContainerInspectResponse>, Error> {
    let answer = docker.inspect_container(name, None::<InspectContainerOptions>).await;
    let answer = match answer {
        Err(Error::JsonDataError { contents, message, column }) => match in_dockers_words(&contents) {
            Some(container) => Ok(container),
            None => Err(Error::JsonDataError { contents, message, column }),
        },
        other => other,
    };
    found(answer)
}

/// Podman's answers hold states that Docker has no word for.
fn in_dockers_words(contents: &str) -> Option<ContainerInspectResponse> {
    let mut container: Value = serde_json::from_str(contents).ok()?;
    let status = container.get_mut("State")?.get_mut("Status")?;
    let word = match status.as_str()? {
        "configured" | "initialized" => "created",
        "stopped" => "exited",
        _ => "dead",
    };
    *status = word.into();
    serde_json::from_value(container).ok()
}

/// What an engine's error says, without the crate's wrapping.
pub fn reason(error: &Error) -> String {
    match error {
        Error::DockerResponseServerError { message: told, .. } | Error::DockerStreamError { error: told } => {
            told_in(told)
        }
        Error::RequestTimeoutError => format!("no answer within {ANSWER_SECONDS} s"),
        Error::HyperResponseError { err } if err.is_incomplete_message() => {
            "the connection was closed before an answer came".to_owned()
        }
        other => other.to_string(),
    }
}

/// Podman sends an error of a stream with the whole message around it.
fn told_in(error: &str) -> String {
    let inner = serde_json::from_str::<Value>(error).ok();
    let told = inner.as_ref().and_then(|v| v.get("error")?.as_str());
    told.unwrap_or(error).trim().to_owned()
}

/// An engine's error as a module's.
pub fn failure(what: &str, error: &Error) -> ModuleError {
    let reason = reason(error);
    let full = super::last_words::speaks_of_a_full_disk(&reason);
    let failed = ModuleError::failed(format!("{what}: {reason}"));
    if full { failed.hint(FULL) } else { failed }
}

/// What to try where the engine's own disk is full.
const FULL: &str = "the engine's disk is full (docker info or podman info names its folder, df -h shows it): docker system prune or \
                    podman system prune frees what no container uses; or let the disk grow, then run this again";

/// `None` where the engine says that there is no such thing.
pub fn found<T>(answer: Result<T, Error>) -> Result<Option<T>, Error> {
    match answer {
        Ok(thing) => Ok(Some(thing)),
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A container as the engine describes it, without its environment: secrets do not reach results.
pub fn without_environment(container: &ContainerInspectResponse) -> Value {
    let mut shown = serde_json::to_value(container).unwrap_or_default();
    if let Some(config) = shown.get_mut("Config").and_then(Value::as_object_mut) {
        config.remove("Env");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_of_podmans_are_said_in_dockers_words() {
        for (status, word) in [("stopped", "exited"), ("configured", "created"), ("improper", "dead")] {
            let answer = format!(r#"{{"Id": "1", "State": {{"Status": "{status}", "ExitCode": 3}}}}"#);
            assert!(serde_json::from_str::<ContainerInspectResponse>(&answer).is_err(), "{status}");
            let state = in_dockers_words(&answer).and_then(|c| c.state).expect("a state");
            assert_eq!(state.status.map(|s| s.to_string()).as_deref(), Some(word));
            assert_eq!(state.exit_code, Some(3));
        }
        assert!(in_dockers_words("{}").is_none());
        let nested = r#"{"errorDetail":{"message":"no such host"},"error":"no such host "}"#;
        assert_eq!((told_in(nested), told_in(" plain")), ("no such host".into(), "plain".into()));
    }
}
