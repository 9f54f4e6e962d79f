use std::time::Duration;

use bytes::Bytes;

use super::run::Answer;
use crate::config::{S3Access, StorageLocation};
use crate::http::{Client, Dial, Trust};
use crate::s3::{Credentials, S3, S3Error};

pub(super) fn place(location: &StorageLocation) -> String {
    match &location.s3 {
        Some(access) => format!("{}/{}", access.endpoint(), access.bucket),
        None => location.driver.clone(),
    }
}

/// Writes, reads and removes a small object, as Quay would.
pub(super) async fn ask(
    location: &StorageLocation,
    dial: &dyn Dial,
    trust: &Trust,
    wait: Duration,
) -> Answer {
    let Some(access) = &location.s3 else {
        let why = if location.driver == "LocalStorage" {
            "a folder in Quay's container"
        } else {
            "no S3 with an address"
        };
        return Answer::NotAsked(why.into());
    };
    match round_trip(access, dial, trust, wait).await {
        Ok(()) => Answer::Serves("wrote, read and removed an object".into()),
        Err(S3Error::Refused { what, status: 507 | 500, message }) => Answer::fails(
            format!("{what}: {message}"),
            "is the storage full, or read-only? ceph status, ceph df",
        ),
        Err(error) => Answer::fails(error.to_string(), error.hint()),
    }
}

async fn round_trip(
    access: &S3Access,
    dial: &dyn Dial,
    trust: &Trust,
    wait: Duration,
) -> Result<(), S3Error> {
    let storage = S3 {
        endpoint: access.endpoint(),
        who: Credentials {
            access_key: access.access_key.clone(),
            secret_key: access.secret_key.clone(),
            region: access.region.clone(),
        },
        http: Client {
            dial,
            timeout: wait,
            trust: trust.clone(),
            limit: crate::host::Limits::default().http,
        },
    };
    let bucket = access.bucket.as_str();
    if !storage.exists(bucket).await? {
        return Err(S3Error::NoBucket { endpoint: access.endpoint(), bucket: bucket.to_owned() });
    }
    let folder = access.path.trim_matches('/');
    let name = format!("quaylab-probe-{}", hex::encode(rand::random::<[u8; 8]>()));
    let key = if folder.is_empty() { name } else { format!("{folder}/{name}") };
    let content = Bytes::copy_from_slice(&rand::random::<[u8; 64]>());
    storage.put(bucket, &key, content.clone()).await?;
    let read = storage.get(bucket, &key).await;
    let removed = storage.delete(bucket, &key).await;
    let read = read?;
    removed?;
    if read == content {
        return Ok(());
    }
    Err(S3Error::Refused {
        what: "reading an object".into(),
        status: 200,
        message: "it came back with another content".into(),
    })
}
