use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use oci_client::client::{Config, ImageLayer};
use serde_json::json;
use sha2::{Digest, Sha256};

/// The smallest image that is one: one layer with one file.
pub(super) struct SmallImage {
    pub(super) config: Config,
    pub(super) layer: ImageLayer,
}

/// Makes an image whose only file holds these bytes.
pub(super) fn small_image(content: &[u8]) -> std::io::Result<SmallImage> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_data(&mut header, "quaylab", content)?;
    let tar = builder.into_inner()?;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&tar)?;
    let diff_id = format!("sha256:{}", hex::encode(Sha256::digest(&tar)));
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {"Labels": {"quaylab": "verify"}},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    });
    Ok(SmallImage {
        config: Config::oci_v1(config.to_string().into_bytes(), None),
        layer: ImageLayer::oci_v1_gzip(encoder.finish()?, None),
    })
}
