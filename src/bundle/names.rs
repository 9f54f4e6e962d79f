use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The longest path of a member; what Linux takes, less room for the folder before it.
const LONGEST: usize = 2048;

/// What a member is, which is the folder that it lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An archive of a container image.
    Image,
    /// A guest's disk image.
    Guest,
    Package,
    /// A file of a role.
    Role,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Guest, Self::Image, Self::Package, Self::Role];

    /// The folder in the bundle, and in what it becomes.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Image => "images",
            Self::Guest => "guests",
            Self::Package => "packages",
            Self::Role => "roles",
        }
    }
}

/// Where a member lies: in the folder of a kind, never outside it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MemberPath(String);

impl MemberPath {
    /// Reads a path; the reason where it is not one that a bundle may hold.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("the path {:?}… is too long", text.chars().take(40).collect::<String>()));
        }
        if text.chars().any(char::is_control) {
            return Err(format!("the path {text:?} holds a control character"));
        }
        let mut parts = text.split('/');
        let first = parts.next().unwrap_or_default();
        if !Kind::ALL.iter().any(|kind| kind.folder() == first) {
            return Err(format!("the path {text:?} is not below guests, images, packages or roles"));
        }
        let mut below = 0;
        for part in parts {
            below += 1;
            if matches!(part, "" | "." | "..") || part.len() > 255 {
                return Err(format!("the path {text:?} leads out of its folder or nowhere"));
            }
        }
        let least = if first == Kind::Role.folder() { 2 } else { 1 };
        if below < least || first == Kind::Guest.folder() && below > 1 {
            return Err(format!("the path {text:?} names no file of its kind"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The path of a file in the folder of a kind.
    pub fn of(kind: Kind, below: &str) -> Result<Self, String> {
        Self::parse(&format!("{}/{below}", kind.folder()))
    }

    pub fn kind(&self) -> Kind {
        let first = self.0.split('/').next().unwrap_or_default();
        Kind::ALL.into_iter().find(|kind| kind.folder() == first).unwrap_or(Kind::Package)
    }

    /// The part after the kind's folder.
    pub fn below(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, below)| below)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for MemberPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<MemberPath> for String {
    fn from(path: MemberPath) -> Self {
        path.0
    }
}

impl AsRef<Path> for MemberPath {
    fn as_ref(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl fmt::Display for MemberPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A bundle's name, which becomes a folder's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BundleName(String);

impl BundleName {
    pub fn parse(text: &str) -> Result<Self, String> {
        let good = !text.is_empty()
            && text.len() <= 64
            && !text.starts_with(['.', '-'])
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        good.then(|| Self(text.to_owned())).ok_or_else(|| {
            format!("the name {text:?} is not one of letters, digits, '.', '_' and '-', at most 64 of them")
        })
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for BundleName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<BundleName> for String {
    fn from(name: BundleName) -> Self {
        name.0
    }
}

impl fmt::Display for BundleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A SHA-256 in 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256Hex(String);

impl Sha256Hex {
    /// With or without `sha256:` before it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        let good = hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        good.then(|| Self(hex.to_owned())).ok_or_else(|| format!("{text:?} is no SHA-256"))
    }

    pub(super) fn of(digest: impl AsRef<[u8]>) -> Self {
        Self(hex::encode(digest))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Sha256Hex {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Sha256Hex> for String {
    fn from(digest: Sha256Hex) -> Self {
        digest.0
    }
}

impl fmt::Display for Sha256Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_paths_below_a_kinds_folder_are_taken() {
        for (text, kind) in [
            ("images/redis-7.tar", Some(Kind::Image)),
            ("images/2/redis-7.tar", Some(Kind::Image)),
            ("guests/0123456789ab-disk.qcow2", Some(Kind::Guest)),
            ("packages/pool/a b.deb", Some(Kind::Package)),
            ("roles/redis/tasks/main.yml", Some(Kind::Role)),
            ("roles/main.yml", None),
            ("guests/a/b.qcow2", None),
            ("images", None),
            ("images/", None),
            ("other/a", None),
            ("/images/a", None),
            ("images//a", None),
            ("images/./a", None),
            ("images/../a", None),
            ("images/a/..", None),
            ("../images/a", None),
            ("images/a\nb", None),
            ("images/a\0b", None),
            ("", None),
        ] {
            assert_eq!(MemberPath::parse(text).ok().map(|p| p.kind()), kind, "{text:?}");
        }
        let long = format!("images/{}", "a".repeat(256));
        assert!(MemberPath::parse(&long).is_err());
    }

    #[test]
    fn names_are_plain() {
        for (name, good) in [
            ("quay", true),
            ("quay-3.18_a", true),
            ("", false),
            ("..", false),
            (".hidden", false),
            ("-x", false),
            ("a/b", false),
            ("a b", false),
        ] {
            assert_eq!(BundleName::parse(name).is_ok(), good, "{name}");
        }
        assert!(BundleName::parse(&"a".repeat(65)).is_err());
        let hex = "0123456789abcdef".repeat(4);
        assert!(Sha256Hex::parse(&format!("sha256:{hex}")).is_ok());
        assert!(Sha256Hex::parse(&hex.to_uppercase()).is_err());
        assert!(Sha256Hex::parse("12").is_err());
    }

    proptest! {
        /// Whatever is taken stays below the folder it is joined to, by the file system's own reading.
        #[test]
        fn what_is_taken_never_leaves_its_folder(text in "((images|guests|packages|roles|\\.\\.|\\.|[a-c ]{0,3}|\\\\)/?){0,6}") {
            if let Ok(path) = MemberPath::parse(&text) {
                let joined = Path::new("/x").join(&path);
                prop_assert!(joined.starts_with("/x"));
                let plain = |c: std::path::Component<'_>| matches!(c, std::path::Component::Normal(_));
                prop_assert!(Path::new(path.as_str()).components().all(plain));
                prop_assert_eq!(Path::new(path.as_str()).components().count(), text.split('/').count());
            }
        }
    }
}
