//! The lookup `password`: a random password, made once and kept in a file.

use std::fs;
use std::path::{Path, PathBuf};

use minijinja::{Error, Value};
use rand::seq::IndexedRandom;

use super::super::convert;
use super::super::hashing;
use super::super::python;
use super::{Ask, wrong};
use crate::store::{Turn, expanded, write_private};

struct Wanted {
    path: PathBuf,
    length: usize,
    chars: Vec<char>,
    encrypt: Option<String>,
}

pub(super) fn password(ask: &Ask<'_>) -> Result<Vec<Value>, Error> {
    ask.texts()?.iter().map(|term| one(&parse(ask, term)?).map(Value::from)).collect()
}

/// `path length=20 chars=ascii_letters,digits encrypt=sha512_crypt`, or the same as named options.
fn parse(ask: &Ask<'_>, term: &str) -> Result<Wanted, Error> {
    let known = ["length", "chars", "encrypt", "seed", "ident"];
    let mut path = Vec::new();
    let mut options: Vec<(String, String)> = Vec::new();
    for word in term.split(' ') {
        match word.split_once('=') {
            Some((key, value)) if known.contains(&key) => options.push((key.into(), value.into())),
            _ => path.push(word),
        }
    }
    for (key, value) in ask.named {
        let text = if convert::is_list(value) {
            convert::items(value)?.iter().map(python::py_str).collect::<Vec<_>>().join(",")
        } else {
            python::py_str(value)
        };
        options.push((key.clone(), text));
    }
    let mut wanted = Wanted {
        path: place(ask, &path.join(" ")),
        length: 20,
        chars: charset("ascii_letters,digits,.,,:-_"),
        encrypt: None,
    };
    for (key, value) in options {
        match key.as_str() {
            "length" => {
                wanted.length = value
                    .parse()
                    .map_err(|_| wrong("password", format!("length must be a number, not '{value}'")))?;
            }
            "chars" => wanted.chars = charset(&value),
            "encrypt" => wanted.encrypt = Some(value),
            other => return Err(wrong("password", format!("the option '{other}' is not supported"))),
        }
    }
    if wanted.chars.is_empty() || wanted.length == 0 || wanted.length > 100_000 {
        return Err(wrong("password", "it needs a length and characters to choose from"));
    }
    Ok(wanted)
}

fn place(ask: &Ask<'_>, path: &str) -> PathBuf {
    ask.context.machine.options.working_dir.join(expanded(path))
}

/// The names of Python's `string` module, and other characters as they stand; `,,` is a comma.
fn charset(text: &str) -> Vec<char> {
    let comma = text.contains(",,");
    let mut found: Vec<char> = Vec::new();
    for part in text.replace(",,", ",").split(',').filter(|p| !p.is_empty()) {
        match part {
            "ascii_letters" => found.extend(('a'..='z').chain('A'..='Z')),
            "ascii_lowercase" => found.extend('a'..='z'),
            "ascii_uppercase" => found.extend('A'..='Z'),
            "digits" => found.extend('0'..='9'),
            "hexdigits" => found.extend("0123456789abcdefABCDEF".chars()),
            "octdigits" => found.extend('0'..='7'),
            "punctuation" => found.extend((0x21_u8..0x7f).map(char::from).filter(char::is_ascii_punctuation)),
            other => found.extend(other.chars()),
        }
    }
    if comma {
        found.push(',');
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn one(wanted: &Wanted) -> Result<String, Error> {
    if wanted.path == Path::new("/dev/null") {
        let plain = random(wanted);
        return finish(wanted, &plain, &hashing::random_salt());
    }
    let shown = wanted.path.display();
    let io = |e: std::io::Error| wrong("password", format!("{shown}: {e}"));
    if let Some((plain, salt)) = kept(wanted).map_err(io)? {
        return finish(wanted, &plain, &salt);
    }
    // Whoever comes first makes it, however many processes ask for it.
    let _turn = Turn::in_folder(wanted.path.parent().unwrap_or(Path::new("."))).map_err(io)?;
    if let Some((plain, salt)) = kept(wanted).map_err(io)? {
        return finish(wanted, &plain, &salt);
    }
    let plain = match read(&wanted.path).map_err(io)? {
        Some((plain, _)) => plain,
        None => random(wanted),
    };
    let salt = hashing::random_salt();
    let suffix = if wanted.encrypt.is_some() { format!(" salt={salt}") } else { String::new() };
    write_private(&wanted.path, format!("{plain}{suffix}\n").as_bytes()).map_err(io)?;
    finish(wanted, &plain, &salt)
}

/// The password and its salt, where the file holds all that is wanted.
fn kept(wanted: &Wanted) -> std::io::Result<Option<(String, String)>> {
    Ok(match read(&wanted.path)? {
        Some((plain, Some(salt))) => Some((plain, salt)),
        // Without a hash no salt is needed.
        Some((plain, None)) if wanted.encrypt.is_none() => Some((plain, String::new())),
        _ => None,
    })
}

fn read(path: &Path) -> std::io::Result<Option<(String, Option<String>)>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(split_salt(text.trim_end()))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn finish(wanted: &Wanted, plain: &str, salt: &str) -> Result<String, Error> {
    match &wanted.encrypt {
        None => Ok(plain.to_owned()),
        Some(scheme) => hashing::crypt(plain, scheme, Some(salt), None),
    }
}

fn split_salt(text: &str) -> (String, Option<String>) {
    match text.rsplit_once(" salt=") {
        Some((plain, salt)) => (plain.to_owned(), Some(salt.split(' ').next().unwrap_or(salt).to_owned())),
        None => (text.to_owned(), None),
    }
}

fn random(wanted: &Wanted) -> String {
    let mut rng = rand::rng();
    (0..wanted.length).filter_map(|_| wanted.chars.choose(&mut rng)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_have_pythons_names() {
        assert_eq!(charset("digits").iter().collect::<String>(), "0123456789");
        assert_eq!(charset("ab,,digits").len(), 13);
        assert_eq!(split_salt("x salt=abc ident=$6$"), ("x".to_owned(), Some("abc".to_owned())));
        assert_eq!(split_salt("a b"), ("a b".to_owned(), None));
    }
}
