use std::net::{Ipv4Addr, SocketAddr};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisError};
use tokio::net::TcpListener;

use super::run::Answer;
use crate::host::{ByteStream, Secret};

/// Logs in to a Redis that was dialled and sends PING.
pub(super) async fn ping(stream: Box<dyn ByteStream>, password: Option<&Secret>) -> Answer {
    let conversation = async {
        let login = RedisConnectionInfo::default();
        let (mut connection, driver) =
            MultiplexedConnection::new_with_config(&login, stream, AsyncConnectionConfig::new()).await?;
        tokio::spawn(driver);
        if let Some(password) = password {
            redis::cmd("AUTH").arg(&password.0).query_async::<()>(&mut connection).await?;
        }
        redis::cmd("PING").query_async::<String>(&mut connection).await?;
        let info: String = redis::cmd("INFO").arg("server").query_async(&mut connection).await?;
        Ok::<_, RedisError>(info)
    };
    match conversation.await {
        Ok(info) => {
            let version =
                info.lines().find_map(|l| l.strip_prefix("redis_version:")).unwrap_or("of some version");
            Answer::Serves(format!("Redis {}, PONG", version.trim()))
        }
        Err(error) => refused(&error.to_string(), password.is_some()),
    }
}

fn refused(text: &str, with_password: bool) -> Answer {
    let lower = text.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|w| lower.contains(w));
    if has(&["no password is set", "without any password configured"]) {
        Answer::fails(
            "Redis has no password, but the configuration gives one",
            "take password out, or set requirepass",
        )
    } else if has(&["noauth", "authentication required"]) && !with_password {
        Answer::fails("Redis wants a password, and the configuration gives none", "add password to it")
    } else if has(&["wrongpass", "invalid password", "invalid username", "authentication failed"]) {
        Answer::fails("Redis refused the password", "make it the one that Redis was started with")
    } else {
        Answer::fails(format!("Redis answered: {text}"), "is what listens there Redis?")
    }
}

/// A port on this machine that leads to a stream, once: for a client that takes an address only.
pub(super) async fn lead_to(mut stream: Box<dyn ByteStream>) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        if let Ok((mut accepted, _)) = listener.accept().await {
            // Either side may close first; the client sees what came of it.
            let _ = tokio::io::copy_bidirectional(&mut accepted, &mut stream).await;
        }
    });
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        for (text, with_password, part) in [
            ("WRONGPASS invalid username-password pair", true, "refused the password"),
            ("NOAUTH Authentication required.", false, "gives none"),
            ("ERR AUTH called without any password configured for the default user", true, "has no password"),
            ("unexpected", true, "is what listens there Redis?"),
        ] {
            let Answer::Fails { why, hint } = refused(text, with_password) else { panic!("a failure") };
            assert!(format!("{why} {hint}").contains(part), "{text}: {why} {hint}");
        }
    }
}
