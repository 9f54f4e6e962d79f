use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::ByteStream;

/// Whose certificates are believed.
#[derive(Debug, Clone, Default)]
pub enum Trust {
    /// Those that this machine's system believes.
    #[default]
    System,
    /// Any at all (`validate_certs: false`).
    Anything,
    /// Those of these authorities only, the lab's own, and these themselves.
    Authorities(Vec<CertificateDer<'static>>),
}

/// The certificates of a PEM text.
pub fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(list) if list.is_empty() => Err("it holds no certificate in PEM".to_owned()),
        Ok(list) => Ok(list.into_iter().map(CertificateDer::into_owned).collect()),
        Err(error) => Err(error.to_string()),
    }
}

/// Speaks TLS over a dialled stream.
pub async fn wrap(
    stream: Box<dyn ByteStream>,
    name: &str,
    trust: &Trust,
) -> Result<TlsStream<Box<dyn ByteStream>>, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    let config = match trust {
        Trust::System => builder.with_platform_verifier().map_err(|e| e.to_string())?.with_no_client_auth(),
        Trust::Anything => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anything(provider)))
            .with_no_client_auth(),
        Trust::Authorities(list) => {
            let mut roots = RootCertStore::empty();
            for certificate in list {
                roots.add(certificate.clone()).map_err(|e| e.to_string())?;
            }
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|e| e.to_string())?;
            let verifier = Named { authorities: verifier, list: list.clone() };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth()
        }
    };
    let name = ServerName::try_from(name.to_owned()).map_err(|e| format!("{name}: {e}"))?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|e| e.to_string())
}

/// The certificates that a server shows, whether they are to be believed or not.
pub async fn present(
    stream: Box<dyn ByteStream>,
    name: &str,
) -> Result<Vec<CertificateDer<'static>>, String> {
    let stream = wrap(stream, name, &Trust::Anything).await?;
    let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
    Ok(shown.iter().map(|c| c.clone().into_owned()).collect())
}

/// Believes these authorities, and a certificate that is named itself.
///
/// One that signed itself says of itself that it is an authority, as OpenSSL makes them, and an authority's certificate is no server's:
/// OpenSSL and curl take it where it is named, and so does this.
#[derive(Debug)]
struct Named {
    authorities: Arc<WebPkiServerVerifier>,
    list: Vec<CertificateDer<'static>>,
}

impl Named {
    /// Whether a certificate that is named itself is this server's, today.
    fn is_of(certificate: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> Result<(), Error> {
        verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let validity = parsed.validity();
        if now < validity.not_before.timestamp() {
            return Err(Error::InvalidCertificate(CertificateError::NotValidYet));
        }
        if now > validity.not_after.timestamp() {
            return Err(Error::InvalidCertificate(CertificateError::Expired));
        }
        Ok(())
    }
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judged =
            self.authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        if judged.is_err() && self.list.iter().any(|named| named == end_entity) {
            return Self::is_of(end_entity, server_name, now).map(|()| ServerCertVerified::assertion());
        }
        judged
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

/// Believes every certificate, but still checks that the peer holds its key.
#[derive(Debug)]
struct Anything(Arc<CryptoProvider>);

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};

    use super::*;

    /// A certificate that signed itself, as OpenSSL makes them.
    fn own(name: &str, until: i32) -> CertificateDer<'static> {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").der().clone()
    }

    fn judge(named: &CertificateDer<'static>, shown: &CertificateDer<'_>, name: &str) -> Result<(), String> {
        let mut roots = RootCertStore::empty();
        roots.add(named.clone()).expect("an authority");
        let provider = Arc::new(ring::default_provider());
        let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .expect("a verifier");
        let verifier = Named { authorities, list: vec![named.clone()] };
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_800_000_000));
        let judged = verifier.verify_server_cert(shown, &[], &name, &[], now);
        judged.map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn a_certificate_that_signed_itself_is_believed_where_it_is_named() {
        let named = own("quay.lab", 2100);
        assert_eq!(judge(&named, &named, "quay.lab"), Ok(()));
        for (shown, name, why) in
            [(&named, "other.lab", "name"), (&own("quay.lab", 2100), "quay.lab", "invalid peer certificate")]
        {
            let told = judge(&named, shown, name).expect_err(why);
            assert!(told.to_lowercase().contains(why), "{told}");
        }
        let old = own("quay.lab", 2021);
        let told = judge(&old, &old, "quay.lab").expect_err("it is old");
        assert!(told.to_lowercase().contains("expired"), "{told}");
    }
}
