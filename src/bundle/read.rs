use std::fs::File;
use std::io::{BufReader, Read, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::write::{Along, CHUNK, MANIFEST};
use super::{BundleError, Kind, Manifest, Member, Sha256Hex, Watch};
use crate::archive::TarReader;

/// The most that a manifest may be; that of a hundred thousand files is smaller.
const LONGEST_MANIFEST: u64 = 32 << 20;

/// What may follow the last member: tar's own end.
const LONGEST_END: u64 = 1 << 20;

/// What a frame of zstd begins with.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

type Packed = TarReader<zstd::Decoder<'static, BufReader<File>>>;

#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// What a bundle says that it holds; reads no more than that.
pub fn read_manifest(file: &Path) -> Result<Manifest, BundleError> {
    manifest_of(file, &mut open(file)?)
}

fn open(file: &Path) -> Result<Packed, BundleError> {
    let reading = || BundleError::io("reading", file);
    let mut opened = File::open(file).map_err(reading())?;
    if !opened.metadata().map_err(reading())?.is_file() {
        return Err(foreign(file, "it is no file"));
    }
    let mut start = Vec::new();
    (&mut opened).take(4).read_to_end(&mut start).map_err(reading())?;
    if start != MAGIC {
        return Err(foreign(file, "it does not begin as one"));
    }
    opened.rewind().map_err(reading())?;
    Ok(TarReader::new(zstd::Decoder::new(opened).map_err(reading())?))
}

fn manifest_of(file: &Path, packed: &mut Packed) -> Result<Manifest, BundleError> {
    let member = packed.next_member().map_err(|e| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => damaged(file, &"it ends before its list"),
        _ => foreign(file, &format!("it does not begin with a list of what it holds ({e})")),
    })?;
    let member = member
        .filter(|member| member.is_file && member.path == MANIFEST.as_bytes())
        .ok_or_else(|| foreign(file, "it does not begin with a list of what it holds"))?;
    if member.size > LONGEST_MANIFEST {
        let most = LONGEST_MANIFEST >> 20;
        return Err(foreign(file, &format!("its list is longer than {most} MiB")));
    }
    let mut text = Vec::new();
    packed.read_to_end(&mut text).map_err(|e| damaged(file, &e))?;
    if text.len() as u64 != member.size {
        return Err(damaged(file, &"it ends before its list"));
    }
    let strange = |e: serde_json::Error| foreign(file, &format!("its list is not understood: {e}"));
    let Format { format } = serde_json::from_slice(&text).map_err(strange)?;
    if format != Manifest::FORMAT {
        return Err(BundleError::Newer { file: file.to_owned(), format, known: Manifest::FORMAT });
    }
    let manifest: Manifest = serde_json::from_slice(&text).map_err(strange)?;
    manifest.check().map_err(|why| foreign(file, &format!("its list contradicts itself: {why}")))?;
    Ok(manifest)
}

/// Unpacks every member to where `place` says, or only checks it. What comes must be what the manifest says, to the byte.
pub(super) fn unpack(
    file: &Path,
    known: &Manifest,
    place: &dyn Fn(&Member) -> Option<PathBuf>,
    watch: &dyn Watch,
) -> Result<(), BundleError> {
    let mut packed = open(file)?;
    if manifest_of(file, &mut packed)? != *known {
        return Err(BundleError::Changed { file: file.to_owned() });
    }
    let mut along = Along { watch, doing: "unpacking", done: 0, total: known.bytes() };
    for member in &known.members {
        let entry = packed
            .next_member()
            .map_err(|e| damaged(file, &e))?
            .ok_or_else(|| damaged(file, &format!("it ends before {}", member.path)))?;
        let fits =
            entry.path == member.path.as_str().as_bytes() && entry.is_file && entry.size == member.bytes;
        if !fits {
            return Err(damaged(file, &format!("something else stands where {} should", member.path)));
        }
        let digest = copy(file, &mut packed, member, place(member).as_deref(), &mut along)?;
        if digest != member.sha256 {
            return Err(damaged(file, &format!("{} is not what its digest is of", member.path)));
        }
    }
    if !matches!(packed.next_member(), Ok(None)) {
        return Err(damaged(file, &"more follows than its list says"));
    }
    // What a frame's end says of all that was in it is only looked at when the end is read.
    let mut rest = packed.into_inner().take(LONGEST_END);
    let after = std::io::copy(&mut rest, &mut std::io::sink()).map_err(|e| damaged(file, &e))?;
    if after == LONGEST_END {
        return Err(damaged(file, &"more follows than its list says"));
    }
    Ok(())
}

fn copy(
    bundle: &Path,
    from: &mut impl Read,
    member: &Member,
    to: Option<&Path>,
    along: &mut Along<'_>,
) -> Result<Sha256Hex, BundleError> {
    let mut out = to.map(|to| create(to, member.executable).map(|file| (to, file))).transpose()?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    let mut bytes = 0;
    loop {
        let count = from
            .read(&mut buffer)
            .map_err(|e| damaged(bundle, &format!("{} cannot be unpacked ({e})", member.path)))?;
        let read = buffer.get(..count).unwrap_or_default();
        if read.is_empty() {
            break;
        }
        hasher.update(read);
        bytes += count as u64;
        if let Some((to, file)) = &mut out {
            // A disk image is mostly holes.
            let hole = member.path.kind() == Kind::Guest && read.iter().all(|byte| *byte == 0);
            let skip = i64::try_from(count).unwrap_or(0);
            let written = if hole {
                file.seek(std::io::SeekFrom::Current(skip)).map(drop)
            } else {
                file.write_all(read)
            };
            written.map_err(BundleError::io("writing", to))?;
        }
        along.on(count)?;
    }
    if bytes != member.bytes {
        return Err(damaged(bundle, &format!("it ends in the middle of {}", member.path)));
    }
    if let Some((to, file)) = &mut out {
        file.set_len(member.bytes).map_err(BundleError::io("writing", to))?;
    }
    Ok(Sha256Hex::of(hasher.finalize()))
}

fn create(to: &Path, executable: bool) -> Result<File, BundleError> {
    let writing = || BundleError::io("writing", to);
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder).map_err(writing())?;
    }
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(if executable { 0o777 } else { 0o666 })
        .open(to)
        .map_err(writing())
}

fn foreign(file: &Path, why: &str) -> BundleError {
    BundleError::Foreign { file: file.to_owned(), why: why.to_owned() }
}

fn damaged(file: &Path, why: &dyn std::fmt::Display) -> BundleError {
    BundleError::Damaged { file: file.to_owned(), why: why.to_string() }
}
