use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

use super::cache_folder::{CacheLock, check_folder, prepare_folder, replace};
use super::checksum::Checksum;
use super::download::{answer, download};
use super::image_content::{ImageContent, Unfit, content_of, open_plain, starts_fit};
use super::unpack::{Packing, unpack};
use super::{LabError, SourceImage};

/// A disk image that is fetched once and kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRequest {
    /// `http://`, `https://`, `file://` or a path.
    pub uri: String,
    /// `sha256:HEX`, or where a list of checksums is; without it the digest of what came is what counts. `none` says that
    /// this is wanted, also by http.
    pub checksum: Option<String>,
    pub cache_dir: PathBuf,
}

impl ImageRequest {
    /// Says what is wrong with it before anything is fetched.
    pub fn check(&self) -> Result<(), LabError> {
        let checksum = self.checksum()?;
        match self.uri.split_once("://") {
            Some(("http", _)) if !pins(checksum.as_ref()) && checksum != Some(Checksum::Unchecked) => {
                let why = match checksum {
                    Some(_) => "its list of checksums comes by http, too",
                    None => "it comes by http without a checksum",
                };
                Err(LabError::failed(
                    format!("image {}", self.uri),
                    format!("{why}: anybody on its way could put another in its place"),
                )
                .with_hint("give image_checksum=sha256:... or the https URL of its publisher's list (checksum of virt_image), or use https; image_checksum=none takes whatever comes; or fetch it by hand and name the file"))
            }
            // Also because QEMU reads a name with a colon in it as something else than a file.
            None | Some(("file", _)) if local_path(&self.uri).is_none_or(|p| !p.is_absolute()) => {
                Err(LabError::Invalid(format!("image {:?} is neither a URL nor an absolute path", self.uri)))
            }
            None | Some(("file" | "http" | "https", _)) => Ok(()),
            Some((scheme, _)) => {
                Err(LabError::Invalid(format!("images come by http, https or file, not by {scheme}")))
            }
        }
    }

    /// What a person should know of an image that is to be fetched.
    pub fn warning(&self) -> Option<String> {
        let checksum = self.checksum().ok()?;
        let unpinned = !pins(checksum.as_ref()) && checksum != Some(Checksum::Unchecked);
        (unpinned && self.uri.starts_with("https://")).then(|| {
            format!(
                "image {} has no checksum: whatever its server sends is taken; image_checksum=sha256:... or the https URL of its publisher's list pins it, image_checksum=none says that this is wanted",
                self.uri
            )
        })
    }

    /// What the server of an image that comes by http or https answers when it is asked for it, as HTTP's status.
    pub async fn answer(&self) -> Result<u16, LabError> {
        answer(&self.uri).await
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
        let Ok(note) = tokio::fs::read_to_string(self.note()).await else { return Ok(None) };
        check_folder(&self.cache_dir)?;
        let path = self.path();
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
        let content = fit(&path, &self.uri).await?;
        Ok(Some(SourceImage { path, digest, format: content.format, virtual_size: content.virtual_size }))
    }

    /// The file that says which digest the image had when it was fetched.
    fn note(&self) -> PathBuf {
        with_suffix(&self.cached_path(), ".sha256")
    }

    /// Brings the image into the cache: into a `.part` file that a broken download resumes, checked before it counts. Of
    /// runs that want the same image one fetches it, and the others wait for it.
    pub async fn fetch(&self, progress: &(dyn Fn(&str) + Send + Sync)) -> Result<SourceImage, LabError> {
        self.check()?;
        if let Some(image) = self.cached().await? {
            return Ok(image);
        }
        prepare_folder(&self.cache_dir)?;
        let _mine = CacheLock::get(&with_suffix(&self.cached_path(), ".lock"), progress).await?;
        // Another run may have fetched it meanwhile.
        if let Some(image) = self.cached().await? {
            return Ok(image);
        }
        let wanted = match self.checksum()? {
            Some(checksum) => checksum.of(self.file_name()).await?,
            None => None,
        };
        let local = local_path(&self.uri);
        let (part, seen) = if let Some(local) = &local {
            // It is read where it lies: a copy would take room and time, and would hide that the file was replaced.
            let seen = stamp(local).map_err(LabError::io(format!("reading {}", local.display())))?;
            (local.clone(), format!(" {seen}"))
        } else {
            let part = with_suffix(&self.cached_path(), ".part");
            let early = |part: &Path| self.judged(part, true, starts_fit(part));
            download(&self.uri, &part, wanted.is_some(), &early, progress).await?;
            (part, String::new())
        };
        let fetched = local.is_none();
        progress("checking the image's digest");
        let digest = digest_of(&part).await?;
        if let Some(wanted) = wanted.filter(|wanted| *wanted != digest) {
            if fetched {
                // What is wrong must not be resumed.
                forget(&part);
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
        let content = if let Some(packing) = Packing::of(&part).await? {
            progress("unpacking the image");
            unpack(packing, &part, &unpacked).await?;
            let content = self.judged(&unpacked, true, content_of(&unpacked)).inspect_err(|_| {
                if fetched {
                    forget(&part);
                }
            })?;
            if fetched {
                tokio::fs::remove_file(&part).await.map_err(LabError::io(finishing()))?;
            }
            content
        } else {
            let content = self.judged(&part, fetched, content_of(&part))?;
            // Of an image that was packed when it came last.
            let _none = tokio::fs::remove_file(&unpacked).await;
            if fetched {
                tokio::fs::rename(&part, self.cached_path()).await.map_err(LabError::io(finishing()))?;
            }
            content
        };
        replace(&self.note(), &format!("{digest}{seen}\n"))?;
        let path = self.path();
        Ok(SourceImage { path, digest, format: content.format, virtual_size: content.virtual_size })
    }

    /// Refuses what is no image that is used as it is; where it was `fetched`, it goes.
    fn judged<T>(
        &self,
        file: &Path,
        fetched: bool,
        found: std::io::Result<Result<T, Unfit>>,
    ) -> Result<T, LabError> {
        match found {
            Ok(Ok(content)) => Ok(content),
            Ok(Err(unfit)) => {
                if fetched {
                    forget(file);
                }
                Err(unfit.told(&self.uri))
            }
            Err(e) => Err(LabError::io(format!("reading {}", file.display()))(e)),
        }
    }
}

impl SourceImage {
    /// Looks at the image again before it is used: it is what it was said to be, and names no other file.
    pub(super) async fn verify(&self) -> Result<(), LabError> {
        let content = fit(&self.path, &self.path.to_string_lossy()).await?;
        if content.format == self.format {
            return Ok(());
        }
        Err(LabError::failed(
            format!("image {}", self.path.display()),
            format!("it is {} by now, and was {}", content.format.word(), self.format.word()),
        )
        .with_hint("run again, which looks at it anew"))
    }
}

/// What an image is, where it is one that is used as it is.
async fn fit(path: &Path, name: &str) -> Result<ImageContent, LabError> {
    let file = path.to_owned();
    let found = tokio::task::spawn_blocking(move || content_of(&file)).await;
    let found = found.map_err(|e| LabError::failed(format!("image {name}"), e.to_string()))?;
    found.map_err(LabError::io(format!("reading {}", path.display())))?.map_err(|unfit| unfit.told(name))
}

/// Removes a download and what is known of it.
fn forget(part: &Path) {
    for file in [part.to_owned(), with_suffix(part, ".label")] {
        let _gone = std::fs::remove_file(file);
    }
}

/// `12 of 450 MiB`.
pub(super) fn amount(done: u64, total: Option<u64>) -> String {
    match total {
        Some(total) => format!("{} of {} MiB", done >> 20, total >> 20),
        None => format!("{} MiB", done >> 20),
    }
}

/// Whether a checksum says what comes, in a way that nobody between here and its publisher can change.
fn pins(checksum: Option<&Checksum>) -> bool {
    match checksum {
        Some(Checksum::Is(_)) => true,
        Some(Checksum::Listed(place)) => !place.starts_with("http://"),
        Some(Checksum::Unchecked) | None => false,
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

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

async fn digest_of(path: &Path) -> Result<String, LabError> {
    let reading = || format!("reading {}", path.display());
    let mut file = tokio::fs::File::from_std(open_plain(path).map_err(LabError::io(reading()))?);
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
            ("file://a/b.img", None, false),
            ("json:{\"driver\":\"file\"}", None, false),
            ("file://json:{}", None, false),
            // By http anybody on the way answers.
            ("http://x/y", None, false),
            ("http://x/y", Some("http://x/SHA256SUMS"), false),
            ("http://x/y", Some("https://x/SHA256SUMS"), true),
            (
                "http://x/y",
                Some("sha256:0123456789012345678901234567890123456789012345678901234567890123"),
                true,
            ),
            ("http://x/y", Some("none"), true),
            ("a/b", None, false),
            ("/a", Some("sha256:12"), false),
            ("/a", Some("md5:d41d8cd98f00b204e9800998ecf8427e"), false),
        ] {
            assert_eq!(request(uri, checksum, dir).check().is_ok(), good, "{uri}");
        }
    }

    #[test]
    fn what_is_not_pinned_is_told() {
        let dir = Path::new("/c");
        let digest = format!("sha256:{}", "0".repeat(64));
        for (uri, checksum, told) in [
            ("https://x/y", None, true),
            ("https://x/y", Some("http://x/SHA256SUMS"), true),
            ("https://x/y", Some("https://x/SHA256SUMS"), false),
            ("https://x/y", Some(digest.as_str()), false),
            ("https://x/y", Some("none"), false),
            ("/a", None, false),
        ] {
            assert_eq!(request(uri, checksum, dir).warning().is_some(), told, "{uri} {checksum:?}");
        }
        let error = request("http://x/y", None, dir).check().expect_err("refused");
        assert!(error.hint().is_some_and(|h| h.contains("image_checksum=none")), "{error}");
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
            (image.digest.as_str(), image.format.word(), image.virtual_size),
            (digest.as_str(), "raw", 4096)
        );
        // The server is gone: this comes from the cache.
        assert_eq!(wanted.fetch(&|_| {}).await.expect("cached"), image);
    }

    #[tokio::test]
    async fn runs_that_want_one_image_fetch_it_once() {
        let dir = tempfile::tempdir().expect("a folder");
        let body = vec![7_u8; 4096];
        let sent = body.clone();
        // It answers once: a second request would fail.
        let uri = server(vec![Box::new(move |_| {
            std::thread::sleep(std::time::Duration::from_millis(500));
            let mut reply = b"HTTP/1.1 200 OK\r\nContent-Length: 4096\r\nConnection: close\r\n\r\n".to_vec();
            reply.extend(&sent);
            reply
        })])
        .await;
        let wanted = request(&uri, Some("none"), dir.path());
        // As two processes would: each opens the lock's file by itself.
        let (one, two) = tokio::join!(wanted.fetch(&|_| {}), wanted.fetch(&|_| {}));
        assert_eq!(one.expect("fetched"), two.expect("found"));
        let left = |end: &str| {
            let names = std::fs::read_dir(dir.path()).expect("read").flatten();
            names.filter(|e| e.file_name().to_string_lossy().ends_with(end)).count()
        };
        assert_eq!((left(".lock"), left(".part"), left(".label")), (0, 0, 0));
    }

    #[tokio::test]
    async fn what_is_no_image_is_given_up_at_its_start() {
        let dir = tempfile::tempdir().expect("a folder");
        let uri = server(vec![Box::new(|_| {
            let mut reply = b"HTTP/1.1 200 OK\r\nContent-Length: 900000000\r\n\r\nKDMV".to_vec();
            reply.resize(200_000, 0);
            reply
        })])
        .await;
        let error = request(&uri, Some("none"), dir.path()).fetch(&|_| {}).await.expect_err("refused");
        assert!(error.to_string().contains("it is a VMDK image"), "{error}");
        assert!(error.hint().is_some_and(|h| h.contains("qemu-img convert -f vmdk")), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).expect("read").count(), 0);
    }

    #[tokio::test]
    async fn an_image_that_became_another_is_not_used() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("disk.img");
        std::fs::write(&file, [0; 4096]).expect("written");
        let image = request(&file.to_string_lossy(), None, &dir.path().join("cache"));
        let image = image.fetch(&|_| {}).await.expect("an image");
        image.verify().await.expect("as it was");
        std::fs::write(&file, b"# Disk DescriptorFile\nversion=1\n").expect("written");
        assert!(image.verify().await.expect_err("refused").to_string().contains("a VMDK descriptor"));
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
