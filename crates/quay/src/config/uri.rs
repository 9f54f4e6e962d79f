/// What a URI is made of, as Go's `net/url` cuts it: Quay's start reads addresses with that.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Uri<'a> {
    pub(super) scheme: &'a str,
    /// What stands before the last `@` of the host, still encoded.
    pub(super) login: Option<&'a str>,
    /// With the port.
    pub(super) host: &'a str,
    /// With the slash before it, still encoded.
    pub(super) path: &'a str,
}

/// Why a text is no URI. Nothing here repeats it, as it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoUri {
    NoScheme,
    /// A character that a user's name or password may not hold.
    Login(char),
    /// A character that a host may not hold.
    Host(char),
    Port,
    /// `%` without two hexadecimal digits.
    Escape,
    /// A control character.
    Control,
}

impl NoUri {
    /// What is wrong, to stand behind the name of a key.
    pub(super) fn words(self) -> String {
        match self {
            Self::NoScheme => "has no scheme".into(),
            Self::Login(odd) => format!("holds a bare {odd:?} in its user or password"),
            Self::Host(odd) => format!("holds {odd:?} in its host"),
            Self::Port => "has no valid port".into(),
            Self::Escape => "holds a % that two hexadecimal digits do not follow".into(),
            Self::Control => "holds a control character".into(),
        }
    }
}

/// Whether a login may hold this character as it is.
pub(super) fn fits_login(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c)
}

/// Reads a text as Go's `url.Parse` does, and asks for a scheme and `//` as well.
pub(super) fn parse(text: &str) -> Result<Uri<'_>, NoUri> {
    if text.bytes().any(|b| b < b' ' || b == 0x7f) {
        return Err(NoUri::Control);
    }
    let text = text.split('#').next().unwrap_or_default();
    let (scheme, rest) = text.split_once(':').ok_or(NoUri::NoScheme)?;
    let follows = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.chars().all(follows) {
        return Err(NoUri::NoScheme);
    }
    let rest = rest.split('?').next().unwrap_or_default();
    let rest = rest.strip_prefix("//").ok_or(NoUri::NoScheme)?;
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (login, host) = match authority.rsplit_once('@') {
        Some((login, host)) => (Some(login), host),
        None => (None, authority),
    };
    check_host(host)?;
    if let Some(login) = login {
        if let Some(odd) = login.chars().find(|c| !fits_login(*c)) {
            return Err(NoUri::Login(odd));
        }
        decode(login)?;
    }
    if path.contains('%') {
        decode(path)?;
    }
    Ok(Uri { scheme, login, host, path })
}

fn check_host(host: &str) -> Result<(), NoUri> {
    let port = if host.starts_with('[') {
        let close = host.rfind(']').ok_or(NoUri::Host('['))?;
        host.get(close + 1..).unwrap_or_default()
    } else {
        host.rfind(':').and_then(|colon| host.get(colon..)).unwrap_or_default()
    };
    let digits = port.strip_prefix(':').unwrap_or(if port.is_empty() { "" } else { "?" });
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(NoUri::Port);
    }
    let fits = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || "-_.~!$&'()*+,;=:[]<>\"".contains(c);
    match host.chars().find(|c| !fits(*c)) {
        Some('%') => Err(NoUri::Escape),
        Some(odd) => Err(NoUri::Host(odd)),
        None => Ok(()),
    }
}

/// Undoes percent-encoding.
pub(super) fn decode(text: &str) -> Result<String, NoUri> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = rest.next().zip(rest.next()).ok_or(NoUri::Escape)?;
            let value = |digit: u8| char::from(digit).to_digit(16).ok_or(NoUri::Escape);
            let byte = value(digits.0)? * 16 + value(digits.1)?;
            bytes.push(u8::try_from(byte).map_err(|_| NoUri::Escape)?);
        } else {
            bytes.push(byte);
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Percent-encodes what a login may not hold as it is.
pub(super) fn encode_login(text: &str) -> String {
    let mut encoded = String::new();
    for c in text.chars() {
        if fits_login(c) {
            encoded.push(c);
        } else {
            let mut buffer = [0; 4];
            for byte in c.encode_utf8(&mut buffer).bytes() {
                encoded.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    encoded
}

/// Whether Go takes this for an address that a request can be sent to: a scheme and a host, or a path from the root.
pub(super) fn is_request_uri(text: &str) -> bool {
    if text.starts_with('/') {
        return text.bytes().all(|b| b > b' ' && b != 0x7f) && decode(text).is_ok();
    }
    // Whatever has a scheme, also without `//`, is one.
    match parse(text) {
        Ok(_) => true,
        Err(NoUri::NoScheme) => text.split_once(':').is_some_and(|(scheme, rest)| {
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
                && rest.starts_with('/')
        }),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_those_of_go() {
        let uri = parse("postgresql://quay:p%40s@db:5432/quay?sslmode=require#x").expect("a URI");
        assert_eq!(
            (uri.scheme, uri.login, uri.host, uri.path),
            ("postgresql", Some("quay:p%40s"), "db:5432", "/quay")
        );
        // Each of these in a password: those that Go refuses, and those that it takes.
        for odd in ['^', '{', '}', '|', '"', '<', '>', '\\', '`', 'ä', '€', ' ', '[', ']'] {
            assert_eq!(parse(&format!("postgresql://q:a{odd}b@db/x")), Err(NoUri::Login(odd)), "{odd}");
        }
        for fine in "-._~!$&'()*+,;=:@".chars() {
            let text = format!("postgresql://q:a{fine}b@db/x");
            assert_eq!(parse(&text).map(|u| u.host), Ok("db"), "{fine}");
        }
        for (text, why) in [
            ("quay", NoUri::NoScheme),
            ("clair:6060", NoUri::NoScheme),
            ("1http://x", NoUri::NoScheme),
            ("http://x:port/", NoUri::Port),
            ("http://[::1/", NoUri::Host('[')),
            ("http://a b/", NoUri::Host(' ')),
            ("http://a%zz/", NoUri::Escape),
            ("http://q:%zz@a/", NoUri::Escape),
            ("http://a/%z", NoUri::Escape),
            ("http://a/\t", NoUri::Control),
        ] {
            assert_eq!(parse(text), Err(why), "{text}");
        }
        for text in ["http://[::1]:80/", "http://a:/", "sqlite:////x", "ldap://ä.lan"] {
            assert!(parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_is_encoded_is_taken_and_comes_back() {
        for password in ["a^b", "{|}", "ä€", "a<b>\"c`\\"] {
            let encoded = encode_login(password);
            assert!(parse(&format!("x://q:{encoded}@h/")).is_ok(), "{encoded}");
            assert_eq!(decode(&encoded).as_deref(), Ok(password));
        }
    }

    #[test]
    fn a_documentation_root_is_an_address() {
        for (text, taken) in [
            ("https://docs.lan/", true),
            ("/docs", true),
            ("docs.lan", false),
            ("docs.lan/here", false),
            ("https://a b/", false),
            ("", false),
        ] {
            assert_eq!(is_request_uri(text), taken, "{text}");
        }
    }
}
