use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::host::Secret;

/// A certificate and its key, both as PEM.
#[derive(Debug, Clone)]
pub struct Certified {
    pub certificate: String,
    pub key: Secret,
}

/// Year, month and day so many days from now.
fn day(now: Timestamp, days: i64) -> Result<(i32, u8, u8), String> {
    let at = now.checked_add((days * 24).hours()).map_err(|e| e.to_string())?.to_zoned(TimeZone::UTC);
    let part = |number: i8| u8::try_from(number).map_err(|e| e.to_string());
    Ok((i32::from(at.year()), part(at.month())?, part(at.day())?))
}

fn parameters(name: &str, names: &[String], days: i64, now: Timestamp) -> Result<CertificateParams, String> {
    let mut parameters = CertificateParams::new(names.to_vec()).map_err(|e| e.to_string())?;
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    // A clock that is a little behind shall believe it as well.
    let (year, month, first) = day(now, -1)?;
    parameters.not_before = date_time_ymd(year, month, first);
    let (year, month, last) = day(now, days)?;
    parameters.not_after = date_time_ymd(year, month, last);
    Ok(parameters)
}

fn authority(name: &str, days: i64, now: Timestamp) -> Result<CertificateParams, String> {
    let mut parameters = parameters(name, &[], days, now)?;
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(parameters)
}

/// Makes a lab's authority, valid for so many days.
pub fn make_authority(name: &str, days: i64, now: Timestamp) -> Result<Certified, String> {
    let key = KeyPair::generate().map_err(|e| e.to_string())?;
    let certificate = authority(name, days, now)?.self_signed(&key).map_err(|e| e.to_string())?;
    Ok(Certified { certificate: certificate.pem(), key: Secret(key.serialize_pem()) })
}

/// Whether a key is that of the first certificate of a text; both as PEM.
pub fn is_pair(certificate: &str, key: &str) -> bool {
    let chain = CertificateDer::from_pem_slice(certificate.as_bytes());
    let (Ok(chain), Ok(key)) = (chain, PrivateKeyDer::from_pem_slice(key.as_bytes())) else { return false };
    CertifiedKey::from_der(vec![chain], key, &ring::default_provider()).is_ok()
}

/// Makes a server's certificate for these names and addresses, signed by the authority of that name and key. The text
/// holds the authority's certificate as well, as servers show it.
pub fn issue(
    authority_name: &str,
    signer: &Certified,
    names: &[String],
    days: i64,
    now: Timestamp,
) -> Result<Certified, String> {
    let first = names.first().ok_or("a certificate needs a name")?;
    let signing_key = KeyPair::from_pem(&signer.key.0).map_err(|e| e.to_string())?;
    // Only the name and the key of the authority's parameters go into what it signs.
    let issuer = Issuer::new(authority(authority_name, 1, now)?, signing_key);
    let key = KeyPair::generate().map_err(|e| e.to_string())?;
    let mut parameters = parameters(first, names, days, now)?;
    parameters.use_authority_key_identifier_extension = true;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = parameters.signed_by(&key, &issuer).map_err(|e| e.to_string())?;
    Ok(Certified {
        certificate: format!("{}{}", certificate.pem(), signer.certificate),
        key: Secret(key.serialize_pem()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Leaf;

    #[test]
    fn a_certificate_holds_its_names_for_its_days() {
        let now: Timestamp = "2026-01-10T12:00:00Z".parse().expect("a time");
        let signer = make_authority("quaylab lab", 3650, now).expect("an authority");
        let names = ["quay.lab.lan".to_owned(), "192.168.254.2".to_owned()];
        let made = issue("quaylab lab", &signer, &names, 90, now).expect("a certificate");
        let leaf = Leaf::read_pem(made.certificate.as_bytes()).expect("readable");
        assert_eq!(leaf.names, names);
        assert!(leaf.covers("quay.lab.lan") && leaf.covers("192.168.254.2") && !leaf.covers("other.lan"));
        assert!(leaf.ends_within(91, now) && !leaf.ends_within(80, now));
        assert!(leaf.unbelievable(None, now).is_empty());
        assert_eq!(made.certificate.matches("BEGIN CERTIFICATE").count(), 2);
        assert!(issue("quaylab lab", &signer, &[], 90, now).is_err());
    }
}
