use super::certificate::{Bundle, examine};
use super::finding::Severity;
use super::mend::Mend;
use super::model::{ServerAddress, Termination};
use super::reader::Reader;
use crate::diag::Diagnostic;
use jiff::Timestamp;

/// Reads where clients reach Quay, and whether its certificate fits.
pub(super) fn read(reader: &mut Reader<'_>, bundle: &Bundle, now: Timestamp) -> Option<ServerAddress> {
    let scheme = reader.text("PREFERRED_URL_SCHEME").map(|(text, at)| (text.to_owned(), at.clone()));
    let secure = scheme.as_ref().is_some_and(|(text, _)| text == "https");
    let in_front = reader.flag("EXTERNAL_TLS_TERMINATION", false);
    let termination = match (secure, in_front) {
        (false, _) => Termination::None,
        (true, true) => Termination::InFront,
        (true, false) => Termination::Quay,
    };
    if in_front && !secure {
        let said = reader.about(
            "EXTERNAL_TLS_TERMINATION",
            "EXTERNAL_TLS_TERMINATION is set, but clients are sent to http",
        );
        reader.warning(said.hint("set PREFERRED_URL_SCHEME: https, which is what clients see"));
    }
    if termination != Termination::Quay && bundle.key.is_some() {
        let said = reader.about(
            "PREFERRED_URL_SCHEME",
            format!("{}/ssl.key makes Quay speak https all the same", bundle.place),
        );
        reader.warning(
            said.note("whatever asks it by http is sent on to https").hint("remove ssl.cert and ssl.key"),
        );
    }
    if termination == Termination::Quay {
        ciphers(reader);
    }
    let address = name(reader, termination);
    if termination == Termination::Quay {
        let place = scheme.map_or_else(|| reader.at("SERVER_HOSTNAME"), |(_, at)| at);
        // A dot at a name's end is none of a certificate's.
        let host = address.as_ref().map(|a| a.host.trim_end_matches('.'));
        for (severe, problem) in examine(bundle, host, now) {
            let diagnostic = problem.at(&place);
            if severe { reader.error(diagnostic) } else { reader.warning(diagnostic) }
        }
    }
    address
}

/// What Quay's nginx is told of TLS.
fn ciphers(reader: &mut Reader<'_>) {
    for key in ["SSL_CIPHERS", "SSL_PROTOCOLS"] {
        if let Some((_, at)) = reader.text(key) {
            reader.error(
                Diagnostic::new(format!("{key} is a list, and of a string Quay's nginx gets each letter"))
                    .at(at)
                    .hint("write it in brackets: [first, second]"),
            );
        }
    }
}

fn name(reader: &mut Reader<'_>, termination: Termination) -> Option<ServerAddress> {
    const KEY: &str = "SERVER_HOSTNAME";
    let node = reader.get(KEY)?;
    let text = node.as_str().filter(|text| !text.is_empty())?;
    match host_and_port(KEY, text, reader.since(18)) {
        Ok((host, port)) => {
            if port.is_none() && text.contains(':') {
                reader.warning(
                    Diagnostic::new(format!("{KEY} {text} has no port that a client could use"))
                        .at(&node.origin)
                        .hint("write HOST or HOST:PORT, the port from 1 to 65535"),
                );
            }
            Some(ServerAddress { host, port, termination, origin: node.origin.clone() })
        }
        Err((message, hint)) => {
            let mend = without_scheme(reader, text).and_then(|plain| {
                Mend::scalar(reader, node, plain, format!("{KEY}: the scheme is taken out"))
            });
            let said = Diagnostic::new(message).at(&node.origin).hint(hint);
            reader.say(Severity::Error, said, mend);
            None
        }
    }
}

/// The name without its scheme, where that says the same as `PREFERRED_URL_SCHEME`.
fn without_scheme(reader: &Reader<'_>, text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let plain = rest.strip_suffix('/').unwrap_or(rest);
    let same = reader.text("PREFERRED_URL_SCHEME").is_some_and(|(set, _)| set == scheme);
    (same && host_and_port("", plain, reader.since(18)).is_ok()).then(|| plain.to_owned())
}

/// Splits a host and a port as Quay's start does; the error is what is wrong and what to write.
///
/// A port that nobody can have is taken, and is none. A single word is refused from 3.18 on.
pub(super) fn host_and_port(
    key: &str,
    name: &str,
    dotted: bool,
) -> Result<(String, Option<u16>), (String, String)> {
    let wrong = |why: &str, hint: &str| Err((format!("{key} {name} {why}"), hint.to_owned()));
    if let Some((scheme, rest)) = name.split_once("://") {
        let rest = rest.trim_end_matches('/');
        return wrong("holds a scheme", &format!("write {rest}, and {scheme} as PREFERRED_URL_SCHEME"));
    }
    let name = name.trim_matches(' ');
    if name.starts_with('[') || name.matches(':').count() > 1 {
        return wrong("is an IPv6 address, which Quay does not take", "give the host a name");
    }
    let (host, port) = match name.split_once(':') {
        None => (name, None),
        Some((host, digits)) => {
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return wrong("has no valid port", "write HOST or HOST:PORT, the port from 1 to 65535");
            }
            (host, digits.parse::<u16>().ok().filter(|port| *port > 0))
        }
    };
    if let Some(odd) = host.chars().find(|c| !(c.is_ascii_alphanumeric() || ['.', '-'].contains(c))) {
        return wrong(
            &format!("holds {odd:?}, which no host name does"),
            "letters, digits, dots and hyphens, and a port after a colon",
        );
    }
    if host.is_empty() {
        return wrong("names no host", "write HOST or HOST:PORT");
    }
    if dotted && host != "localhost" && !host.contains('.') {
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
            ("quay.quaylab.lan:70000", Ok(("quay.quaylab.lan", None))),
            ("localhost", Ok(("localhost", None))),
            ("192.168.254.2", Ok(("192.168.254.2", None))),
            ("quay", Err("give it a domain, such as quay.quaylab.lan")),
            ("https://q.lan/", Err("write q.lan, and https as PREFERRED_URL_SCHEME")),
            ("[::1]:443", Err("give the host a name")),
            ("q.lan:", Err("write HOST or HOST:PORT, the port from 1 to 65535")),
            ("q.lan:http", Err("write HOST or HOST:PORT, the port from 1 to 65535")),
            ("q_1.lan", Err("letters, digits, dots and hyphens, and a port after a colon")),
            (":80", Err("write HOST or HOST:PORT")),
        ] {
            let read = host_and_port("SERVER_HOSTNAME", name, true).map_err(|(_, hint)| hint);
            assert_eq!(read, expected.map(|(h, p)| (h.to_owned(), p)).map_err(str::to_owned), "{name}");
        }
        assert!(host_and_port("SERVER_HOSTNAME", "quay", false).is_ok());
    }
}
