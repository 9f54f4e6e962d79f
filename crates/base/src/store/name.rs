use std::fmt;
use std::path::{Path, PathBuf};

/// The longest name: file systems end at 255 bytes, and endings are put behind a name.
const LONGEST: usize = 200;

/// Why a text is not taken for a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {of}: {why}")]
pub struct BadName {
    of: &'static str,
    text: String,
    why: &'static str,
}

impl BadName {
    pub(super) fn new(of: &'static str, text: &str, why: &'static str) -> Self {
        // What is far too long is not shown whole.
        let text = if text.len() > LONGEST {
            text.chars().take(40).collect::<String>() + "…"
        } else {
            text.to_owned()
        };
        Self { of, text, why }
    }
}

/// What keeps a text from being one part of a path, where anything does.
fn fault(text: &str) -> Option<&'static str> {
    match text {
        "" => Some("it is empty"),
        _ if text.contains('/') => Some("it holds a slash, and would lead to another folder"),
        _ if text.starts_with('.') => Some("it begins with a dot"),
        _ if text.chars().any(char::is_control) => Some("it holds a character that cannot be seen"),
        _ if text.len() > LONGEST => Some("it is longer than 200 bytes"),
        _ => None,
    }
}

/// The name of a file or folder, made of what an inventory or a user calls something. It is one part of a path and
/// leads nowhere else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(String);

impl FileName {
    /// `of` says what is named, for the message: `host's name`.
    pub fn new(of: &'static str, text: &str) -> Result<Self, BadName> {
        fault(text).map_or_else(|| Ok(Self(text.to_owned())), |why| Err(BadName::new(of, text, why)))
    }

    /// A name for what may be called anything: what a name cannot hold is written as `%` and its number. Texts that are
    /// names stay what they are.
    pub fn escaped(text: &str) -> Self {
        let safe = |(at, c): (usize, char)| match c {
            '/' | '%' => format!("%{:x}", u32::from(c)),
            '.' | '-' if at == 0 => format!("%{:x}", u32::from(c)),
            c if c.is_control() => format!("%{:x}", u32::from(c)),
            c => c.to_string(),
        };
        let mut name = String::new();
        for part in text.char_indices().map(safe) {
            if name.len() + part.len() > LONGEST {
                break;
            }
            name += &part;
        }
        Self(if name.is_empty() { "%".to_owned() } else { name })
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The file of this name in a folder.
    pub fn within(&self, folder: &Path) -> PathBuf {
        folder.join(&self.0)
    }

    /// The file of this name and an ending in a folder.
    pub fn ending(&self, folder: &Path, ending: &str) -> PathBuf {
        folder.join(format!("{}.{ending}", self.0))
    }
}

/// The name of a lab: a folder on the controller, a folder and marks on the hypervisor, a part of file names in `/etc`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabName(FileName);

impl LabName {
    const OF: &'static str = "lab's name";

    pub fn new(text: &str) -> Result<Self, BadName> {
        let bad = |why| Err(BadName::new(Self::OF, text, why));
        if text.contains("{{") || text.contains("{%") {
            return bad("templates are not rendered there");
        }
        if text.starts_with('-') {
            return bad("it begins with a dash");
        }
        if text.trim() != text {
            return bad("it begins or ends with a blank");
        }
        FileName::new(Self::OF, text).map(Self)
    }

    /// The name for what has none of its own: letters, digits and dashes of a text.
    pub fn like(text: &str) -> Self {
        let plain: String = text
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' })
            .take(100)
            .collect();
        let plain = plain.trim_start_matches('-');
        Self(FileName(if plain.is_empty() { "lab".to_owned() } else { plain.to_owned() }))
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The lab's own folder in a folder of labs.
    pub fn within(&self, folder: &Path) -> PathBuf {
        self.0.within(folder)
    }
}

/// As text it is as good as any other; only the way from a text to a name is guarded.
impl std::ops::Deref for LabName {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for LabName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_labs_name_is_one_folder_and_leads_nowhere_else() {
        for good in ["quickstart", "a", "lab of mine", "x.y_z-1", "läb"] {
            let name = LabName::new(good).expect(good);
            assert_eq!(name.within(Path::new("/state")), Path::new("/state").join(good));
        }
        let long = "x".repeat(201);
        for bad in [
            "",
            ".",
            "..",
            ".ssh",
            "../../../.ssh",
            "/etc",
            "a/b",
            "a\nb",
            "a\0",
            "-rf",
            " a",
            "{{ name }}",
            &long,
        ] {
            assert!(LabName::new(bad).is_err(), "{bad:?}");
        }
        let told = LabName::new("../x").expect_err("refused").to_string();
        assert_eq!(told, "\"../x\" is no lab's name: it holds a slash, and would lead to another folder");
    }

    #[test]
    fn any_text_has_a_file_of_its_own() {
        for (text, name) in [
            ("quay.lan", "quay.lan"),
            ("..", "%2e."),
            ("../../x", "%2e.%2f..%2fx"),
            ("/etc", "%2fetc"),
            ("a%2fb", "a%252fb"),
            ("-rf", "%2drf"),
            ("a\nb", "a%ab"),
            ("", "%"),
            ("fe80::1", "fe80::1"),
        ] {
            assert_eq!(FileName::escaped(text).as_str(), name, "{text:?}");
        }
    }

    #[test]
    fn a_name_can_be_made_of_anything() {
        for (text, name) in [
            ("hosts", "hosts"),
            ("my lab.x", "my-lab-x"),
            ("..", "lab"),
            ("-x", "x"),
            ("", "lab"),
            ("a,b", "a-b"),
        ] {
            assert_eq!(LabName::like(text).as_str(), name, "{text:?}");
            assert!(LabName::new(name).is_ok());
        }
    }
}
