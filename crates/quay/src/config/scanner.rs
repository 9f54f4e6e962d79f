use super::model::Scanner;
use super::reader::Reader;
use crate::clair::SharedKey;
use crate::diag::{Diagnostic, closest};
use crate::host::Secret;
use crate::http::authority;

const SWITCH: &str = "FEATURE_SECURITY_SCANNER";
const ENDPOINT: &str = "SECURITY_SCANNER_V4_ENDPOINT";
const OLD_ENDPOINT: &str = "SECURITY_SCANNER_ENDPOINT";
const KEY: &str = "SECURITY_SCANNER_V4_PSK";
const LARGEST: &str = "SECURITY_SCANNER_V4_INDEX_MAX_LAYER_SIZE";
const SEVERITY: &str = "NOTIFICATION_MIN_SEVERITY_ON_NEW_INDEX";

/// How bad a vulnerability can be.
const SEVERITIES: [&str; 6] = ["Critical", "High", "Medium", "Low", "Negligible", "Unknown"];

/// Reads which Clair looks at images, where one does.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<Scanner> {
    if !reader.flag(SWITCH, false) {
        return None;
    }
    largest_layer(reader);
    least_severity(reader);
    let Some((endpoint, at)) = reader.text(ENDPOINT) else {
        if reader.get(OLD_ENDPOINT).is_none() {
            reader.needs(SWITCH, ENDPOINT, "write http://clair:6060");
        } else if reader.get(ENDPOINT).is_none() {
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
    let uri = endpoint.parse::<hyper::Uri>().ok().filter(|uri| authority(uri).is_ok());
    let Some(uri) = uri else {
        reader.error(
            Diagnostic::new(format!("{ENDPOINT} is no address: {endpoint}"))
                .at(at)
                .hint("write http://HOST:PORT or https://HOST:PORT, such as http://clair:6060"),
        );
        return None;
    };
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
            reader.error(Diagnostic::new(format!("{KEY} {why}")).at(at).hint(
                "it is written in base64 here as in Clair's configuration; openssl rand -base64 32 makes one",
            ));
            Err(())
        }
    }
}

fn largest_layer(reader: &mut Reader<'_>) {
    let Some((size, at)) = reader.text(LARGEST) else { return };
    let digits = size.strip_suffix(|c: char| "BKMGTbkmgt".contains(c)).unwrap_or_default();
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        reader.error(
            Diagnostic::new(format!("{LARGEST} is a number and B, K, M, G or T, not {size}"))
                .at(at)
                .hint("write 8G"),
        );
    }
}

fn least_severity(reader: &mut Reader<'_>) {
    let Some((severity, at)) = reader.text(SEVERITY) else { return };
    if !SEVERITIES.contains(&severity) {
        let same = SEVERITIES.into_iter().find(|s| s.eq_ignore_ascii_case(severity));
        let near = same.or_else(|| closest(severity, SEVERITIES)).map(|near| format!("did you mean {near}?"));
        reader.error(
            Diagnostic::new(format!("{SEVERITY} is not {severity}"))
                .at(at)
                .hint(near.unwrap_or_else(|| format!("it is one of {}", SEVERITIES.join(", ")))),
        );
    }
}
