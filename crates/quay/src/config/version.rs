use std::fmt;
use std::str::FromStr;

/// The newest version whose rules are known, and the one that is meant unless another is said.
const NEWEST: u16 = 18;

/// A version of Quay: 3 and what comes after the first dot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct QuayVersion(u16);

impl QuayVersion {
    /// Quay 3.`minor`.
    pub const fn of(minor: u16) -> Self {
        Self(minor)
    }

    /// The rules are older than this version: it may know keys that are unknown here.
    pub fn is_newer_than_the_rules(self) -> bool {
        self.0 > NEWEST
    }
}

impl Default for QuayVersion {
    fn default() -> Self {
        Self(NEWEST)
    }
}

impl fmt::Display for QuayVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "3.{}", self.0)
    }
}

impl FromStr for QuayVersion {
    type Err = String;

    /// Takes `3.18`, `v3.18.2`: what an image's tag is called.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = text.strip_prefix('v').unwrap_or(text);
        let mut parts = plain.split('.');
        let numbers = (parts.next(), parts.next().and_then(|minor| minor.parse().ok()));
        match numbers {
            (Some("3"), Some(minor)) => Ok(Self(minor)),
            (Some("1" | "2"), _) => Err("only the rules of Quay 3 are known: write 3.18".into()),
            _ => Err("a version is written like 3.18".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_of_images() {
        for (text, read) in [
            ("3.18", Ok(QuayVersion::of(18))),
            ("v3.9.4", Ok(QuayVersion::of(9))),
            ("2.9", Err("only the rules of Quay 3 are known: write 3.18")),
            ("3", Err("a version is written like 3.18")),
            ("3.x", Err("a version is written like 3.18")),
            ("", Err("a version is written like 3.18")),
        ] {
            assert_eq!(text.parse::<QuayVersion>(), read.map_err(str::to_owned), "{text}");
        }
        assert_eq!(QuayVersion::default().to_string(), "3.18");
        assert!(QuayVersion::of(19).is_newer_than_the_rules());
        assert!(!QuayVersion::of(18).is_newer_than_the_rules());
    }
}
