use std::path::Path;
use std::process::Stdio;

use tokio::io::AsyncReadExt;

use super::LabError;

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

    fn by_magic(start: &[u8]) -> Option<Self> {
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

/// Unpacks a file into another, which is there only when all of it is.
pub(super) async fn unpack(packing: Packing, from: &Path, to: &Path) -> Result<(), LabError> {
    let (program, package) = packing.program();
    let what = || format!("unpacking {} with {program}", from.display());
    let mut half = to.as_os_str().to_owned();
    half.push(".part");
    let out = std::fs::File::create(&half).map_err(LabError::io(what()))?;
    let output = tokio::process::Command::new(program)
        .args(["-d", "-c"])
        .arg(from)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| {
            let missing = e.kind() == std::io::ErrorKind::NotFound;
            let error = LabError::failed(what(), e.to_string());
            if missing { error.with_hint(format!("install {package}")) } else { error }
        })?
        .wait_with_output()
        .await
        .map_err(LabError::io(what()))?;
    if !output.status.success() {
        let _ = tokio::fs::remove_file(&half).await;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(LabError::failed(what(), said));
    }
    tokio::fs::rename(&half, to).await.map_err(LabError::io(what()))
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
}
