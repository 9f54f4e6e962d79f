use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

use super::checksum::Checksum;
use super::download::download;
use super::unpack::{Packing, unpack};
use super::{LabError, SourceImage};

/// A disk image that is fetched once and kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRequest {
    /// `http://`, `https://`, `file://` or a path.
    pub uri: String,
    /// `sha256:HEX`, or where a list of checksums is; without it the digest of what came is what counts.
    pub checksum: Option<String>,
    pub cache_dir: PathBuf,
}

/// Where images are kept when nothing else is said: the user's cache folder.
pub fn default_cache_dir() -> PathBuf {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|p| p.is_absolute())
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    base.unwrap_or_else(|| PathBuf::from("/var/tmp")).join("quaylab/images")
}

impl ImageRequest {
    pub fn check(&self) -> Result<(), LabError> {
        self.checksum()?;
        match self.uri.split_once("://") {
            None if !self.uri.starts_with('/') => {
                Err(LabError::Invalid(format!("image {:?} is neither a URL nor an absolute path", self.uri)))
            }
            Some((scheme, _)) if !["http", "https", "file"].contains(&scheme) => {
                Err(LabError::Invalid(format!("images come by http, https or file, not by {scheme}")))
            }
            _ => Ok(()),
        }
    }

    fn checksum(&self) -> Result<Option<Checksum>, LabError> {
        self.checksum.as_deref().map(Checksum::parse).transpose()
    }

    /// The last part of the URI: the image's name in lists of checksums, too.
    fn file_name(&self) -> &str {
        self.uri.split(['?', '#']).next().unwrap_or_default().rsplit('/').next().unwrap_or_default()
    }

    /// The image's place in the cache; another URI or checksum is another image.
    pub fn cached_path(&self) -> PathBuf {
        let key = Sha256::digest(format!("{}\n{}", self.uri, self.checksum.as_deref().unwrap_or_default()));
        let short: String = hex::encode(key).chars().take(12).collect();
        let name: String = self
            .file_name()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' })
            .collect();
        self.cache_dir.join(format!("{short}-{}", if name.is_empty() { "image" } else { &name }))
    }

    /// Where the image is once it is fetched: in the cache, or, for one that is on this machine and not packed, where it lies.
    pub fn path(&self) -> PathBuf {
        let unpacked = with_suffix(&self.cached_path(), ".unpacked");
        if unpacked.is_file() {
            return unpacked;
        }
        local_path(&self.uri).unwrap_or_else(|| self.cached_path())
    }

    /// The image if the cache has it, complete; of one on this machine, if its digest is known as it is now.
    pub async fn cached(&self) -> Result<Option<SourceImage>, LabError> {
        let path = self.path();
        let Ok(note) = tokio::fs::read_to_string(self.note()).await else { return Ok(None) };
        let digest = match (note.trim().split_once(' '), local_path(&self.uri)) {
            (Some((digest, seen)), Some(local)) if stamp(&local).is_ok_and(|now| now == seen) => {
                digest.to_owned()
            }
            (None, None) if path.is_file() => note.trim().to_owned(),
            _ => return Ok(None),
        };
        // A list of checksums was asked when the image came: what is noted was right then.
        if let Some(Checksum::Is(wanted)) = self.checksum()?
            && wanted != digest
        {
            return Ok(None);
        }
        inspect(&path, digest).await.map(Some)
    }

    /// The file that says which digest the image had when it was fetched.
    fn note(&self) -> PathBuf {
        with_suffix(&self.cached_path(), ".sha256")
    }

    /// Brings the image into the cache: into a `.part` file that a broken download resumes, checked before it counts.
    pub async fn fetch(&self, progress: &(dyn Fn(&str) + Send + Sync)) -> Result<SourceImage, LabError> {
        if let Some(image) = self.cached().await? {
            return Ok(image);
        }
        tokio::fs::create_dir_all(&self.cache_dir)
            .await
            .map_err(LabError::io(format!("making {}", self.cache_dir.display())))?;
        let wanted = match self.checksum()? {
            Some(checksum) => Some(checksum.of(self.file_name()).await?),
            None => None,
        };
        let local = local_path(&self.uri);
        let (part, seen) = if let Some(local) = &local {
            // It is read where it lies: a copy would take room and time, and would hide that the file was replaced.
            let seen = stamp(local).map_err(LabError::io(format!("reading {}", local.display())))?;
            (local.clone(), format!(" {seen}"))
        } else {
            let part = with_suffix(&self.cached_path(), ".part");
            download(&self.uri, &part, wanted.is_some(), progress).await?;
            (part, String::new())
        };
        progress("checking the image's digest");
        let digest = digest_of(&part).await?;
        if let Some(wanted) = wanted.filter(|wanted| *wanted != digest) {
            if local.is_none() {
                // What is wrong must not be resumed.
                let _ = tokio::fs::remove_file(&part).await;
            }
            return Err(LabError::failed(
                format!("image {}", self.uri),
                format!("its checksum is {digest}, not {wanted}"),
            )
            .with_hint(
                "the image was replaced or the download was altered; compare with what its publisher says",
            ));
        }
        let finishing = || format!("finishing {}", self.cached_path().display());
        let unpacked = with_suffix(&self.cached_path(), ".unpacked");
        match Packing::of(&part).await? {
            Some(packing) => {
                progress("unpacking the image");
                unpack(packing, &part, &unpacked).await?;
                if local.is_none() {
                    tokio::fs::remove_file(&part).await.map_err(LabError::io(finishing()))?;
                }
            }
            None => {
                // Of an image that was packed when it came last.
                let _none = tokio::fs::remove_file(&unpacked).await;
                if local.is_none() {
                    tokio::fs::rename(&part, self.cached_path()).await.map_err(LabError::io(finishing()))?;
                }
            }
        }
        let path = self.path();
        tokio::fs::write(self.note(), format!("{digest}{seen}\n"))
            .await
            .map_err(LabError::io(finishing()))?;
        inspect(&path, digest).await
    }
}

/// `12 of 450 MiB`.
pub(super) fn amount(done: u64, total: Option<u64>) -> String {
    match total {
        Some(total) => format!("{} of {} MiB", done >> 20, total >> 20),
        None => format!("{} MiB", done >> 20),
    }
}

fn local_path(uri: &str) -> Option<PathBuf> {
    match uri.split_once("://") {
        None => Some(PathBuf::from(uri)),
        Some(("file", path)) => Some(PathBuf::from(path.strip_prefix("localhost").unwrap_or(path))),
        Some(_) => None,
    }
}

/// What changes when a file is replaced or written to: which file it is, its size, its time.
fn stamp(path: &Path) -> std::io::Result<String> {
    let (file, meta) = (std::fs::canonicalize(path)?, std::fs::metadata(path)?);
    Ok(format!("{} {}.{} {}", meta.len(), meta.mtime(), meta.mtime_nsec(), file.display()))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

async fn digest_of(path: &Path) -> Result<String, LabError> {
    let reading = || format!("reading {}", path.display());
    let mut file = tokio::fs::File::open(path).await.map_err(LabError::io(reading()))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut buffer).await.map_err(LabError::io(reading()))?;
        if count == 0 {
            return Ok(format!("sha256:{}", hex::encode(hasher.finalize())));
        }
        hasher.update(&buffer[..count]);
    }
}

/// What `qemu-img info` says, as far as it matters here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct QemuImgInfo {
    format: String,
    virtual_size: u64,
    backing_filename: Option<String>,
}

async fn inspect(path: &Path, digest: String) -> Result<SourceImage, LabError> {
    let what = format!("image {}", path.display());
    let out = qemu_img(&["info", "--output=json"], &[path]).await?;
    let info: QemuImgInfo =
        serde_json::from_slice(&out).map_err(|e| LabError::failed(&what, format!("qemu-img info: {e}")))?;
    if let Some(backing) = info.backing_filename {
        return Err(LabError::failed(
            what,
            format!("it is an overlay on {backing}, which is not part of it"),
        )
        .with_hint("publish it with `qemu-img convert`, which flattens it"));
    }
    Ok(SourceImage { path: path.to_owned(), digest, format: info.format, virtual_size: info.virtual_size })
}

/// Runs qemu-img and returns what it printed.
pub(super) async fn qemu_img(args: &[&str], paths: &[&Path]) -> Result<Vec<u8>, LabError> {
    let output = tokio::process::Command::new("qemu-img")
        .args(args)
        .args(paths)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|e| {
            let missing = e.kind() == std::io::ErrorKind::NotFound;
            let error = LabError::failed("starting qemu-img", e.to_string());
            if missing { error.with_hint("install qemu-utils (qemu-img on RHEL)") } else { error }
        })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(LabError::failed(format!("qemu-img {}", args.first().unwrap_or(&"")), said))
}

/// Converts an image to raw, into a new file or over the start of a device.
pub(super) async fn convert_to_raw(image: &SourceImage, to: &Path, to_exists: bool) -> Result<(), LabError> {
    let mut args = vec!["convert", "-O", "raw", "-f", &image.format];
    if to_exists {
        args.push("-n");
    }
    qemu_img(&args, &[&image.path, to]).await.map(drop)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    fn request(uri: &str, checksum: Option<&str>, dir: &Path) -> ImageRequest {
        ImageRequest { uri: uri.into(), checksum: checksum.map(str::to_owned), cache_dir: dir.to_owned() }
    }

    #[test]
    fn bad_requests_are_told_at_once() {
        let dir = Path::new("/c");
        for (uri, checksum, good) in [
            ("https://x/y.qcow2", None, true),
            ("/a/b.img", None, true),
            ("file:///a/b.img", None, true),
            ("ftp://x/y", None, false),
            ("a/b", None, false),
            ("/a", Some("sha256:12"), false),
            ("/a", Some("md5:d41d8cd98f00b204e9800998ecf8427e"), false),
        ] {
            assert_eq!(request(uri, checksum, dir).check().is_ok(), good, "{uri}");
        }
    }

    #[test]
    fn the_cache_tells_images_apart() {
        let dir = Path::new("/c");
        let path = |uri, sum| request(uri, sum, dir).cached_path();
        assert_ne!(path("https://a/i.qcow2", None), path("https://b/i.qcow2", None));
        assert_ne!(path("https://a/i.qcow2", None), path("https://a/i.qcow2", Some("sha256:0")));
        assert!(path("https://a/x y.qcow2?token=1", None).to_string_lossy().ends_with("-x_y.qcow2"));
    }

    type Answer = Box<dyn Fn(&str) -> Vec<u8> + Send>;

    /// Answers one request after the other with what `answer` makes of its head.
    async fn server(answers: Vec<Answer>) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            for answer in answers {
                let (mut socket, _) = listener.accept().await.expect("a client");
                let mut head = vec![0; 4096];
                let count = socket.read(&mut head).await.expect("a request");
                let reply = answer(&String::from_utf8_lossy(&head[..count]));
                socket.write_all(&reply).await.expect("answered");
            }
        });
        format!("http://{address}/disk.img")
    }

    #[tokio::test]
    async fn a_broken_download_goes_on_where_it_was() {
        let dir = tempfile::tempdir().expect("a folder");
        let body = vec![7_u8; 4096];
        let (first, second) = (body.clone(), body.clone());
        let uri = server(vec![
            Box::new(move |_| {
                let mut reply = b"HTTP/1.1 200 OK\r\nContent-Length: 4096\r\n\r\n".to_vec();
                reply.extend(&first[..1000]);
                reply
            }),
            Box::new(move |head| {
                assert!(head.to_ascii_lowercase().contains("range: bytes=1000-"), "{head}");
                let mut reply =
                    b"HTTP/1.1 206 Partial Content\r\nContent-Length: 3096\r\nConnection: close\r\n\r\n"
                        .to_vec();
                reply.extend(&second[1000..]);
                reply
            }),
        ])
        .await;
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(&body)));
        let wanted = request(&uri, Some(&digest), dir.path());
        wanted.fetch(&|_| {}).await.expect_err("it breaks off");
        let image = wanted.fetch(&|_| {}).await.expect("it is finished");
        assert_eq!(
            (image.digest.as_str(), image.format.as_str(), image.virtual_size),
            (digest.as_str(), "raw", 4096)
        );
        // The server is gone: this comes from the cache.
        assert_eq!(wanted.fetch(&|_| {}).await.expect("cached"), image);
    }

    #[tokio::test]
    async fn a_wrong_checksum_leaves_nothing_behind() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("source.img");
        std::fs::write(&file, [0; 512]).expect("written");
        let wrong = format!("sha256:{}", "0".repeat(64));
        let cache = dir.path().join("cache");
        let request = request(&file.to_string_lossy(), Some(&wrong), &cache);
        let error = request.fetch(&|_| {}).await.expect_err("refused");
        assert!(error.to_string().contains("its checksum is sha256:"), "{error}");
        assert_eq!(std::fs::read_dir(&cache).expect("a folder").count(), 0);
        assert!(file.exists(), "a file of somebody else is not removed");
    }

    #[tokio::test]
    async fn a_file_that_was_replaced_is_another_image() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("source.img");
        std::fs::write(&file, [0; 512]).expect("written");
        let request = request(&format!("file://{}", file.display()), None, &dir.path().join("cache"));
        let first = request.fetch(&|_| {}).await.expect("it is there");
        assert_eq!(first.path, file);
        assert_eq!(request.cached().await.expect("read"), Some(first.clone()));
        std::fs::write(&file, [1; 1024]).expect("written");
        assert_eq!(request.cached().await.expect("read"), None);
        assert_ne!(request.fetch(&|_| {}).await.expect("it is there").digest, first.digest);
    }
}
