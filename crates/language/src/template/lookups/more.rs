//! Lookups of tables, addresses on the web, encrypted files, and the inventory.

use std::time::Duration;

use minijinja::{Error, Value};
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use reqwest::Url;
use reqwest::header::LOCATION;

use super::super::bounds;
use super::super::convert;
use super::super::python;
use super::files::read;
use super::{Ask, wrong};
use crate::http::{chain, limited_body};
use crate::inventory::{Inventory, VarMap};

/// The files' texts, opened where they are encrypted, as they are.
pub(super) fn unvault(ask: &Ask<'_>) -> Result<Vec<Value>, Error> {
    ask.texts()?.iter().map(|name| Ok(Value::from(read(ask, "unvault", name, "files")?.1))).collect()
}

/// A column of the first line whose first column is the term.
pub(super) fn csvfile(ask: &Ask<'_>) -> Result<Vec<Value>, Error> {
    let mut found = Vec::new();
    for term in ask.texts()? {
        let mut words = term.split(' ').filter(|w| !w.is_empty());
        let key = words.next().unwrap_or_default().to_owned();
        let inline: Vec<(&str, &str)> = words.filter_map(|w| w.split_once('=')).collect();
        let option = |name: &str, default: &str| {
            let inline = inline.iter().find(|(k, _)| *k == name).map(|(_, v)| (*v).to_owned());
            inline.or_else(|| ask.text_option(name)).unwrap_or_else(|| default.to_owned())
        };
        let number = |name: &str, default: &str| {
            option(name, default)
                .parse::<usize>()
                .map_err(|_| wrong("csvfile", format!("{name} must be a number")))
        };
        let (column, key_column) = (number("col", "1")?, number("keycol", "0")?);
        let delimiter = match option("delimiter", "TAB").as_str() {
            "TAB" | "\\t" | "t" => '\t',
            other => other.chars().next().unwrap_or('\t'),
        };
        let (_, text) = read(ask, "csvfile", &option("file", "ansible.csv"), "files")?;
        let line = rows(&text, delimiter).into_iter().find(|row| row.get(key_column) == Some(&key));
        match line.map(|row| row.get(column).cloned()) {
            Some(Some(cell)) => found.push(Value::from(cell)),
            Some(None) => return Err(wrong("csvfile", format!("the line of {key} has no column {column}"))),
            None => found.extend(ask.option("default").cloned()),
        }
    }
    Ok(found)
}

/// Lines of cells; quotes hold delimiters and line ends.
fn rows(text: &str, delimiter: char) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let (mut row, mut cell) = (Vec::new(), String::new());
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                cell.push('"');
                chars.next();
            }
            '"' => quoted = !quoted,
            c if c == delimiter && !quoted => row.push(std::mem::take(&mut cell)),
            '\r' if !quoted => {}
            '\n' if !quoted => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            c => cell.push(c),
        }
    }
    if !cell.is_empty() || !row.is_empty() {
        row.push(cell);
        rows.push(row);
    }
    rows
}

/// What stands at addresses on the web: lines, or whole with `split_lines=false`.
pub(super) fn url(ask: &Ask<'_>) -> Result<Vec<Value>, Error> {
    let lines = ask.flag("split_lines", true);
    let verify = ask.flag("validate_certs", true);
    let seconds = ask.text_option("timeout").and_then(|t| t.parse().ok()).unwrap_or(10.0);
    let user = ask.text_option("username").or_else(|| ask.text_option("url_username"));
    let password = ask.text_option("password").or_else(|| ask.text_option("url_password"));
    let headers: Vec<(String, String)> = match ask.option("headers") {
        Some(map) => {
            convert::checked_pairs(map)?.iter().map(|(k, v)| (python::py_str(k), python::py_str(v))).collect()
        }
        None => Vec::new(),
    };
    let mut found = Vec::new();
    for address in ask.texts()? {
        let request = Request {
            address,
            verify,
            seconds,
            user: user.clone(),
            password: password.clone(),
            headers: headers.clone(),
        };
        let text = fetch(request).map_err(|why| wrong("url", why))?;
        if lines {
            found.extend(text.lines().map(Value::from));
        } else {
            found.push(Value::from(text));
        }
    }
    Ok(found)
}

struct Request {
    address: String,
    verify: bool,
    seconds: f64,
    user: Option<String>,
    password: Option<String>,
    headers: Vec<(String, String)>,
}

/// Templates are computed on threads that drive other work: the request gets one of its own.
fn fetch(request: Request) -> Result<String, String> {
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| e.to_string())?;
        runtime.block_on(async {
            let client = reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .tls_danger_accept_invalid_certs(!request.verify)
                .timeout(Duration::try_from_secs_f64(request.seconds).unwrap_or(Duration::from_secs(10)))
                .build()
                .map_err(|e| e.to_string())?;
            let reply = followed(&client, &request).await?.error_for_status().map_err(|e| chain(&e))?;
            let body = limited_body(reply, crate::limits::Limits::default().http).await?;
            Ok(String::from_utf8_lossy(&body).into_owned())
        })
    };
    std::thread::spawn(work).join().map_err(|_| "the request broke off".to_owned())?
}

/// Servers that an answer may come by.
const MOST_REDIRECTS: usize = 10;

/// The answer, wherever the server sends the request. What was given for the server goes to that server alone: any header may
/// hold a password or a token.
async fn followed(client: &reqwest::Client, request: &Request) -> Result<reqwest::Response, String> {
    let first = Url::parse(&request.address).map_err(|e| format!("{}: {e}", request.address))?;
    let mut url = first.clone();
    let mut left = MOST_REDIRECTS;
    // Once it led elsewhere, what it leads back to is that other server's wish.
    let mut own = true;
    loop {
        let mut get = client.get(url.clone());
        if own {
            for (name, value) in &request.headers {
                get = get.header(name, value);
            }
            if let Some(user) = &request.user {
                get = get.basic_auth(user, request.password.as_ref());
            }
        }
        let reply = get.send().await.map_err(|e| chain(&e))?;
        let Some(next) = redirected(&reply, &url)? else { return Ok(reply) };
        left = left.checked_sub(1).ok_or("it was sent on too often")?;
        own &= next.origin() == first.origin();
        url = next;
    }
}

/// Where an answer sends to, if it does.
fn redirected(reply: &reqwest::Response, from: &Url) -> Result<Option<Url>, String> {
    if ![301, 302, 303, 307, 308].contains(&reply.status().as_u16()) {
        return Ok(None);
    }
    let Some(location) = reply.headers().get(LOCATION).and_then(|l| l.to_str().ok()) else { return Ok(None) };
    next_of(from, location).map(Some)
}

fn next_of(from: &Url, location: &str) -> Result<Url, String> {
    let next = from.join(location).map_err(|e| format!("it is sent on to {location}: {e}"))?;
    if !matches!(next.scheme(), "http" | "https") {
        return Err(format!("it is sent on to {next}, which is neither http nor https"));
    }
    if from.scheme() == "https" && next.scheme() == "http" {
        return Err(format!("https may not lead to {next}: on its way anybody could replace what comes"));
    }
    Ok(next)
}

/// The hosts that patterns mean.
pub(super) fn inventory_hostnames(ask: &Ask<'_>) -> Result<Vec<Value>, Error> {
    let groups = ask.context.lookup("groups").map(|g| convert::to_value(&g)).transpose()?;
    let told = |e: crate::diag::Diagnostic| wrong("inventory_hostnames", e.message);
    let (mut inventory, _) = Inventory::load(&[]).map_err(told)?;
    let groups = groups.as_ref().and_then(crate::value::Value::as_object);
    let all = |name: &str| name == "all";
    // The order of `all` is that of the inventory.
    let known: Vec<_> = groups.into_iter().flatten().collect();
    for (group, hosts) in known.iter().filter(|(g, _)| all(g)).chain(known.iter().filter(|(g, _)| !all(g))) {
        let names = if group.as_str() == "all" { Vec::new() } else { vec![(*group).clone()] };
        for host in hosts.as_array().into_iter().flatten().filter_map(crate::value::Value::as_str) {
            inventory.add_host(host, &names, VarMap::new());
        }
    }
    let patterns = ask.texts()?.join(":");
    let (hosts, _) = inventory.select(&patterns).map_err(told)?;
    Ok(hosts.into_iter().map(Value::from).collect())
}

/// `community.general.random_string`.
pub(super) fn random_string(ask: &Ask<'_>) -> Result<Vec<Value>, Error> {
    const SPECIAL: &str = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
    let number = |name: &str, default: usize| -> Result<usize, Error> {
        ask.text_option(name).map_or(Ok(default), |t| {
            t.parse().map_err(|_| wrong("random_string", format!("{name} must be a number, not '{t}'")))
        })
    };
    let similar = ask.text_option("similar_chars").unwrap_or_else(|| "il1LoO0".into());
    let special = ask.text_option("override_special").unwrap_or_else(|| SPECIAL.into());
    let without = ask.flag("ignore_similar_chars", false);
    let set = |name: &str, chars: String| -> Vec<char> {
        let chars = chars.chars().filter(|c| !without || !similar.contains(*c));
        if ask.flag(name, true) { chars.collect() } else { Vec::new() }
    };
    let sets = [
        ("min_numeric", set("numbers", ('0'..='9').collect())),
        ("min_upper", set("upper", ('A'..='Z').collect())),
        ("min_lower", set("lower", ('a'..='z').collect())),
        ("min_special", set("special", special)),
    ];
    let all: Vec<char> = match ask.text_option("override_all") {
        Some(only) => only.chars().collect(),
        None => sets.iter().flat_map(|(_, set)| set.iter().copied()).collect(),
    };
    if all.is_empty() {
        return Err(wrong("random_string", "every kind of character is left out"));
    }
    let length = number("length", 8)?;
    bounds::items("random_string", Some(length))?;
    let mut rng = rand::rng();
    let mut text: Vec<char> = Vec::new();
    for (name, set) in &sets {
        let least = number(name, 0)?;
        bounds::items("random_string", Some(least))?;
        for _ in 0..least {
            text.extend(set.choose(&mut rng));
        }
    }
    if text.len() > length {
        return Err(wrong("random_string", "the length is too small for what it shall hold"));
    }
    while text.len() < length {
        text.extend(all.choose(&mut rng));
    }
    text.shuffle(&mut rng);
    let text: String = text.into_iter().collect();
    if ask.flag("base64", false) {
        use base64::Engine as _;
        return Ok(vec![Value::from(base64::engine::general_purpose::STANDARD.encode(text))]);
    }
    Ok(vec![Value::from(text)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use quaylab_testing::http_server::{Heard, answer, serve};

    #[test]
    fn what_is_for_one_server_goes_to_no_other() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (other, at_other) = serve(|_| answer("200 OK", "", "there"));
        let (server, at_server) = serve(move |request| {
            let to = if request.contains("/away") {
                format!("http://localhost:{}/b", other.port())
            } else {
                "/b".into()
            };
            if request.starts_with("GET /b") {
                return answer("200 OK", "", "here");
            }
            answer("302 Found", &format!("Location: {to}\r\n"), "")
        });
        let get = |path: &str| {
            fetch(Request {
                address: format!("http://{server}{path}"),
                verify: true,
                seconds: 10.0,
                user: Some("me".into()),
                password: Some("secret".into()),
                headers: vec![("X-Auth-Token".into(), "token".into())],
            })
        };
        assert_eq!(get("/away"), Ok("there".into()));
        assert_eq!(get("/near"), Ok("here".into()));
        let told = |heard: &Heard| heard.lock().expect("unpoisoned").join("\n").to_lowercase();
        assert_eq!(told(&at_server).matches("x-auth-token: token").count(), 3);
        assert_eq!(told(&at_server).matches("authorization: basic").count(), 3);
        assert!(told(&at_other).contains("get /b"), "{}", told(&at_other));
        assert!(!told(&at_other).contains("token") && !told(&at_other).contains("authorization"));
    }

    #[test]
    fn a_request_is_sent_on_by_no_worse_way() {
        let from = Url::parse("https://a.lan/x").expect("a URL");
        for (location, leads) in [
            ("/y", true),
            ("https://b.lan/", true),
            ("http://a.lan/", false),
            ("http://b.lan/", false),
            ("file:///etc/passwd", false),
        ] {
            assert_eq!(next_of(&from, location).is_ok(), leads, "{location}");
        }
    }

    #[test]
    fn quotes_hold_cells_together() {
        assert_eq!(rows("a,b\n\"c,d\",\"e\"\"f\"", ','), [["a", "b"], ["c,d", "e\"f"]]);
        assert_eq!(rows("k\tv\r\n", '\t'), [["k", "v"]]);
    }
}
