use std::time::Duration;

use super::run::Answer;
use crate::clair::{Clair, ClairError, ISSUER};
use crate::config::Scanner;
use crate::http::{Client, Dial, Trust};

/// Asks Clair as Quay would.
pub(super) async fn ask(scanner: &Scanner, dial: &dyn Dial, trust: &Trust, wait: Duration) -> Answer {
    let clair = Clair {
        endpoint: scanner.endpoint.clone(),
        key: scanner.key.clone(),
        issuer: ISSUER.to_owned(),
        http: Client {
            dial,
            timeout: wait,
            trust: trust.clone(),
            limit: crate::host::Limits::default().http,
        },
    };
    match clair.index_state().await {
        Ok(state) if state.open => Answer::But {
            found: "Clair, which asks for no key".into(),
            hint: "give it SECURITY_SCANNER_V4_PSK as auth.psk.key, with auth.psk.iss: [quay]".into(),
        },
        Ok(_) => Answer::Serves("Clair, the key is taken".into()),
        Err(error @ ClairError::KeyWanted { .. }) => {
            Answer::fails(error.to_string(), "add SECURITY_SCANNER_V4_PSK: auth.psk.key of its configuration")
        }
        Err(error) => Answer::fails(error.to_string(), error.hint()),
    }
}
