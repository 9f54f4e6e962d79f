use crate::value::{Value, truth};

/// Options that may stand among the words of a bare command line (`chdir=/srv make`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) chdir: Option<String>,
    pub(super) creates: Option<String>,
    pub(super) removes: Option<String>,
    pub(super) executable: Option<String>,
    pub(super) stdin: Option<String>,
    pub(super) stdin_add_newline: Option<bool>,
    pub(super) strip_empty_ends: Option<bool>,
}

impl Options {
    /// Takes the options out of a command line; everything else stays as it was written.
    pub(super) fn take(line: &str) -> (String, Self) {
        let mut options = Self::default();
        let mut kept = String::new();
        let mut rest = line;
        while !rest.is_empty() {
            let space = rest.len() - rest.trim_start().len();
            let word = word_length(&rest[space..]);
            let (blank, text) = (&rest[..space], &rest[space..space + word]);
            rest = &rest[space + word..];
            let taken = text.split_once('=').is_some_and(|(name, value)| options.set(name, value));
            if !taken {
                kept.push_str(blank);
                kept.push_str(text);
            }
        }
        (kept.trim().to_owned(), options)
    }

    fn set(&mut self, name: &str, value: &str) -> bool {
        let value = unquoted(value);
        let place = match name {
            "chdir" => &mut self.chdir,
            "creates" => &mut self.creates,
            "removes" => &mut self.removes,
            "executable" => &mut self.executable,
            "stdin" => &mut self.stdin,
            "stdin_add_newline" => {
                self.stdin_add_newline = truth(&Value::from(value));
                return true;
            }
            "strip_empty_ends" => {
                self.strip_empty_ends = truth(&Value::from(value));
                return true;
            }
            _ => return false,
        };
        *place = Some(value.to_owned());
        true
    }
}

/// The bytes of the word that a text begins with; quotes hold it together.
fn word_length(text: &str) -> usize {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (None | Some('"'), '\\') => escaped = true,
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            (None, c) if c.is_whitespace() => return at,
            _ => {}
        }
    }
    text.len()
}

fn unquoted(value: &str) -> &str {
    ['"', '\''].iter().find_map(|q| value.strip_prefix(*q)?.strip_suffix(*q)).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_taken_out_and_the_rest_is_kept() {
        let (line, options) = Options::take("make  -C x 'a  b' chdir=/srv creates=\"/a b\" X=1 # it's fine");
        assert_eq!(line, "make  -C x 'a  b' X=1 # it's fine");
        assert_eq!(options.chdir.as_deref(), Some("/srv"));
        assert_eq!(options.creates.as_deref(), Some("/a b"));
        assert_eq!(Options::take("echo 'chdir=/x y'"), ("echo 'chdir=/x y'".into(), Options::default()));
        assert_eq!(Options::take("a\nb\n  c").0, "a\nb\n  c");
    }
}
