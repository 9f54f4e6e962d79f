use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use serde::Deserialize;

/// What an image archive (`docker save`) says of one image in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::modules::services) struct ArchivedImage {
    /// The digest of its configuration, without `sha256:`: the engine's image ID.
    pub(in crate::modules::services) id: String,
    pub(in crate::modules::services) tags: Vec<String>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "RepoTags", default)]
    tags: Option<Vec<String>>,
}

/// Lists the images of an archive, plain or gzipped.
pub(in crate::modules::services) fn images(path: &Path) -> Result<Vec<ArchivedImage>, String> {
    let problem = |e: std::io::Error| format!("{}: {e}", path.display());
    let mut file = File::open(path).map_err(problem)?;
    let mut magic = [0; 2];
    let gzipped = file.read_exact(&mut magic).is_ok() && magic == [0x1f, 0x8b];
    file.seek(SeekFrom::Start(0)).map_err(problem)?;
    let manifest = if gzipped {
        find_manifest(tar::Archive::new(flate2::read::GzDecoder::new(BufReader::new(file))))
            .map_err(problem)?
    } else {
        find_seekable_manifest(tar::Archive::new(file)).map_err(problem)?
    };
    let manifest = manifest
        .ok_or_else(|| format!("{} holds no manifest.json: it is not an image archive", path.display()))?;
    read_manifest(&manifest).map_err(|e| format!("{}: manifest.json: {e}", path.display()))
}

/// The names of the images in an archive, for what packs archives; the reason where it is none.
pub fn archived_names(path: &Path) -> Result<Vec<String>, String> {
    Ok(images(path)?.into_iter().flat_map(|image| image.tags).collect())
}

fn find_manifest<R: Read>(mut archive: tar::Archive<R>) -> std::io::Result<Option<Vec<u8>>> {
    pick(archive.entries()?)
}

/// Skips the layers by seeking instead of reading them.
fn find_seekable_manifest<R: Read + Seek>(mut archive: tar::Archive<R>) -> std::io::Result<Option<Vec<u8>>> {
    pick(archive.entries_with_seek()?)
}

fn pick<R: Read>(entries: tar::Entries<'_, R>) -> std::io::Result<Option<Vec<u8>>> {
    for entry in entries {
        let mut entry = entry?;
        if entry.path()?.as_os_str().to_string_lossy().trim_start_matches("./") == "manifest.json" {
            let mut text = Vec::new();
            entry.read_to_end(&mut text)?;
            return Ok(Some(text));
        }
    }
    Ok(None)
}

fn read_manifest(text: &[u8]) -> Result<Vec<ArchivedImage>, serde_json::Error> {
    let entries: Vec<Entry> = serde_json::from_slice(text)?;
    Ok(entries
        .into_iter()
        .map(|entry| {
            // `docker save` writes `HASH.json`, newer ones and OCI layouts `blobs/sha256/HASH`.
            let name = entry.config.rsplit('/').next().unwrap_or_default();
            let id = name.strip_suffix(".json").unwrap_or(name).to_owned();
            ArchivedImage { id, tags: entry.tags.unwrap_or_default() }
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn manifests_of_old_and_new_archives_name_the_image() {
        for config in ["abc.json", "blobs/sha256/abc"] {
            let text = format!(r#"[{{"Config":"{config}","RepoTags":["a/b:1"],"Layers":[]}}]"#);
            let expected = [ArchivedImage { id: "abc".into(), tags: vec!["a/b:1".into()] }];
            assert_eq!(read_manifest(text.as_bytes()).expect("manifest"), expected);
        }
    }

    #[test]
    fn an_archive_is_read_plain_and_gzipped() {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, data) in [("layer.tar", &b"layer"[..]), ("manifest.json", br#"[{"Config":"x.json"}]"#)] {
            let mut header = tar::Header::new_gnu();
            header.set_size(data.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, data).expect("append");
        }
        let plain = builder.into_inner().expect("archive");
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&plain).expect("gzip");
        for bytes in [plain, encoder.finish().expect("gzip")] {
            let mut file = tempfile::NamedTempFile::new().expect("file");
            file.write_all(&bytes).expect("write");
            assert_eq!(images(file.path()).expect("images")[0].id, "x");
        }
        let mut file = tempfile::NamedTempFile::new().expect("file");
        file.write_all(&[0; 1024]).expect("write");
        assert!(images(file.path()).expect_err("no archive").contains("holds no manifest.json"));
    }
}
