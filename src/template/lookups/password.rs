//! The lookup `password`: a random password, made once and kept in a file.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use minijinja::{Error, Value};
use rand::seq::IndexedRandom;

use super::super::convert;
use super::super::hashing;
use super::super::python;
use super::{Ask, wrong};

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
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => ask.context.machine.options.working_dir.join(path),
    }
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
    let (plain, salt) = match fs::read_to_string(&wanted.path) {
        Ok(text) => split_salt(text.trim_end()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => (random(wanted), None),
        Err(e) => return Err(io(e)),
    };
    let new_salt = wanted.encrypt.is_some() && salt.is_none();
    let salt = salt.unwrap_or_else(hashing::random_salt);
    if new_salt || !wanted.path.exists() {
        let suffix = if wanted.encrypt.is_some() { format!(" salt={salt}") } else { String::new() };
        store(&wanted.path, &format!("{plain}{suffix}\n")).map_err(io)?;
    }
    finish(wanted, &plain, &salt)
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

/// Writes beside the file and renames, so that two runs never see half of one.
fn store(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    if !folder.as_os_str().is_empty() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", hashing::random_salt().replace(['.', '/'], "_")));
    let temporary = path.with_file_name(name);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)
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
