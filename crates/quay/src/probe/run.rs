use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{database, dialled, scanner, storage};
use crate::config::{Leaf, QuayConfig, RedisServer, ServerAddress, Service, Termination};
use crate::http::{Dial, Trust, present, wrap};

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It serves; what it says of itself.
    Serves(String),
    /// It serves, but something about it is to be known.
    But {
        found: String,
        hint: String,
    },
    Fails {
        why: String,
        hint: String,
    },
    /// There is nothing to ask.
    NotAsked(String),
}

impl Answer {
    pub(super) fn fails(why: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Fails { why: why.into(), hint: hint.into() }
    }
}

/// One thing that was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// The key of the configuration that names it.
    pub key: String,
    /// Where it is.
    pub place: String,
    pub answer: Answer,
    pub milliseconds: u64,
}

impl Probed {
    pub fn failed(&self) -> bool {
        matches!(self.answer, Answer::Fails { .. })
    }
}

/// Asks everything that a configuration names, one after the other, from where `dial` stands.
pub async fn probe(config: &QuayConfig, dial: &dyn Dial, trust: &Trust, wait: Duration) -> Vec<Probed> {
    let mut all = Vec::new();
    if let Some(database) = &config.database {
        let place = database::place(database);
        let asked = database::ask(database, dial, wait);
        all.push(timed("DB_URI", place, wait, asked).await);
    }
    for (key, server) in [("BUILDLOGS_REDIS", &config.build_logs), ("USER_EVENTS_REDIS", &config.user_events)]
    {
        if let Some(server) = server {
            let place = format!("{}:{}", server.host, server.port);
            all.push(timed(key, place, wait, redis(server, dial, trust)).await);
        }
    }
    for location in &config.storage {
        let key = format!("DISTRIBUTED_STORAGE_CONFIG: {}", location.id);
        let asked = storage::ask(location, dial, trust, wait);
        all.push(timed(&key, storage::place(location), wait, asked).await);
    }
    if let Some(scanner) = &config.scanner {
        let asked = scanner::ask(scanner, dial, trust, wait);
        all.push(timed("SECURITY_SCANNER_V4_ENDPOINT", scanner.endpoint.clone(), wait, asked).await);
    }
    for service in &config.services {
        all.push(timed(&service.key, service.place.clone(), wait, reach(service, dial)).await);
    }
    if let Some(address) = &config.address {
        let place = format!("{}:{}", address.host, address.port());
        all.push(timed("SERVER_HOSTNAME", place, wait, certificate(address, dial)).await);
    }
    all
}

async fn timed(key: &str, place: String, wait: Duration, asked: impl Future<Output = Answer>) -> Probed {
    let started = Instant::now();
    // Some of what is asked takes several questions.
    let answer = tokio::time::timeout(wait * 3, asked).await.unwrap_or_else(|_| {
        Answer::fails(
            format!("no answer within {} s", wait.as_secs() * 3),
            "is what listens there the right thing?",
        )
    });
    let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Probed { key: key.to_owned(), place, answer, milliseconds }
}

/// Logs in to Redis and sends PING.
async fn redis(server: &RedisServer, dial: &dyn Dial, trust: &Trust) -> Answer {
    const RUNS: &str = "is Redis running, and does it listen there?";
    let stream = match dial.dial(&server.host, server.port).await {
        Ok(stream) => stream,
        Err(error) => return Answer::fails(format!("Redis does not answer: {error}"), RUNS),
    };
    if !server.tls {
        return dialled::ping(stream, server.password.as_ref()).await;
    }
    match wrap(stream, &server.host, trust).await {
        Ok(stream) => dialled::ping(Box::new(stream), server.password.as_ref()).await,
        Err(error) => {
            Answer::fails(format!("TLS with Redis failed: {error}"), "does it speak TLS there (ssl: true)?")
        }
    }
}

/// Whether anything listens where a service shall be. What it is and whom it lets in is not asked.
async fn reach(service: &Service, dial: &dyn Dial) -> Answer {
    let Some((host, port)) = &service.address else {
        return Answer::NotAsked(format!("{} has no address of its own", service.what));
    };
    match dial.dial(host, *port).await {
        Ok(_) => Answer::Serves(format!("{}: something listens there", service.what)),
        Err(error) => Answer::fails(
            format!("{} does not answer: {error}", service.what),
            "Quay's start asks it, too, and ends there",
        ),
    }
}

/// Looks at the certificate that clients are shown.
async fn certificate(address: &ServerAddress, dial: &dyn Dial) -> Answer {
    if address.termination == Termination::None {
        return Answer::NotAsked("plain HTTP has no certificate".into());
    }
    let shown = match dial.dial(&address.host, address.port()).await {
        Ok(stream) => present(stream, &address.host).await,
        Err(error) => {
            return match address.termination {
                Termination::InFront => Answer::fails(
                    format!("nothing answers in front of Quay: {error}"),
                    "start what speaks TLS there, and let it send X-Forwarded-Proto",
                ),
                _ => Answer::NotAsked(format!("Quay does not run there yet: {error}")),
            };
        }
    };
    let leaf = match shown.map(|chain| chain.first().map(|der| Leaf::read(der))) {
        Ok(Some(Ok(leaf))) => leaf,
        Ok(Some(Err(error))) | Err(error) => {
            return Answer::fails(format!("TLS failed: {error}"), "does what listens there speak TLS?");
        }
        Ok(None) => return Answer::fails("it shows no certificate", "does what listens there speak TLS?"),
    };
    match leaf.unbelievable(Some(&address.host), Timestamp::now()).first() {
        Some(why) => Answer::fails(format!("its certificate {why}"), why.hint()),
        None => Answer::Serves(format!("certificate until {}", leaf.not_after.strftime("%Y-%m-%d"))),
    }
}
