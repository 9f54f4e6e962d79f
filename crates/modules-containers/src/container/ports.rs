use std::fmt;

/// A published port: `[[IP:]HOST:]CONTAINER[/PROTOCOL]`, one of a range.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Published {
    pub(super) address: String,
    /// Empty: the engine chooses.
    pub(super) host_port: String,
    /// With its protocol: `8080/tcp`.
    pub(super) container_port: String,
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.address.is_empty() {
            write!(f, "{}:", self.address)?;
        }
        write!(f, "{}:{}", self.host_port, self.container_port)
    }
}

/// Reads one entry of `published_ports`; a range gives several.
pub(crate) fn parse(text: &str) -> Result<Vec<Published>, String> {
    let wrong = || format!("{text:?} is not a port; write it like 80:8080, 127.0.0.1:80:8080 or 53:53/udp");
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    if !["tcp", "udp", "sctp"].contains(&protocol) {
        return Err(wrong());
    }
    let (rest, container) = match ports.rsplit_once(':') {
        Some((rest, container)) => (Some(rest), container),
        None => (None, ports),
    };
    let (address, host) = match rest {
        None => ("", None),
        // An address in brackets holds colons of its own.
        Some(rest) => match rest.rsplit_once(':') {
            Some((address, host)) => (address.trim_matches(['[', ']']), Some(host)),
            None => ("", Some(rest)),
        },
    };
    let container = range(container).ok_or_else(wrong)?;
    let host = match host {
        None | Some("") => None,
        Some(host) => Some(range(host).ok_or_else(wrong)?),
    };
    if host.as_ref().is_some_and(|h| h.len() != container.len()) {
        return Err(format!("{text:?}: the two ranges differ in length"));
    }
    Ok(container
        .enumerate()
        .map(|(index, port)| Published {
            address: address.to_owned(),
            host_port: host
                .clone()
                .and_then(|mut h| h.nth(index))
                .map_or_else(String::new, |p| p.to_string()),
            container_port: format!("{port}/{protocol}"),
        })
        .collect())
}

fn range(text: &str) -> Option<std::ops::Range<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    (first > 0 && first <= last && last < u16::MAX).then(|| first..last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_docker_writes_them() {
        for (text, expected) in [
            ("80:8080", vec!["80:8080/tcp"]),
            ("127.0.0.1:80:8080", vec!["127.0.0.1:80:8080/tcp"]),
            ("[::1]:80:8080", vec!["::1:80:8080/tcp"]),
            ("8080", vec![":8080/tcp"]),
            ("127.0.0.1::8080", vec!["127.0.0.1::8080/tcp"]),
            ("53:53/udp", vec!["53:53/udp"]),
            ("90-91:80-81", vec!["90:80/tcp", "91:81/tcp"]),
        ] {
            let ports: Vec<String> = parse(text).expect(text).iter().map(ToString::to_string).collect();
            assert_eq!(ports, expected, "{text}");
        }
        for text in ["", "x:80", "80:90-91", "80/ftp", "70000:1", "0:80"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
