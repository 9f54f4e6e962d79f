/// Percent-encodes all but unreserved characters; slashes stay where `path` is set.
pub fn percent(text: &str, path: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (path && byte == b'/') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded() {
        assert_eq!(percent("a b/c~é", true), "a%20b/c~%C3%A9");
        assert_eq!(percent("a/b+c", false), "a%2Fb%2Bc");
    }
}
