use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::header::HeaderValue;
use hyper::{Method, Request, Response};
use jiff::Timestamp;
use md5::{Digest, Md5};
use thiserror::Error;

use super::lifecycle::{LifecycleRule, read_rules, write_rules};
use super::sign::{Credentials, sign};
use super::xml::{each, escape, tag};
use crate::host::{Explained, Explanation};
use crate::http::{Http, percent};

/// Why the storage did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum S3Error {
    #[error("the storage at {endpoint} does not answer: {reason}")]
    Unreachable { endpoint: String, reason: String },
    #[error("the storage at {endpoint} does not know the access key {access_key}")]
    UnknownKey { endpoint: String, access_key: String },
    #[error("the storage at {endpoint} refused the secret key of {access_key}")]
    WrongSecret { endpoint: String, access_key: String },
    #[error("the clocks of this machine and of the storage at {endpoint} are too far apart")]
    Clock { endpoint: String },
    #[error("the bucket {bucket} belongs to somebody else than {access_key}")]
    OtherOwner { bucket: String, access_key: String },
    #[error("there is no bucket {bucket} at {endpoint}")]
    NoBucket { endpoint: String, bucket: String },
    #[error("{what}: the storage answered {status}: {message}")]
    Refused { what: String, status: u16, message: String },
}

impl S3Error {
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "is the gateway running, do host, port and is_secure fit?",
            Self::UnknownKey { .. } => "make the user first (ceph_rgw_user), or copy its access key anew",
            Self::WrongSecret { .. } => "copy the user's secret key anew; ceph_rgw_user reads it back",
            Self::Clock { .. } => "set both clocks (chrony): signatures are valid for minutes only",
            Self::OtherOwner { .. } => "choose another bucket name, or use the keys of the bucket's owner",
            Self::NoBucket { .. } => "make it first (s3_bucket)",
            Self::Refused { .. } => "look at the gateway's log",
        }
    }
}

impl Explained for S3Error {
    fn explain(self) -> Explanation {
        Explanation::Failed { message: self.to_string(), hint: Some(self.hint().into()) }
    }
}

/// A bucket as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    pub name: String,
    pub created: String,
}

/// One version of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    pub key: String,
    pub id: String,
}

/// A client of one storage.
pub struct S3<H> {
    /// `http://HOST[:PORT]`
    pub endpoint: String,
    pub who: Credentials,
    pub http: H,
}

impl<H: Http> S3<H> {
    /// Sends a request; `path` is `/BUCKET[/KEY]`, not encoded, `query` is encoded already.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        query: &str,
        body: Bytes,
    ) -> Result<Response<Bytes>, S3Error> {
        let endpoint = self.endpoint.trim_end_matches('/').to_owned();
        let unreachable = |reason: String| S3Error::Unreachable { endpoint: endpoint.clone(), reason };
        let question = if query.is_empty() { "" } else { "?" };
        let uri = format!("{endpoint}{}{question}{query}", percent(path, true));
        let mut request =
            Request::builder().method(method).uri(uri).body(body).map_err(|e| unreachable(e.to_string()))?;
        if !query.is_empty() && !request.body().is_empty() {
            // Storages ask for it where a bucket's own settings are written.
            let digest = STANDARD.encode(Md5::digest(request.body()));
            let value = HeaderValue::from_str(&digest).map_err(|e| unreachable(e.to_string()))?;
            request.headers_mut().insert("content-md5", value);
        }
        sign(&mut request, &self.who, Timestamp::now()).map_err(&unreachable)?;
        self.http.send(request).await.map_err(|e| unreachable(e.0))
    }

    /// What a refusal means.
    fn refused(&self, what: &str, bucket: &str, answer: &Response<Bytes>) -> S3Error {
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        let code = tag(&text, "Code").unwrap_or_default();
        let (endpoint, access_key) = (self.endpoint.clone(), self.who.access_key.clone());
        let status = answer.status().as_u16();
        match (code.as_str(), status) {
            ("InvalidAccessKeyId", _) => S3Error::UnknownKey { endpoint, access_key },
            ("SignatureDoesNotMatch", _) => S3Error::WrongSecret { endpoint, access_key },
            ("RequestTimeTooSkewed", _) => S3Error::Clock { endpoint },
            ("NoSuchBucket", _) => S3Error::NoBucket { endpoint, bucket: bucket.to_owned() },
            ("BucketAlreadyExists", _) => S3Error::OtherOwner { bucket: bucket.to_owned(), access_key },
            // A HEAD has no body that says more.
            ("AccessDenied", _) | ("", 403) if !bucket.is_empty() => {
                S3Error::OtherOwner { bucket: bucket.to_owned(), access_key }
            }
            ("", 404) if !bucket.is_empty() => S3Error::NoBucket { endpoint, bucket: bucket.to_owned() },
            _ => {
                let message = tag(&text, "Message").filter(|m| !m.is_empty()).unwrap_or(code);
                S3Error::Refused { what: what.to_owned(), status, message }
            }
        }
    }

    async fn must(
        &self,
        what: &str,
        (method, path, query): (Method, &str, &str),
        body: Bytes,
    ) -> Result<Response<Bytes>, S3Error> {
        let answer = self.ask(method, path, query, body).await?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let bucket = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        Err(self.refused(what, bucket, &answer))
    }

    /// The buckets of this user.
    pub async fn buckets(&self) -> Result<Vec<Bucket>, S3Error> {
        let answer = self.must("listing the buckets", (Method::GET, "/", ""), Bytes::new()).await?;
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        Ok(each(&text, "Bucket")
            .filter_map(|entry| {
                Some(Bucket {
                    name: tag(entry, "Name")?,
                    created: tag(entry, "CreationDate").unwrap_or_default(),
                })
            })
            .collect())
    }

    /// Whether a bucket is there; one of somebody else is an error.
    pub async fn exists(&self, bucket: &str) -> Result<bool, S3Error> {
        let path = format!("/{bucket}");
        match self.must("looking for the bucket", (Method::HEAD, &path, ""), Bytes::new()).await {
            Ok(_) => Ok(true),
            Err(S3Error::NoBucket { .. }) => Ok(false),
            Err(S3Error::OtherOwner { .. }) => {
                // A wrong secret is told from another owner only by an answer with a body.
                self.buckets().await?;
                Err(S3Error::OtherOwner {
                    bucket: bucket.to_owned(),
                    access_key: self.who.access_key.clone(),
                })
            }
            Err(other) => Err(other),
        }
    }

    pub async fn create(&self, bucket: &str) -> Result<(), S3Error> {
        let body = if ["", "us-east-1", "default"].contains(&self.who.region.as_str()) {
            Bytes::new()
        } else {
            Bytes::from(format!(
                "<CreateBucketConfiguration><LocationConstraint>{}</LocationConstraint></CreateBucketConfiguration>",
                escape(&self.who.region)
            ))
        };
        self.must("making the bucket", (Method::PUT, &format!("/{bucket}"), ""), body).await.map(drop)
    }

    pub async fn remove(&self, bucket: &str) -> Result<(), S3Error> {
        self.must("removing the bucket", (Method::DELETE, &format!("/{bucket}"), ""), Bytes::new())
            .await
            .map(drop)
    }

    /// Some of what a bucket holds, at most a thousand: objects with their old versions, and marks of removed ones.
    pub async fn versions(&self, bucket: &str) -> Result<Vec<Version>, S3Error> {
        let path = format!("/{bucket}");
        let answer =
            self.must("listing the objects", (Method::GET, &path, "versions="), Bytes::new()).await?;
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        Ok(["Version", "DeleteMarker"]
            .iter()
            .flat_map(|kind| each(&text, kind))
            .filter_map(|entry| Some(Version { key: tag(entry, "Key")?, id: tag(entry, "VersionId")? }))
            .collect())
    }

    pub async fn delete_version(&self, bucket: &str, version: &Version) -> Result<(), S3Error> {
        let (path, query) =
            (format!("/{bucket}/{}", version.key), format!("versionId={}", percent(&version.id, false)));
        self.must("removing an object", (Method::DELETE, &path, &query), Bytes::new()).await.map(drop)
    }

    /// Whether old versions of objects are kept; `None` where it was never decided.
    pub async fn versioning(&self, bucket: &str) -> Result<Option<bool>, S3Error> {
        let path = format!("/{bucket}");
        let answer =
            self.must("asking for versioning", (Method::GET, &path, "versioning="), Bytes::new()).await?;
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        Ok(tag(&text, "Status").map(|status| status == "Enabled"))
    }

    pub async fn set_versioning(&self, bucket: &str, on: bool) -> Result<(), S3Error> {
        let status = if on { "Enabled" } else { "Suspended" };
        let body = format!("<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>");
        let path = format!("/{bucket}");
        self.must("setting versioning", (Method::PUT, &path, "versioning="), Bytes::from(body))
            .await
            .map(drop)
    }

    /// The rules by which a bucket's objects are removed with time.
    pub async fn lifecycle(&self, bucket: &str) -> Result<Vec<LifecycleRule>, S3Error> {
        let answer = self.ask(Method::GET, &format!("/{bucket}"), "lifecycle=", Bytes::new()).await?;
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        if answer.status().is_success() {
            return Ok(read_rules(&text));
        }
        if tag(&text, "Code").is_some_and(|code| code == "NoSuchLifecycleConfiguration") {
            return Ok(Vec::new());
        }
        Err(self.refused("asking for the lifecycle", bucket, &answer))
    }

    /// Replaces all of them; without any the bucket keeps everything.
    pub async fn set_lifecycle(&self, bucket: &str, rules: &[LifecycleRule]) -> Result<(), S3Error> {
        let (method, body) = match rules {
            [] => (Method::DELETE, Bytes::new()),
            rules => (Method::PUT, Bytes::from(write_rules(rules))),
        };
        let path = format!("/{bucket}");
        self.must("setting the lifecycle", (method, &path, "lifecycle="), body).await.map(drop)
    }

    pub async fn put(&self, bucket: &str, key: &str, content: Bytes) -> Result<(), S3Error> {
        self.must("writing an object", (Method::PUT, &format!("/{bucket}/{key}"), ""), content)
            .await
            .map(drop)
    }

    pub async fn get(&self, bucket: &str, key: &str) -> Result<Bytes, S3Error> {
        let path = format!("/{bucket}/{key}");
        self.must("reading an object", (Method::GET, &path, ""), Bytes::new()).await.map(Response::into_body)
    }

    pub async fn delete(&self, bucket: &str, key: &str) -> Result<(), S3Error> {
        let path = format!("/{bucket}/{key}");
        self.must("removing an object", (Method::DELETE, &path, ""), Bytes::new()).await.map(drop)
    }
}
