use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use serde::Deserialize;

use crate::archive::TarReader;

/// The most that the list of an archive's images may be.
const LONGEST_MANIFEST: u64 = 16 << 20;

/// The most files that an archive holds.
const MOST_MEMBERS: usize = 1_000_000;

/// What an image archive (`docker save`) says of one image in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ArchivedImage {
    /// The digest of its configuration, without `sha256:`: the engine's image ID.
    pub(crate) id: String,
    pub(crate) tags: Vec<String>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "RepoTags", default)]
    tags: Option<Vec<String>>,
}

/// Lists the images of an archive, plain or gzipped.
pub(crate) fn images(path: &Path) -> Result<Vec<ArchivedImage>, String> {
    let problem = |e: std::io::Error| format!("{}: {e}", path.display());
    let mut file = File::open(path).map_err(problem)?;
    let mut magic = [0; 2];
    let gzipped = file.read_exact(&mut magic).is_ok() && magic == [0x1f, 0x8b];
    file.seek(SeekFrom::Start(0)).map_err(problem)?;
    let manifest = if gzipped {
        pick(TarReader::new(flate2::read::GzDecoder::new(BufReader::new(file)))).map_err(problem)?
    } else {
        // Skips the layers by seeking instead of reading them.
        pick(TarReader::seeking(file)).map_err(problem)?
    };
    let manifest = manifest
        .ok_or_else(|| format!("{} holds no manifest.json: it is not an image archive", path.display()))?;
    read_manifest(&manifest).map_err(|e| format!("{}: manifest.json: {e}", path.display()))
}

/// The names of the images in an archive, for what packs archives; the reason where it is none.
pub fn archived_names(path: &Path) -> Result<Vec<String>, String> {
    Ok(images(path)?.into_iter().flat_map(|image| image.tags).collect())
}

fn pick<R: Read>(mut archive: TarReader<R>) -> std::io::Result<Option<Vec<u8>>> {
    for _ in 0..MOST_MEMBERS {
        let Some(member) = archive.next_member()? else { return Ok(None) };
        if String::from_utf8_lossy(&member.path).trim_start_matches("./") != "manifest.json" {
            continue;
        }
        if member.size > LONGEST_MANIFEST {
            let why = format!("its manifest.json is longer than {} MiB", LONGEST_MANIFEST >> 20);
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, why));
        }
        let mut text = Vec::new();
        archive.read_to_end(&mut text)?;
        return Ok(Some(text));
    }
    let why = format!("it holds more than {MOST_MEMBERS} files");
    Err(std::io::Error::new(std::io::ErrorKind::InvalidData, why))
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

    #[test]
    fn an_archive_that_claims_gigabytes_costs_nothing() {
        for (kind, name, why) in [
            (tar::EntryType::Regular, "manifest.json", "longer than 16 MiB"),
            (tar::EntryType::GNULongName, "././@LongLink", "longer than any needs to be"),
            (tar::EntryType::XHeader, "pax", "longer than any needs to be"),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_path(name).expect("a name");
            header.set_entry_type(kind);
            header.set_size(6 << 30);
            header.set_cksum();
            let plain = [header.as_bytes().to_vec(), vec![0; 4096]].concat();
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&plain).expect("gzip");
            for bytes in [plain, encoder.finish().expect("gzip")] {
                let mut file = tempfile::NamedTempFile::new().expect("file");
                file.write_all(&bytes).expect("write");
                let error = images(file.path()).expect_err("refused");
                assert!(error.contains(why), "{name}: {error}");
            }
        }
    }
}
