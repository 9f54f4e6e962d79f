use std::sync::Arc;

use crate::diag::SourceFile;
use crate::yaml::{Kind, Node};

/// Parts of the names of keys whose values are secret.
const WORDS: [&str; 6] = ["password", "passwd", "secret", "psk", "token", "privatekey"];

/// Shorter values are hidden where they stand, but not elsewhere: `a` would be everywhere.
const SHORTEST: usize = 4;

/// The same text with stars for every secret, so that messages may show its lines.
pub(super) fn hide(file: &Arc<SourceFile>, document: Option<&Node>) -> Arc<SourceFile> {
    let mut lines: Vec<String> = file.text.lines().map(str::to_owned).collect();
    let mut values = Vec::new();
    match document {
        Some(document) => find(document, &mut |node: &Node| {
            let line = usize::try_from(node.origin.line).unwrap_or(0);
            if let Some(text) = line.checked_sub(1).and_then(|l| lines.get_mut(l)) {
                let kept = node.origin.column.saturating_sub(1) as usize;
                *text = starred(text, kept, end_of(node, kept));
            }
            if let Kind::Str(text) = &node.kind {
                values.extend(text.lines().filter(|l| l.chars().count() >= SHORTEST).map(str::to_owned));
            }
        }),
        // A text that is no YAML: whatever follows such a name.
        None => {
            for line in &mut lines {
                let lower = line.to_lowercase();
                let at = WORDS.iter().filter_map(|word| lower.find(word)).min();
                if let Some(at) = at.and_then(|at| lower[at..].find(':').map(|colon| at + colon + 1)) {
                    let kept = lower[..at].chars().count();
                    *line = starred(line, kept, usize::MAX);
                }
            }
        }
    }
    for line in &mut lines {
        for value in &values {
            *line = line.replace(value.as_str(), &"*".repeat(value.chars().count()));
        }
        *line = without_password(line);
    }
    SourceFile::new(file.name.clone(), lines.join("\n") + "\n")
}

/// The column where a secret ends on its line: the rest of the line, unless it is one of several on it.
fn end_of(node: &Node, start: usize) -> usize {
    match &node.kind {
        Kind::Str(text) if !text.contains('\n') => {
            start + (node.origin.width as usize).max(text.chars().count())
        }
        _ => usize::MAX,
    }
}

fn starred(line: &str, from: usize, to: usize) -> String {
    line.chars()
        .enumerate()
        .map(|(i, c)| if i >= from && i < to && !c.is_whitespace() { '*' } else { c })
        .collect()
}

/// Hides the password in `scheme://user:password@host`, also where the end of that is missing.
fn without_password(line: &str) -> String {
    let Some((before, rest)) = line.split_once("://") else { return line.to_owned() };
    let stars = |text: &str| "*".repeat(text.chars().count());
    match rest.rsplit_once('@') {
        Some((login, server)) => match login.split_once(':') {
            Some((user, password)) => format!("{before}://{user}:{}@{server}", stars(password)),
            None => line.to_owned(),
        },
        // What follows the colon is a port, or else a password.
        None => match rest.split_once(':') {
            // A host without a port is at its end where the address is.
            Some((user, _)) if user.contains(|c: char| "/?#,}]\"'".contains(c) || c.is_whitespace()) => {
                line.to_owned()
            }
            Some((user, password)) if !begins_with_a_port(password) => {
                format!("{before}://{user}:{}", stars(password))
            }
            _ => line.to_owned(),
        },
    }
}

/// Whether digits stand there up to what ends a port.
fn begins_with_a_port(text: &str) -> bool {
    let first = text.split(|c: char| "/?#,}]\"'".contains(c) || c.is_whitespace()).next().unwrap_or_default();
    !first.is_empty() && first.bytes().all(|b| b.is_ascii_digit())
}

/// Calls for every value under a secret's name.
fn find(node: &Node, found: &mut dyn FnMut(&Node)) {
    match &node.kind {
        Kind::Map(map) => {
            for (key, value) in map.iter() {
                let name = key.key_text().to_lowercase();
                let scalar = !matches!(value.kind, Kind::Map(_) | Kind::Seq(_) | Kind::Bool(_) | Kind::Null);
                if scalar && WORDS.iter().any(|word| name.contains(word)) {
                    found(value);
                } else {
                    find(value, found);
                }
            }
        }
        Kind::Seq(items) => items.iter().for_each(|item| find(item, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    #[test]
    fn secrets_become_stars_of_the_same_length() {
        let text = "SECRET_KEY: abcd-efgh\n\
                    BUILDLOGS_REDIS: {host: r, password: \"pw\", port: 1}\n\
                    DB_URI: postgresql://quay:s3@cret@db/quay\n\
                    note: abcd-efgh\n\
                    FEATURE_X: true\n";
        let file = SourceFile::new("config.yaml", text);
        let (document, _) = yaml::load_one(&file).expect("YAML");
        insta::assert_snapshot!(hide(&file, Some(&document)).text, @r"
        SECRET_KEY: *********
        BUILDLOGS_REDIS: {host: r, password: ****, port: 1}
        DB_URI: postgresql://quay:*******@db/quay
        note: *********
        FEATURE_X: true
        ");
    }

    #[test]
    fn an_address_hides_its_password_also_where_it_breaks_off() {
        for (line, shown) in [
            ("DB_URI: postgresql://quay:geheim@db/quay", "DB_URI: postgresql://quay:******@db/quay"),
            ("DB_URI: postgresql://quay:geheim", "DB_URI: postgresql://quay:******"),
            ("DB_URI: postgresql://quay:1geheim", "DB_URI: postgresql://quay:*******"),
            ("A: {b: \"http://clair:6060\", c: d}", "A: {b: \"http://clair:6060\", c: d}"),
            ("DB_URI: postgresql://quay@db/quay", "DB_URI: postgresql://quay@db/quay"),
            ("A: http://clair:6060/", "A: http://clair:6060/"),
        ] {
            assert_eq!(without_password(line), shown);
        }
    }

    #[test]
    fn what_is_no_yaml_is_hidden_too() {
        let file = SourceFile::new("config.yaml", "A: [\n  redis_password: geheim: [\n");
        let hidden = hide(&file, None).text.clone();
        assert!(!hidden.contains("geheim"), "{hidden}");
        assert!(hidden.starts_with("A: [\n  redis_password: "), "{hidden}");
    }
}
