use crate::host::Secret;
use crate::quay::s3::{Credentials, S3};
use crate::web::{Web, trust, web};
use crate::{ModuleError, TaskContext};

/// How long one answer may take.
const SECONDS: u64 = 60;

/// Where an S3 storage is, and who asks.
pub(super) struct Storage<'a> {
    pub(super) endpoint_url: &'a str,
    pub(super) access_key: &'a str,
    pub(super) secret_key: &'a Secret,
    pub(super) region: &'a str,
    pub(super) validate_certs: bool,
    pub(super) ca_cert: Option<&'a str>,
}

/// The arguments that lead to an S3 storage, as fields of a module's struct. Addresses are path-style, signatures of version 4.
macro_rules! with_storage {
    ($(#[$meta:meta])* $visibility:vis struct $name:ident { $($fields:tt)* }) => {
        $(#[$meta])*
        #[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        $visibility struct $name {
            /// The bucket.
            name: String,
            /// The storage's address as the target sees it (`http://HOST:PORT`).
            #[serde(alias = "s3_url", alias = "aws_endpoint_url")]
            endpoint_url: String,
            #[serde(alias = "aws_access_key", alias = "access_key_id")]
            access_key: String,
            #[serde(
                alias = "aws_secret_key",
                alias = "secret_access_key",
                deserialize_with = "super::storage::text"
            )]
            #[schemars(with = "String")]
            secret_key: crate::host::Secret,
            #[serde(default = "super::storage::default_region", alias = "aws_region")]
            region: String,
            #[serde(default = "crate::args::yes")]
            validate_certs: bool,
            /// The certificates (PEM) that are believed; by default the system's.
            ca_cert: Option<String>,
            $($fields)*
        }

        impl $name {
            fn storage(
                &self,
                cx: &crate::TaskContext,
            ) -> Result<crate::quay::s3::S3<crate::web::Web>, crate::ModuleError> {
                super::storage::Storage {
                    endpoint_url: &self.endpoint_url,
                    access_key: &self.access_key,
                    secret_key: &self.secret_key,
                    region: &self.region,
                    validate_certs: self.validate_certs,
                    ca_cert: self.ca_cert.as_deref(),
                }
                .client(cx)
            }
        }
    };
}
pub(super) use with_storage;

pub(super) fn text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    <String as serde::Deserialize>::deserialize(deserializer).map(Secret)
}

pub(super) fn default_region() -> String {
    "us-east-1".into()
}

impl Storage<'_> {
    pub(super) fn client(&self, cx: &TaskContext) -> Result<S3<Web>, ModuleError> {
        let client =
            Web { trust: trust(self.validate_certs, self.ca_cert)?, ..web(cx, SECONDS, self.validate_certs) };
        Ok(S3 {
            endpoint: self.endpoint_url.trim_end_matches('/').to_owned(),
            who: Credentials {
                access_key: self.access_key.to_owned(),
                secret_key: self.secret_key.clone(),
                region: self.region.to_owned(),
            },
            http: client,
        })
    }
}
