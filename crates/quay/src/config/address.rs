use jiff::Timestamp;

use super::certificate::{Bundle, examine};
use super::model::{ServerAddress, Termination};
use super::reader::Reader;
use crate::diag::{Diagnostic, closest};

/// Reads where clients reach Quay, and whether its certificate fits.
pub(super) fn read(reader: &mut Reader<'_>, bundle: &Bundle, now: Timestamp) -> Option<ServerAddress> {
    let scheme = reader.text("PREFERRED_URL_SCHEME").map(|(text, at)| (text.to_owned(), at.clone()));
    if let Some((text, at)) = &scheme
        && !["http", "https"].contains(&text.as_str())
    {
        let near = closest(&text.to_lowercase(), ["http", "https"]).unwrap_or("https");
        reader.error(
            Diagnostic::new(format!("PREFERRED_URL_SCHEME is http or https, not {text}"))
                .at(at)
                .hint(format!("write {near}")),
        );
    }
    let secure = scheme.as_ref().is_some_and(|(text, _)| text == "https");
    let in_front = reader.flag("EXTERNAL_TLS_TERMINATION", false);
    let termination = match (secure, in_front) {
        (false, _) => Termination::None,
        (true, true) => Termination::InFront,
        (true, false) => Termination::Quay,
    };
    if in_front && !secure && scheme.is_some() {
        let at = reader.at("EXTERNAL_TLS_TERMINATION");
        reader.warning(
            Diagnostic::new("EXTERNAL_TLS_TERMINATION is set, but clients are sent to http")
                .at(&at)
                .hint("set PREFERRED_URL_SCHEME: https, which is what clients see"),
        );
    }
    let (name, at) = reader.text("SERVER_HOSTNAME")?;
    let address = match host_and_port(name) {
        Ok((host, port)) => Some(ServerAddress { host, port, termination, origin: at.clone() }),
        Err((message, hint)) => {
            reader.error(Diagnostic::new(message).at(at).hint(hint));
            None
        }
    };
    if termination == Termination::Quay {
        let place = scheme.map_or_else(|| at.clone(), |(_, at)| at);
        for (severe, problem) in examine(bundle, address.as_ref().map(|a| a.host.as_str()), now) {
            let diagnostic = problem.at(&place);
            if severe { reader.error(diagnostic) } else { reader.warning(diagnostic) }
        }
    }
    address
}

/// Splits `SERVER_HOSTNAME`; the error is what is wrong and what to write.
fn host_and_port(name: &str) -> Result<(String, Option<u16>), (String, String)> {
    let wrong = |why: &str, hint: &str| Err((format!("SERVER_HOSTNAME {name} {why}"), hint.to_owned()));
    if let Some((scheme, rest)) = name.split_once("://") {
        let rest = rest.trim_end_matches('/');
        return wrong("holds a scheme", &format!("write {rest}, and {scheme} as PREFERRED_URL_SCHEME"));
    }
    if name.starts_with('[') || name.matches(':').count() > 1 {
        return wrong("is an IPv6 address, which Quay does not take", "give the host a name");
    }
    let (host, port) = match name.split_once(':') {
        None => (name, None),
        Some((host, port)) => match port.parse::<u16>() {
            Ok(port) if port > 0 => (host, Some(port)),
            _ => return wrong("has no valid port", "write HOST or HOST:PORT, the port from 1 to 65535"),
        },
    };
    if let Some(odd) = host.chars().find(|c| !(c.is_ascii_alphanumeric() || ['.', '-'].contains(c))) {
        return wrong(
            &format!("holds {odd:?}, which no host name does"),
            "letters, digits, dots and hyphens, and a port after a colon",
        );
    }
    if host != "localhost" && !host.contains('.') {
        return wrong(
            "has no dot in it, and Quay refuses a single word",
            &format!("give it a domain, such as {host}.quaylab.lan"),
        );
    }
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_quays() {
        for (name, expected) in [
            ("quay.quaylab.lan", Ok(("quay.quaylab.lan", None))),
            ("quay.quaylab.lan:8080", Ok(("quay.quaylab.lan", Some(8080)))),
            ("localhost", Ok(("localhost", None))),
            ("192.168.254.2", Ok(("192.168.254.2", None))),
            ("quay", Err("give it a domain, such as quay.quaylab.lan")),
            ("https://q.lan/", Err("write q.lan, and https as PREFERRED_URL_SCHEME")),
            ("[::1]:443", Err("give the host a name")),
            ("q.lan:0", Err("write HOST or HOST:PORT, the port from 1 to 65535")),
            ("q_1.lan", Err("letters, digits, dots and hyphens, and a port after a colon")),
        ] {
            let read = host_and_port(name).map_err(|(_, hint)| hint);
            assert_eq!(read, expected.map(|(h, p)| (h.to_owned(), p)).map_err(str::to_owned), "{name}");
        }
    }
}
