use super::VaultError;

/// What every encrypted text begins with.
const MARK: &str = "$ANSIBLE_VAULT";
const WIDTH: usize = 80;

/// Whether these bytes are a vault text as a whole.
pub fn is_encrypted(bytes: &[u8]) -> bool {
    bytes.starts_with(MARK.as_bytes())
}

/// A vault text taken apart: its header and its body, which is still encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The label of format 1.2, which says whose password fits.
    pub label: Option<String>,
    /// Hexadecimal, without line ends.
    pub(super) body: String,
}

impl Envelope {
    /// Reads the header and puts the lines of the body together.
    pub fn parse(text: &str) -> Result<Self, VaultError> {
        let mut lines = text.trim_start().lines().map(str::trim);
        let header = lines.next().unwrap_or_default();
        let mut fields = header.split(';').map(str::trim);
        if fields.next() != Some(MARK) {
            return Err(VaultError::Damaged(format!("it does not begin with {MARK}")));
        }
        let version = fields.next().unwrap_or_default();
        let cipher = fields.next().unwrap_or_default();
        let label = match version {
            "1.1" => None,
            "1.2" => fields.next().filter(|l| !l.is_empty()).map(str::to_owned),
            other => return Err(VaultError::Version(other.to_owned())),
        };
        if cipher != "AES256" {
            return Err(VaultError::Cipher(cipher.to_owned()));
        }
        Ok(Self { label, body: lines.collect() })
    }

    /// The text as it is written into files: lines of 80 characters.
    pub fn text(&self) -> String {
        let mut text = match &self.label {
            Some(label) => format!("{MARK};1.2;AES256;{label}\n"),
            None => format!("{MARK};1.1;AES256\n"),
        };
        for (index, digit) in self.body.chars().enumerate() {
            if index > 0 && index % WIDTH == 0 {
                text.push('\n');
            }
            text.push(digit);
        }
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn headers_are_read() {
        let label = |text: &str| Envelope::parse(text).map(|e| e.label);
        assert_eq!(label("$ANSIBLE_VAULT;1.1;AES256\n00\n"), Ok(None));
        assert_eq!(label("  $ANSIBLE_VAULT;1.2;AES256;dev \n  00\n  11"), Ok(Some("dev".into())));
        assert_eq!(label("$ANSIBLE_VAULT;1.0;AES\n"), Err(VaultError::Version("1.0".into())));
        assert_eq!(label("$ANSIBLE_VAULT;1.1;ROT13\n"), Err(VaultError::Cipher("ROT13".into())));
        assert!(matches!(label("hello"), Err(VaultError::Damaged(_))));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(label in "[a-z]{0,5}", body in "[0-9a-f]{0,400}") {
            let envelope = Envelope { label: Some(label).filter(|l| !l.is_empty()), body };
            prop_assert_eq!(Envelope::parse(&envelope.text()), Ok(envelope));
        }

        #[test]
        fn nothing_makes_it_panic(text in "(\\$ANSIBLE_VAULT)?[;.0-9A-Za-z \\n]{0,80}") {
            let _ = Envelope::parse(&text).map(|e| super::super::cipher::open(&e.body, b"x"));
        }
    }
}
