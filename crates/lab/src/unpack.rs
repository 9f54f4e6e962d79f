use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

use super::LabError;
use super::cache_folder::open_part;
use super::image::with_suffix;
use super::room::check_room;

/// The most that an image may unpack to.
const LARGEST: u64 = 1 << 40;

/// The most memory that unpacking takes, in bytes.
const MOST_MEMORY: u64 = 1 << 30;

/// What is written at once, or left out where it is empty.
const BLOCK: usize = 256 << 10;

/// After so many bytes it is looked whether there is room for more.
const LOOK: u64 = 64 << 20;

/// How much of what a program says is kept.
const LONGEST_WORDS: u64 = 16 << 10;

/// How a file is packed, by its first bytes: names lie more often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Gzip,
    Xz,
    Zstd,
}

impl Packing {
    /// `None` for a file that is not packed.
    pub(super) async fn of(path: &Path) -> Result<Option<Self>, LabError> {
        let reading = || format!("reading {}", path.display());
        let mut start = Vec::new();
        let file = tokio::fs::File::open(path).await.map_err(LabError::io(reading()))?;
        file.take(6).read_to_end(&mut start).await.map_err(LabError::io(reading()))?;
        Ok(Self::by_magic(&start))
    }

    pub(super) fn by_magic(start: &[u8]) -> Option<Self> {
        match start {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0xfd, b'7', b'z', b'X', b'Z', 0] => Some(Self::Xz),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The program that unpacks it, and the package that has it.
    fn program(self) -> (&'static str, &'static str) {
        match self {
            Self::Gzip => ("gzip", "gzip"),
            Self::Xz => ("xz", "xz-utils (xz on RHEL)"),
            Self::Zstd => ("zstd", "zstd"),
        }
    }
}

/// Unpacks a file into another, which is there only when all of it is. What unpacks to more than any image has, or to more
/// than there is room for, is given up.
pub(super) async fn unpack(packing: Packing, from: &Path, to: &Path) -> Result<(), LabError> {
    unpack_within(packing, from, to, LARGEST).await
}

async fn unpack_within(packing: Packing, from: &Path, to: &Path, most: u64) -> Result<(), LabError> {
    let (program, package) = packing.program();
    let what = || format!("unpacking {} with {program}", from.display());
    let half = with_suffix(to, ".part");
    let out = open_part(&half).map_err(LabError::io(what()))?;
    out.set_len(0).map_err(LabError::io(what()))?;
    let mut child = tokio::process::Command::new(program)
        .args(["-d", "-c"])
        .arg(from)
        // A header may ask for gigabytes to unpack it with; zstd takes 128 MiB at most by itself.
        .env("XZ_DEFAULTS", format!("--memlimit-decompress={MOST_MEMORY} --threads=1"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| {
            let missing = e.kind() == std::io::ErrorKind::NotFound;
            let error = LabError::failed(what(), e.to_string());
            if missing { error.with_hint(format!("install {package}")) } else { error }
        })?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let unpacked = async {
        // What it says and what it unpacks come side by side.
        let (said, written) = tokio::join!(short(stderr), write_out(&what, stdout, out, to, most));
        written?;
        let status = child.wait().await.map_err(LabError::io(what()))?;
        if status.success() { Ok(()) } else { Err(LabError::failed(what(), said.trim().to_owned())) }
    };
    if let Err(error) = unpacked.await {
        let _gone = tokio::fs::remove_file(&half).await;
        return Err(error);
    }
    tokio::fs::rename(&half, to).await.map_err(LabError::io(what()))
}

/// The start of what a program says, and the rest of it read away.
pub(super) async fn short(from: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut from) = from else { return String::new() };
    let mut start = Vec::new();
    let _cut = (&mut from).take(LONGEST_WORDS).read_to_end(&mut start).await;
    let _read = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&start).into_owned()
}

/// Writes an image as it comes, with holes where it is empty.
async fn write_out(
    what: &impl Fn() -> String,
    from: Option<impl AsyncRead + Unpin>,
    out: std::fs::File,
    to: &Path,
    most: u64,
) -> Result<(), LabError> {
    let folder = to.parent().unwrap_or(Path::new("."));
    let Some(mut from) = from else { return Ok(()) };
    let mut out = tokio::fs::File::from_std(out);
    let mut buffer = vec![0; BLOCK];
    let (mut done, mut written, mut look) = (0_u64, 0_u64, 0_u64);
    loop {
        let count = full(&mut from, &mut buffer).await.map_err(LabError::io(what()))?;
        let block = buffer.get(..count).unwrap_or_default();
        if block.is_empty() {
            break;
        }
        done += count as u64;
        if done > most {
            return Err(LabError::failed(what(), format!("it unpacks to more than {} GiB", most >> 30))
                .with_hint("is it the right file? unpack it yourself if it is, and name what comes of it in image_uri"));
        }
        if block.iter().all(|byte| *byte == 0) {
            let skip = std::io::SeekFrom::Start(done);
            out.seek(skip).await.map_err(LabError::io(what()))?;
            continue;
        }
        if written >= look {
            look = written.saturating_add(LOOK);
            check_room(&what(), folder)?;
        }
        out.write_all(block).await.map_err(LabError::io(what()))?;
        written += count as u64;
    }
    out.flush().await.map_err(LabError::io(what()))?;
    out.set_len(done).await.map_err(LabError::io(what()))
}

/// Reads until the buffer is full or nothing more comes.
async fn full(from: &mut (impl AsyncRead + Unpin), buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut have = 0;
    while let Some(rest) = buffer.get_mut(have..).filter(|rest| !rest.is_empty()) {
        match from.read(rest).await? {
            0 => break,
            count => have += count,
        }
    }
    Ok(have)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_packed_comes_out_whole_or_not_at_all() {
        let dir = tempfile::tempdir().expect("a folder");
        let plain = dir.path().join("disk");
        std::fs::write(&plain, vec![7_u8; 100_000]).expect("written");
        assert_eq!(Packing::of(&plain).await.expect("read"), None);
        for (program, packing) in [("gzip", Packing::Gzip), ("xz", Packing::Xz), ("zstd", Packing::Zstd)] {
            let packed = dir.path().join(program);
            let out = std::fs::File::create(&packed).expect("made");
            let made =
                std::process::Command::new(program).args(["-q", "-c"]).arg(&plain).stdout(out).status();
            assert!(made.expect(program).success());
            assert_eq!(Packing::of(&packed).await.expect("read"), Some(packing));
            let to = dir.path().join("out");
            unpack(packing, &packed, &to).await.expect("unpacked");
            assert_eq!(std::fs::read(&to).expect("there"), vec![7_u8; 100_000]);
            std::fs::remove_file(&to).expect("gone");
            let whole = std::fs::read(&packed).expect("read");
            std::fs::write(&packed, &whole[..whole.len() / 2]).expect("written");
            unpack(packing, &packed, &to).await.expect_err("it is cut off");
            assert!(!to.exists());
        }
    }

    /// A packed image of so many MiB of nothing.
    fn bomb(dir: &Path, program: &str, size: u64) -> std::path::PathBuf {
        let (plain, packed) = (dir.join("plain"), dir.join("packed"));
        std::fs::File::create(&plain).expect("made").set_len(size << 20).expect("sized");
        let out = std::fs::File::create(&packed).expect("made");
        let made = std::process::Command::new(program).args(["-q", "-c"]).arg(&plain).stdout(out).status();
        assert!(made.expect(program).success());
        std::fs::remove_file(plain).expect("gone");
        packed
    }

    #[tokio::test]
    async fn what_unpacks_without_end_is_given_up() {
        use std::os::unix::fs::MetadataExt as _;
        let dir = tempfile::tempdir().expect("a folder");
        for (program, packing) in [("gzip", Packing::Gzip), ("xz", Packing::Xz), ("zstd", Packing::Zstd)] {
            let packed = bomb(dir.path(), program, 64);
            let to = dir.path().join("out");
            let error = unpack_within(packing, &packed, &to, 32 << 20).await.expect_err("given up");
            assert!(error.to_string().contains("it unpacks to more than"), "{error}");
            let left: Vec<_> = std::fs::read_dir(dir.path()).expect("read").flatten().collect();
            assert_eq!(left.len(), 1, "{left:?}");
            // What is empty takes no room.
            unpack_within(packing, &packed, &to, 64 << 20).await.expect("unpacked");
            let meta = to.metadata().expect("there");
            assert_eq!((meta.len(), meta.blocks()), (64 << 20, 0), "{program}");
            std::fs::remove_file(&to).expect("gone");
        }
    }

    #[tokio::test]
    async fn what_needs_gigabytes_to_be_unpacked_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("plain"), [7; 1000]).expect("written");
        let mut xz = std::process::Command::new("xz");
        let made = xz.args(["-q", "-c", "-T1"]).arg(dir.path().join("plain")).output();
        let mut bytes = made.expect("xz").stdout;
        // Its first block's header asks for a dictionary of 4 GiB, and has a sum of itself.
        assert_eq!(bytes[12..16], [2, 0, 0x21, 1], "a header of twelve bytes with one filter");
        bytes[16] = 40;
        let mut sum = flate2::Crc::new();
        sum.update(&bytes[12..20]);
        bytes[20..24].copy_from_slice(&sum.sum().to_le_bytes());
        let packed = dir.path().join("packed.xz");
        std::fs::write(&packed, bytes).expect("written");
        let to = dir.path().join("out");
        let error = unpack(Packing::Xz, &packed, &to).await.expect_err("refused");
        assert!(error.to_string().to_lowercase().contains("memory"), "{error}");
        assert!(!to.exists());
    }
}
