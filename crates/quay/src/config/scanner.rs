use super::model::Scanner;
use super::reader::Reader;
use super::uri;
use crate::clair::SharedKey;
use crate::diag::Diagnostic;
use crate::host::Secret;
use crate::http::authority;

const SWITCH: &str = "FEATURE_SECURITY_SCANNER";
const ENDPOINT: &str = "SECURITY_SCANNER_V4_ENDPOINT";
const OLD_ENDPOINT: &str = "SECURITY_SCANNER_ENDPOINT";
const KEY: &str = "SECURITY_SCANNER_V4_PSK";

/// Reads which Clair looks at images, where one does.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<Scanner> {
    if !reader.flag(SWITCH, false) {
        return None;
    }
    checked_address(reader, OLD_ENDPOINT);
    let Some((endpoint, at)) = reader.text(ENDPOINT).filter(|(text, _)| !text.is_empty()) else {
        if reader.text(OLD_ENDPOINT).is_none_or(|(text, _)| text.is_empty()) {
            reader.needs(SWITCH, ENDPOINT, "write http://clair:6060");
        } else {
            let at = reader.at(OLD_ENDPOINT);
            reader.warning(
                Diagnostic::new(format!(
                    "{OLD_ENDPOINT} is that of a Clair 2: Quay would start, and scan nothing"
                ))
                .at(&at)
                .hint(format!("run a Clair 4 and name it in {ENDPOINT}")),
            );
        }
        return None;
    };
    // Who cannot be asked by this program is none for it.
    let taken = checked_address(reader, ENDPOINT);
    let uri = endpoint.parse::<hyper::Uri>().ok().filter(|uri| taken && authority(uri).is_ok())?;
    if !["", "/"].contains(&uri.path()) {
        reader.warning(
            Diagnostic::new(format!("{ENDPOINT}: Quay passes over the path {}", uri.path()))
                .at(at)
                .hint("Clair must be served at the root of that host"),
        );
    }
    let origin = reader.at(ENDPOINT);
    let key = key(reader).ok()?;
    Some(Scanner { endpoint: endpoint.trim_end_matches('/').to_owned(), key, origin })
}

/// Whether Quay's start takes an address; it is told where not.
fn checked_address(reader: &mut Reader<'_>, name: &str) -> bool {
    let Some((text, at)) = reader.text(name).filter(|(text, _)| !text.is_empty()) else { return true };
    let taken = uri::parse(text).is_ok_and(|uri| !uri.host.is_empty());
    if !taken {
        reader.error(
            Diagnostic::new(format!("{name} is no address: {text}"))
                .at(at)
                .hint("write http://HOST:PORT or https://HOST:PORT, such as http://clair:6060"),
        );
    }
    taken
}

/// Whether Python makes something of a text that is no base64: it passes over other characters.
fn python_reads(text: &str) -> bool {
    let letters = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
    let body = text.trim_end_matches(|c: char| !c.is_ascii() || !letters(c as u8));
    let count = body.bytes().filter(|b| letters(*b)).count();
    let padding = text.get(body.len()..).unwrap_or_default().matches('=').count();
    match count % 4 {
        0 => true,
        2 => padding >= 2,
        3 => padding >= 1,
        _ => false,
    }
}

/// The shared key; what is wrong with it is told.
fn key(reader: &mut Reader<'_>) -> Result<Option<SharedKey>, ()> {
    let Some((text, at)) = reader.text(KEY) else {
        if reader.get(KEY).is_none() {
            let at = reader.at(ENDPOINT);
            reader.warning(
                Diagnostic::new(format!("there is no {KEY}: only a Clair that asks for no key would answer"))
                    .at(&at)
                    .hint("give both the same: auth.psk.key in Clair's configuration"),
            );
        }
        return Ok(None);
    };
    match SharedKey::read(&Secret(text.to_owned())) {
        Ok(key) => Ok(Some(key)),
        Err(why) => {
            let said = Diagnostic::new(format!("{KEY} {why}")).at(at).hint(
                "it is written in base64 here as in Clair's configuration; openssl rand -base64 32 makes one",
            );
            if python_reads(text) {
                reader.warning(said);
            } else {
                reader.error(said);
            }
            Err(())
        }
    }
}
