/// A storage driver of Quay's: what it needs, and what else it takes.
#[derive(Debug)]
pub(super) struct Driver {
    pub(super) name: &'static str,
    /// Without one of these Quay does not start.
    pub(super) needs: &'static [&'static str],
    /// What Quay's own check asks for besides, where the storage stands alone.
    pub(super) alone: &'static [&'static str],
    /// What else it takes.
    pub(super) takes: &'static [&'static str],
    /// What it may take: versions differ.
    pub(super) perhaps: &'static [&'static str],
    /// Those that hold the name of a private key beside the configuration.
    pub(super) key_file: Option<&'static str>,
}

const GATEWAY: &[&str] =
    &["hostname", "is_secure", "storage_path", "access_key", "secret_key", "bucket_name"];
const S3: &[&str] = &[
    "s3_access_key",
    "s3_secret_key",
    "s3_region",
    "host",
    "port",
    "endpoint_url",
    "maximum_chunk_size_gb",
    "signature_version",
];
const KEYS: &[&str] = &["s3_access_key", "s3_secret_key"];
const S3_PERHAPS: &[&str] = &["aws_session_token"];

const fn driver(
    name: &'static str,
    needs: &'static [&'static str],
    takes: &'static [&'static str],
    perhaps: &'static [&'static str],
) -> Driver {
    Driver { name, needs, alone: &[], takes, perhaps, key_file: None }
}

const RADOS: &[&str] = &[
    "region_name",
    "signature_version",
    "port",
    "minimum_chunk_size_mb",
    "maximum_chunk_size_mb",
    "server_side_assembly",
];

pub(super) const DRIVERS: [Driver; 13] = [
    driver("LocalStorage", &["storage_path"], &[], &[]),
    driver("RadosGWStorage", GATEWAY, RADOS, &[]),
    driver("RHOCSStorage", GATEWAY, RADOS, &[]),
    driver(
        "IBMCloudStorage",
        GATEWAY,
        &["port", "maximum_chunk_size_mb"],
        &["region_name", "signature_version", "server_side_assembly"],
    ),
    driver("S3Storage", &["s3_bucket", "storage_path"], S3, S3_PERHAPS),
    driver(
        "STSS3Storage",
        &["s3_bucket", "storage_path"],
        &[
            "sts_role_arn",
            "sts_user_access_key",
            "sts_user_secret_key",
            "sts_web_identity_token_file",
            "s3_region",
            "host",
            "port",
            "endpoint_url",
            "maximum_chunk_size_gb",
            "signature_version",
        ],
        &["s3_access_key", "s3_secret_key"],
    ),
    driver(
        "GoogleCloudStorage",
        &["storage_path", "access_key", "secret_key", "bucket_name"],
        &["boto_timeout", "signature_version"],
        &["region_name"],
    ),
    driver(
        "SwiftStorage",
        &["storage_path", "swift_container", "auth_url", "swift_user", "swift_password", "auth_version"],
        &[
            "os_options",
            "ca_cert_path",
            "temp_url_key",
            "simple_path_concat",
            "connect_timeout",
            "retry_count",
            "retry_on_ratelimit",
        ],
        &[],
    ),
    Driver {
        name: "CloudFrontedS3Storage",
        needs: &[
            "s3_bucket",
            "storage_path",
            "s3_region",
            "cloudfront_distribution_domain",
            "cloudfront_key_id",
            "cloudfront_privatekey_filename",
        ],
        alone: KEYS,
        takes: &[
            "cloudfront_distribution_org_overrides",
            "host",
            "port",
            "endpoint_url",
            "maximum_chunk_size_gb",
            "signature_version",
        ],
        perhaps: S3_PERHAPS,
        key_file: Some("cloudfront_privatekey_filename"),
    },
    driver(
        "AzureStorage",
        &["azure_container", "storage_path", "azure_account_name"],
        &["azure_account_key", "sas_token", "endpoint_url", "connection_string"],
        &["connect_timeout", "read_timeout", "max_block_upload_size"],
    ),
    Driver {
        name: "CloudFlareStorage",
        needs: &[
            "s3_bucket",
            "storage_path",
            "s3_region",
            "cloudflare_domain",
            "cloudflare_privatekey_filename",
        ],
        alone: KEYS,
        takes: &["host", "port", "endpoint_url", "maximum_chunk_size_gb", "signature_version"],
        perhaps: S3_PERHAPS,
        key_file: Some("cloudflare_privatekey_filename"),
    },
    driver(
        "AkamaiS3Storage",
        &["s3_bucket", "storage_path", "s3_region", "akamai_domain", "akamai_shared_secret"],
        &[
            "amz_encryption_token",
            "s3_access_key",
            "s3_secret_key",
            "host",
            "port",
            "endpoint_url",
            "maximum_chunk_size_gb",
            "signature_version",
        ],
        S3_PERHAPS,
    ),
    driver("MultiCDNStorage", &["providers", "default_provider", "storage_config", "rules"], &[], &[]),
];

/// The driver of that name.
pub(super) fn find(name: &str) -> Option<&'static Driver> {
    DRIVERS.iter().find(|driver| driver.name == name)
}

impl Driver {
    /// All that it takes for sure.
    pub(super) fn known(&self) -> impl Iterator<Item = &'static str> {
        self.needs.iter().chain(self.alone).chain(self.takes).copied()
    }
}
