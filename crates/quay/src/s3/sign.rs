use hmac::{Hmac, KeyInit, Mac};
use hyper::header::{AUTHORIZATION, HOST, HeaderValue};
use hyper::{Request, Uri};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::host::Secret;

/// Who asks, and in which region.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub access_key: String,
    pub secret_key: Secret,
    pub region: String,
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// The query in the order of its encoded names, each with its `=`.
fn canonical_query(uri: &Uri) -> String {
    let mut pairs: Vec<(&str, &str)> = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .collect();
    pairs.sort_unstable();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// Signs a request for S3 with signature version 4. Its path and query must be percent-encoded already.
pub fn sign<B: AsRef<[u8]>>(
    request: &mut Request<B>,
    who: &Credentials,
    now: Timestamp,
) -> Result<(), String> {
    const SIGNED: &str = "host;x-amz-content-sha256;x-amz-date";
    let moment = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let day = now.strftime("%Y%m%d").to_string();
    let payload = hex::encode(Sha256::digest(request.body().as_ref()));
    let uri = request.uri().clone();
    let host = uri.authority().ok_or("the request names no host")?.as_str().to_owned();
    let canonical = format!(
        "{}\n{}\n{}\nhost:{host}\nx-amz-content-sha256:{payload}\nx-amz-date:{moment}\n\n{SIGNED}\n{payload}",
        request.method(),
        uri.path(),
        canonical_query(&uri),
    );
    let scope = format!("{day}/{}/s3/aws4_request", who.region);
    let text = format!("AWS4-HMAC-SHA256\n{moment}\n{scope}\n{}", hex::encode(Sha256::digest(canonical)));
    let key = [day.as_str(), &who.region, "s3", "aws4_request"]
        .iter()
        .fold(format!("AWS4{}", who.secret_key.0).into_bytes(), |key, part| mac(&key, part));
    let signature = hex::encode(mac(&key, &text));
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={SIGNED}, Signature={signature}",
        who.access_key
    );
    let header = |text: &str| HeaderValue::from_str(text).map_err(|e| e.to_string());
    let headers = request.headers_mut();
    headers.insert(HOST, header(&host)?);
    headers.insert("x-amz-content-sha256", header(&payload)?);
    headers.insert("x-amz-date", header(&moment)?);
    headers.insert(AUTHORIZATION, header(&authorization)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the interface's own documentation: GET of a bucket's lifecycle.
    #[test]
    fn the_documented_example_has_the_documented_signature() {
        let who = Credentials {
            access_key: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_key: Secret("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into()),
            region: "us-east-1".into(),
        };
        let mut request = Request::builder()
            .uri("http://examplebucket.s3.amazonaws.com/?lifecycle")
            .body("")
            .expect("a request");
        sign(&mut request, &who, "2013-05-24T00:00:00Z".parse().expect("a time")).expect("signed");
        let header = request.headers()[AUTHORIZATION].to_str().expect("text");
        assert!(
            header.ends_with("Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
            "{header}"
        );
    }
}
