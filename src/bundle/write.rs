use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{BundleError, BundleName, Manifest, Member, MemberPath, Sha256Hex, Use, Watch};

/// The manifest's name in a bundle, and in the folder that it becomes.
pub(super) const MANIFEST: &str = "quaylab-bundle.json";

/// Images are packed already, for the most part: more effort gains nothing there.
const LEVEL: i32 = 3;

pub(super) const CHUNK: usize = 256 << 10;

/// A file that becomes a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub path: MemberPath,
    pub file: PathBuf,
    /// The names of the images in an archive.
    pub holds: Vec<String>,
    /// The digest that the cache knows a guest image by.
    pub came_as: Option<Sha256Hex>,
}

/// Packs files into a bundle. The same files give the same bytes; the bundle is there when all of it is.
pub fn write(
    name: BundleName,
    mut sources: Vec<Source>,
    uses: Vec<Use>,
    out: &Path,
    watch: &dyn Watch,
) -> Result<Manifest, BundleError> {
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    let mut total = 0;
    for source in &sources {
        total += source.file.metadata().map_err(BundleError::io("reading", &source.file))?.len();
    }
    let mut along = Along { watch, doing: "reading", done: 0, total };
    // Digests stand before what they are of, so that a reader knows beforehand what comes: each file is read twice.
    let members = sources.iter().map(|source| member(source, &mut along)).collect::<Result<_, _>>()?;
    let manifest = Manifest::new(name, members, uses);
    manifest.check().map_err(|why| BundleError::refused(why, "give each of them a name of its own"))?;
    let folder = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let prefix = format!(".{}.", out.file_name().unwrap_or_default().to_string_lossy());
    let half = tempfile::Builder::new()
        .prefix(&prefix)
        .suffix(".part")
        // With the rights that any file of this user's has.
        .make_in(folder, |path| OpenOptions::new().write(true).create_new(true).open(path))
        .map_err(BundleError::io("writing", out))?;
    along = Along { watch, doing: "packing", done: 0, total };
    pack(&manifest, &sources, half.as_file(), out, &mut along)?;
    half.as_file().sync_all().map_err(BundleError::io("writing", out))?;
    half.persist(out).map_err(|e| BundleError::io("writing", out)(e.error))?;
    Ok(manifest)
}

/// How far all of it is.
pub(super) struct Along<'a> {
    pub(super) watch: &'a dyn Watch,
    pub(super) doing: &'static str,
    pub(super) done: u64,
    pub(super) total: u64,
}

impl Along<'_> {
    pub(super) fn on(&mut self, count: usize) -> Result<(), BundleError> {
        self.done += count as u64;
        self.watch.at(self.doing, self.done, self.total);
        if self.watch.stopped() { Err(BundleError::Stopped) } else { Ok(()) }
    }
}

fn member(source: &Source, along: &mut Along<'_>) -> Result<Member, BundleError> {
    let reading = || BundleError::io("reading", &source.file);
    let mut file = File::open(&source.file).map_err(reading())?;
    let executable = file.metadata().map_err(reading())?.permissions().mode() & 0o111 != 0;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    let mut bytes = 0;
    loop {
        let count = file.read(&mut buffer).map_err(reading())?;
        if count == 0 {
            break;
        }
        hasher.update(buffer.get(..count).unwrap_or_default());
        bytes += count as u64;
        along.on(count)?;
    }
    let sha256 = Sha256Hex::of(hasher.finalize());
    let came_as = source.came_as.clone().filter(|noted| *noted != sha256);
    Ok(Member {
        path: source.path.clone(),
        bytes,
        sha256,
        executable: executable && source.path.kind() == super::Kind::Role,
        holds: source.holds.clone(),
        came_as,
    })
}

fn pack(
    manifest: &Manifest,
    sources: &[Source],
    half: &File,
    out: &Path,
    along: &mut Along<'_>,
) -> Result<(), BundleError> {
    let writing = || BundleError::io("writing", out);
    let mut encoder = zstd::Encoder::new(BufWriter::with_capacity(CHUNK, half), LEVEL).map_err(writing())?;
    encoder.include_checksum(true).map_err(writing())?;
    let mut tar = tar::Builder::new(encoder);
    let mut list = serde_json::to_vec_pretty(manifest).map_err(|e| writing()(e.into()))?;
    list.push(b'\n');
    tar.append_data(&mut header(list.len() as u64, false), MANIFEST, &list[..]).map_err(writing())?;
    for (member, source) in manifest.members.iter().zip(sources) {
        let file = File::open(&source.file).map_err(BundleError::io("reading", &source.file))?;
        let mut feed = Feed { file, source, left: member.bytes, hasher: Sha256::new(), along, wrong: None };
        let appended = tar.append_data(&mut header(member.bytes, member.executable), &member.path, &mut feed);
        let (wrong, digest) = (feed.wrong.take(), Sha256Hex::of(feed.hasher.finalize()));
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        appended.map_err(writing())?;
        if digest != member.sha256 {
            return Err(BundleError::Changed { file: source.file.clone() });
        }
    }
    let encoder = tar.into_inner().map_err(writing())?;
    encoder.finish().and_then(|mut file| file.flush()).map_err(writing())
}

/// Nothing in it says when or where it was made.
fn header(bytes: u64, executable: bool) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(bytes);
    header.set_mode(if executable { 0o755 } else { 0o644 });
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// A file as it is packed: exactly as long as it was when it was read first.
struct Feed<'a, 'b> {
    file: File,
    source: &'a Source,
    left: u64,
    hasher: Sha256,
    along: &'a mut Along<'b>,
    /// Tells what went wrong here from what went wrong with the bundle.
    wrong: Option<BundleError>,
}

impl Read for Feed<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let fits = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let result = match self.file.read(buffer.get_mut(..fits).unwrap_or_default()) {
            Ok(0) if self.left > 0 => Err(BundleError::Changed { file: self.source.file.clone() }),
            Ok(count) => {
                self.left -= count as u64;
                self.hasher.update(buffer.get(..count).unwrap_or_default());
                self.along.on(count).map(|()| count)
            }
            Err(e) => Err(BundleError::io("reading", &self.source.file)(e)),
        };
        result.map_err(|wrong| {
            self.wrong = Some(wrong);
            io::Error::other("the file cannot be packed")
        })
    }
}
