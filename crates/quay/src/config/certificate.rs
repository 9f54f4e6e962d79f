use std::net::IpAddr;

use jiff::{Timestamp, ToSpan};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;

use crate::diag::Diagnostic;

/// How long before its end a certificate is worth a warning.
const SOON_DAYS: i64 = 30;

/// The files that Quay finds beside its configuration.
#[derive(Clone, Default)]
pub struct Bundle {
    /// Where they are looked for, for messages.
    pub place: String,
    pub certificate: Option<Vec<u8>>,
    pub key: Option<Vec<u8>>,
}

/// What of a certificate says whether clients will believe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// Its subject's alternative names: DNS names and addresses.
    pub names: Vec<String>,
}

/// Why clients will not believe a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unbelievable {
    Expired(Timestamp),
    NotYet(Timestamp),
    OtherName { wanted: String, names: Vec<String> },
}

impl std::fmt::Display for Unbelievable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Expired(at) => write!(f, "expired on {}", day(*at)),
            Self::NotYet(at) => write!(f, "is valid only from {}", day(*at)),
            Self::OtherName { wanted, names } if names.is_empty() => {
                write!(f, "holds no subject alternative name, so not {wanted}")
            }
            Self::OtherName { wanted, names } => write!(f, "is for {}, not for {wanted}", names.join(", ")),
        }
    }
}

impl Unbelievable {
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Expired(_) => {
                "put a new certificate and its key there, or let the lab's own authority make one (quay_tls: lab)"
            }
            Self::NotYet(_) => "is the clock right?",
            Self::OtherName { .. } => {
                "make one whose subject alternative names hold SERVER_HOSTNAME; clients do not read the common name"
            }
        }
    }
}

/// A day as people write it.
fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

impl Leaf {
    /// Reads a certificate in DER.
    pub fn read(der: &[u8]) -> Result<Self, String> {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).map_err(|e| e.to_string())?;
        let time = |seconds: i64| Timestamp::from_second(seconds).map_err(|e| e.to_string());
        let names = certificate.subject_alternative_name().ok().flatten();
        let names = names.map(|extension| extension.value.general_names.iter().filter_map(name).collect());
        Ok(Self {
            not_before: time(certificate.validity().not_before.timestamp())?,
            not_after: time(certificate.validity().not_after.timestamp())?,
            names: names.unwrap_or_default(),
        })
    }

    /// Reads the first certificate of a PEM text.
    pub fn read_pem(pem: &[u8]) -> Result<Self, String> {
        let der = CertificateDer::from_pem_slice(pem).map_err(|e| e.to_string())?;
        Self::read(&der)
    }

    pub fn covers(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let address: Option<IpAddr> = host.parse().ok();
        self.names.iter().any(|name| match (address, name.strip_prefix("*.")) {
            (Some(address), _) => name.parse() == Ok(address),
            (None, None) => *name == host,
            // A wildcard stands for one label.
            (None, Some(domain)) => host.split_once('.').is_some_and(|(_, rest)| rest == domain),
        })
    }

    /// Why clients would not believe it now, for this name.
    pub fn unbelievable(&self, host: Option<&str>, now: Timestamp) -> Vec<Unbelievable> {
        let mut why = Vec::new();
        if now > self.not_after {
            why.push(Unbelievable::Expired(self.not_after));
        }
        if now < self.not_before {
            why.push(Unbelievable::NotYet(self.not_before));
        }
        if let Some(host) = host.filter(|host| !self.covers(host)) {
            why.push(Unbelievable::OtherName { wanted: host.to_owned(), names: self.names.clone() });
        }
        why
    }

    /// Whether less than this many days are left.
    pub fn ends_within(&self, days: i64, now: Timestamp) -> bool {
        now.checked_add((days * 24).hours()).map_or(true, |then| then > self.not_after)
    }
}

fn name(general: &GeneralName<'_>) -> Option<String> {
    match general {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|b| IpAddr::from(b).to_string()),
            16 => <[u8; 16]>::try_from(*bytes).ok().map(|b| IpAddr::from(b).to_string()),
            _ => None,
        },
        _ => None,
    }
}

/// What is wrong with the certificate of a Quay that speaks TLS itself; `true` goes with what stops it.
pub(super) fn examine(bundle: &Bundle, host: Option<&str>, now: Timestamp) -> Vec<(bool, Diagnostic)> {
    const MEANS: &str = "PREFERRED_URL_SCHEME: https means that Quay itself speaks TLS";
    let place = &bundle.place;
    let (Some(certificate), Some(key)) = (&bundle.certificate, &bundle.key) else {
        let missing = match (&bundle.certificate, &bundle.key) {
            (None, None) => "ssl.cert and ssl.key are",
            (None, _) => "ssl.cert is",
            _ => "ssl.key is",
        };
        let said = Diagnostic::new(format!("{missing} missing in {place}"));
        let hint = "put them there, or set EXTERNAL_TLS_TERMINATION: true where something in front of Quay speaks TLS";
        return vec![(true, said.note(MEANS).hint(hint))];
    };
    let chain: Result<Vec<CertificateDer<'_>>, _> = CertificateDer::pem_slice_iter(certificate).collect();
    let leaf = match chain.as_deref() {
        Ok([first, ..]) => Leaf::read(first),
        Ok([]) => Err("it holds no certificate".into()),
        Err(error) => Err(error.to_string()),
    };
    let leaf = match leaf {
        Ok(leaf) => leaf,
        Err(why) => {
            let said = Diagnostic::new(format!("{place}/ssl.cert cannot be read: {why}"));
            return vec![(
                true,
                said.hint("it is a PEM file: the server's certificate first, then what signed it"),
            )];
        }
    };
    let mut said: Vec<(bool, Diagnostic)> = leaf
        .unbelievable(host, now)
        .into_iter()
        .map(|why| {
            (true, Diagnostic::new(format!("the certificate {place}/ssl.cert {why}")).hint(why.hint()))
        })
        .collect();
    if now <= leaf.not_after && leaf.ends_within(SOON_DAYS, now) {
        let end = day(leaf.not_after);
        said.push((
            false,
            Diagnostic::new(format!("the certificate {place}/ssl.cert ends on {end}")).hint("renew it"),
        ));
    }
    match PrivateKeyDer::from_pem_slice(key) {
        Err(error) => said.push((
            true,
            Diagnostic::new(format!("{place}/ssl.key cannot be read: {error}"))
                .hint("it is a PEM file with one private key, not encrypted"),
        )),
        Ok(key) => {
            let chain = chain.unwrap_or_default();
            if let Err(error) = CertifiedKey::from_der(chain, key, &ring::default_provider()) {
                said.push((
                    true,
                    Diagnostic::new(format!("{place}/ssl.key is not the key of {place}/ssl.cert"))
                        .note(error.to_string())
                        .hint("put the key there that the certificate was made with"),
                ));
            }
        }
    }
    said
}
