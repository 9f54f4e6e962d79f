use std::path::Path;

use super::LabError;
use super::download::{fetch_text, read_text};

/// What an image's file must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Checksum {
    /// `sha256:` and 64 lower-case digits.
    Is(String),
    /// What a list (`SHA256SUMS`) at this place says of the image's file name.
    Listed(String),
    /// `none`: a person said that whatever comes is taken.
    Unchecked,
}

impl Checksum {
    /// Reads `sha256:HEX`, `URL` or `sha256:URL`, the last as Ansible's `get_url` has it, or `none`.
    pub(super) fn parse(text: &str) -> Result<Self, LabError> {
        if text == "none" {
            return Ok(Self::Unchecked);
        }
        let value = text.strip_prefix("sha256:").unwrap_or(text);
        if value.split_once("://").is_some_and(|(scheme, _)| ["http", "https", "file"].contains(&scheme)) {
            return Ok(Self::Listed(value.to_owned()));
        }
        if text.starts_with("sha256:") && is_digest(value) {
            return Ok(Self::Is(format!("sha256:{}", value.to_ascii_lowercase())));
        }
        Err(LabError::Invalid(format!(
            "image checksum {text:?} is neither `sha256:` and 64 hexadecimal digits nor the URL of a list of them, nor `none`"
        )))
    }

    /// The digest that a file of this name must have, where there is one that it must have.
    pub(super) async fn of(&self, name: &str) -> Result<Option<String>, LabError> {
        let place = match self {
            Self::Is(digest) => return Ok(Some(digest.clone())),
            Self::Listed(place) => place,
            Self::Unchecked => return Ok(None),
        };
        let text = match place.strip_prefix("file://") {
            Some(path) => read_text(Path::new(path))?,
            None => fetch_text(place).await?,
        };
        listed(&text, name).map(|hex| Some(format!("sha256:{hex}"))).ok_or_else(|| {
            LabError::failed(format!("the list of checksums {place}"), format!("it has no sha256 of {name}"))
                .with_hint("is it the list for this image, and of sha256?")
        })
    }
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Finds a file in a list as `sha256sum` writes it (`HEX  NAME`, `HEX *NAME`) or as BSD's tools do (`SHA256 (NAME) = HEX`).
fn listed(text: &str, name: &str) -> Option<String> {
    let of_line = |line: &str| {
        if let Some(rest) = line.strip_prefix("SHA256 (") {
            let (file, hex) = rest.split_once(") = ")?;
            return (file == name).then(|| hex.trim().to_owned());
        }
        let (hex, file) = line.split_once([' ', '\t'])?;
        let file = file.trim_start().trim_start_matches('*').trim_end();
        let file = file.rsplit('/').next().unwrap_or(file);
        (file == name).then(|| hex.to_owned())
    };
    text.lines()
        .filter_map(|l| of_line(l.trim()))
        .find(|hex| is_digest(hex))
        .map(|hex| hex.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_checksums_are_read() {
        let (a, b) = ("A".repeat(64), "b".repeat(64));
        for (line, found) in [
            (format!("{a}  disk.qcow2"), true),
            (format!("{a} *./images/disk.qcow2"), true),
            (format!("SHA256 (disk.qcow2) = {a}"), true),
            (format!("{a}  other.qcow2"), false),
            ("abc  disk.qcow2".to_owned(), false),
        ] {
            let list = format!("# a list\n{b}  else.qcow2\n{line}\n");
            assert_eq!(listed(&list, "disk.qcow2"), found.then(|| "a".repeat(64)), "{line}");
        }
    }

    #[test]
    fn checksums_are_digests_or_lists() {
        let hex = "F".repeat(64);
        assert_eq!(
            Checksum::parse(&format!("sha256:{hex}")).ok(),
            Some(Checksum::Is(format!("sha256:{}", "f".repeat(64))))
        );
        for text in ["https://x/SHA256SUMS", "sha256:https://x/SHA256SUMS"] {
            assert_eq!(Checksum::parse(text).ok(), Some(Checksum::Listed("https://x/SHA256SUMS".into())));
        }
        assert_eq!(Checksum::parse("none").ok(), Some(Checksum::Unchecked));
        for text in [hex.as_str(), "", "None", "sha256:12", "md5:d41d8cd98f00b204e9800998ecf8427e", "ftp://x"]
        {
            assert!(Checksum::parse(text).is_err(), "{text}");
        }
    }
}
