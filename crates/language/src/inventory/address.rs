use std::net::Ipv6Addr;

/// A host or a range of hosts, with the port that stands after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub host: String,
    pub port: Option<u32>,
}

/// Reads `host`, `host:port` or `[host]:port`, where the host may hold ranges.
///
/// Returns `None` for what is no network name; Ansible then takes the whole text for a name.
pub(super) fn parse(text: &str) -> Option<Address> {
    let (host, port) = split_port(text).map_or((text, None), |(host, port)| (host, Some(port)));
    let plain = without_ranges(host)?;
    let known = is_name(&plain) || plain.replace(RANGE, "0").parse::<Ipv6Addr>().is_ok();
    known.then(|| Address { host: host.to_owned(), port })
}

/// Stands for a range while the rest of a name is judged; letters and digits count as word characters.
const RANGE: char = '\u{e000}';

fn split_port(text: &str) -> Option<(&str, u32)> {
    let (host, port) = text.rsplit_once(':')?;
    if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let port = port.parse().ok()?;
    let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).filter(|inner| !inner.is_empty());
    if let Some(inner) = inner {
        // `[01:03]:22` is a range of names, `[::1]:22` an address.
        return Some((if is_range(inner) { host } else { inner }, port));
    }
    // Without brackets around it, a host with a colon of its own has no port.
    let bare = without_brackets(host)?;
    (!bare.contains(':')).then_some((host, port))
}

/// The text without complete bracketed parts; `None` if a bracket has no partner.
fn without_brackets(text: &str) -> Option<String> {
    let mut rest = text;
    let mut bare = String::new();
    while let Some(open) = rest.find('[') {
        let close = rest.get(open..)?.find(']')? + open;
        bare.push_str(rest.get(..open)?);
        rest = rest.get(close + 1..)?;
    }
    bare.push_str(rest);
    (!bare.contains(']')).then_some(bare)
}

/// The text with one stand-in character for every range.
fn without_ranges(text: &str) -> Option<String> {
    let mut rest = text;
    let mut plain = String::new();
    while let Some(open) = rest.find('[') {
        let close = rest.get(open..)?.find(']')? + open;
        if !is_range(rest.get(open + 1..close)?) {
            return None;
        }
        plain.push_str(rest.get(..open)?);
        plain.push(RANGE);
        rest = rest.get(close + 1..)?;
    }
    plain.push_str(rest);
    (!plain.contains(']')).then_some(plain)
}

/// `1:5`, `a:f`, `1:9:2`.
fn is_range(text: &str) -> bool {
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let letter = |s: &str| s.len() == 1 && s.bytes().all(|b| b.is_ascii_alphabetic());
    let hex = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_hexdigit());
    let parts: Vec<&str> = text.split(':').collect();
    match parts.as_slice() {
        [from, to] => (digits(from) && digits(to)) || (letter(from) && letter(to)) || (hex(from) && hex(to)),
        [from, to, step] => {
            digits(step)
                && ((digits(from) && digits(to)) || (letter(from) && letter(to)) || (hex(from) && hex(to)))
        }
        _ => false,
    }
}

fn is_name(text: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == RANGE;
    text.split('.').all(|label| {
        label.starts_with(word) && label.chars().all(|c| word(c) || c == '-') && !label.ends_with(['-', '_'])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_ansibles() {
        for (text, expected) in [
            ("web1", Some(("web1", None))),
            ("web1:2222", Some(("web1", Some(2222)))),
            ("web[01:10].lan:22", Some(("web[01:10].lan", Some(22)))),
            ("[01:10].lan", Some(("[01:10].lan", None))),
            ("[::1]:22", Some(("::1", Some(22)))),
            ("fe80::1", Some(("fe80::1", None))),
            ("10.0.0.1:8022", Some(("10.0.0.1", Some(8022)))),
            ("a:b", None),
            ("all:!x", None),
            ("web[1:", None),
            ("name-:22", None),
            ("x:", None),
        ] {
            let expected = expected.map(|(host, port)| Address { host: host.to_owned(), port });
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
