use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::LabError;
use super::image_content::open_plain;
use super::room::check_room;
use crate::archive::{IsoError, IsoFile, IsoImage};

/// How far an archive is filled up before the next: the kernel looks for one at such places.
const ALIGNMENT: u64 = 512;

/// The most that each may be; those of installers have about a tenth of it.
const LARGEST_TREEINFO: u64 = 1 << 20;
const LARGEST_KERNEL: u64 = 256 << 20;
const LARGEST_INITRD: u64 = 2 << 30;

/// The longest path that `.treeinfo` may name.
const LONGEST_PATH: usize = 255;

/// An operating system's installer on an ISO.
#[derive(Debug)]
pub struct Installer {
    iso: IsoImage<File>,
    path: PathBuf,
    kernel: IsoFile,
    initrd: IsoFile,
}

/// What boots an installer without a boot loader.
#[derive(Debug)]
pub struct InstallerFiles {
    pub kernel: NamedTempFile,
    /// The installer's own behind an archive with the kickstart, `/ks.cfg`.
    pub initrd: NamedTempFile,
}

impl Installer {
    /// Finds the installer; an ISO without one that takes a kickstart is refused.
    pub fn on(path: &Path) -> Result<Self, LabError> {
        let what = || format!("image {}", path.display());
        let file = open_plain(path).map_err(LabError::io(format!("reading {}", path.display())))?;
        let mut iso = IsoImage::open(file).map_err(|e| unread(path, e))?;
        let mut treeinfo = Vec::new();
        if let Some(file) = iso.find(".treeinfo").map_err(|e| unread(path, e))? {
            iso.copy(&file, LARGEST_TREEINFO, &mut treeinfo).map_err(|e| unread(path, e))?;
        }
        let (kernel_path, initrd_path) = named(&String::from_utf8_lossy(&treeinfo));
        let kernel = iso.find(&kernel_path).map_err(|e| unread(path, e))?;
        let initrd = iso.find(&initrd_path).map_err(|e| unread(path, e))?;
        let (Some(kernel), Some(initrd)) = (kernel, initrd) else {
            return Err(LabError::failed(
                what(),
                format!("it has no {kernel_path:?} and {initrd_path:?}: it is no installer that takes a kickstart"),
            )
            .with_hint("an install or boot ISO of Fedora, RHEL or one of its kin is meant; other systems come as qcow2 images with cloud-init"));
        };
        Ok(Self { path: path.to_owned(), kernel, initrd, iso })
    }

    /// Takes its files out, into a folder which only its owner reads: a kickstart holds secrets.
    pub fn files(mut self, kickstart: &str, folder: &Path) -> Result<InstallerFiles, LabError> {
        let making = || format!("writing installer files in {}", folder.display());
        let temporary = || NamedTempFile::new_in(folder).map_err(LabError::io(making()));
        let mut files = InstallerFiles { kernel: temporary()?, initrd: temporary()? };
        write_kickstart(files.initrd.as_file_mut(), kickstart).map_err(LabError::io(making()))?;
        for (file, most, into) in [
            (&self.kernel, LARGEST_KERNEL, &mut files.kernel),
            (&self.initrd, LARGEST_INITRD, &mut files.initrd),
        ] {
            check_room(&making(), folder)?;
            self.iso.copy(file, most, into.as_file_mut()).map_err(|e| unread(&self.path, e))?;
        }
        Ok(files)
    }
}

fn unread(path: &Path, error: IsoError) -> LabError {
    match error {
        IsoError::Io(source) => LabError::io(format!("reading {}", path.display()))(source),
        other => LabError::failed(format!("image {}", path.display()), other.to_string())
            .with_hint("was the download cut off? image_checksum would tell"),
    }
}

/// Begins an initrd with an archive of `/ks.cfg`. The kernel unpacks one archive after the other, whichever way each is packed
/// (Documentation/driver-api/early-userspace/buffer-format.rst of Linux); behind one that is packed with LZ4 it finds no other,
/// so this one comes first.
fn write_kickstart(initrd: &mut File, kickstart: &str) -> std::io::Result<()> {
    let size = u32::try_from(kickstart.len()).map_err(|_| std::io::ErrorKind::FileTooLarge)?;
    let mut entry = cpio::newc::Builder::new("ks.cfg").mode(0o100_600).write(&mut *initrd, size);
    entry.write_all(kickstart.as_bytes())?;
    entry.finish()?;
    cpio::newc::trailer(&mut *initrd)?;
    let length = initrd.seek(SeekFrom::End(0))?;
    initrd.set_len(length.next_multiple_of(ALIGNMENT))?;
    initrd.seek(SeekFrom::End(0)).map(drop)
}

/// Where the kernel and the initrd are: as `.treeinfo` says, else where they always were.
fn named(treeinfo: &str) -> (String, String) {
    let mut section = "";
    let (mut kernel, mut initrd) = (None, None);
    for line in treeinfo.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = name;
        } else if section == "images-x86_64"
            && let Some((key, value)) = line.split_once('=')
            && value.len() <= LONGEST_PATH
        {
            match key.trim() {
                "kernel" => kernel = Some(value.trim().to_owned()),
                "initrd" => initrd = Some(value.trim().to_owned()),
                _ => {}
            }
        }
    }
    let usual = |name: &str| format!("images/pxeboot/{name}");
    (kernel.unwrap_or_else(|| usual("vmlinuz")), initrd.unwrap_or_else(|| usual("initrd.img")))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::process::Command;

    use super::*;

    /// An ISO of these files, made by the program that distributions make theirs with.
    fn iso(dir: &Path, options: &[&str], files: &[(&str, &[u8])]) -> std::path::PathBuf {
        let tree = dir.join("tree");
        for (name, content) in files {
            let file = tree.join(name);
            std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
            std::fs::write(file, content).expect("written");
        }
        let iso = dir.join("os.iso");
        let made = Command::new("genisoimage")
            .args(["-quiet", "-o"])
            .arg(&iso)
            .args(options)
            .arg(&tree)
            .stderr(std::process::Stdio::null())
            .status();
        assert!(made.expect("genisoimage").success());
        iso
    }

    fn text(mut file: &File) -> Vec<u8> {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0)).expect("at its start");
        file.read_to_end(&mut bytes).expect("read");
        bytes
    }

    #[test]
    fn the_installer_is_found_and_gets_the_kickstart() {
        for options in [&["-R", "-J"][..], &["-R"], &["-J"], &[]] {
            let dir = tempfile::tempdir().expect("a folder");
            let files: [(&str, &[u8]); 2] =
                [("images/pxeboot/vmlinuz", b"kernel"), ("images/pxeboot/initrd.img", &[7; 1000])];
            let iso = iso(dir.path(), options, &files);
            let found =
                Installer::on(&iso).expect("an installer").files("text\n# ks\n", dir.path()).expect("files");
            assert_eq!(text(found.kernel.as_file()), b"kernel", "{options:?}");
            let initrd = text(found.initrd.as_file());
            assert_eq!(initrd.len() % 512, 1000 % 512);
            assert_eq!(initrd[initrd.len() - 1000..], [7; 1000]);
            let archive = dir.path().join("added");
            std::fs::write(&archive, &initrd).expect("written");
            let listed = Command::new("cpio")
                .args(["-i", "--quiet", "--to-stdout", "ks.cfg"])
                .stdin(File::open(&archive).expect("there"))
                .output()
                .expect("cpio");
            assert_eq!(String::from_utf8_lossy(&listed.stdout), "text\n# ks\n");
        }
    }

    #[test]
    fn treeinfo_has_the_last_word() {
        let dir = tempfile::tempdir().expect("a folder");
        let treeinfo = "[general]\nkernel = wrong\n[images-x86_64]\ninitrd = boot/i.img\nkernel = boot/k\n";
        let files: [(&str, &[u8]); 3] =
            [(".treeinfo", treeinfo.as_bytes()), ("boot/k", b"K"), ("boot/i.img", b"I")];
        let iso = iso(dir.path(), &["-R"], &files);
        let found = Installer::on(&iso).expect("an installer").files("", dir.path()).expect("files");
        assert_eq!(text(found.kernel.as_file()), b"K");
    }

    #[test]
    fn another_iso_and_what_is_none_are_told_apart() {
        let dir = tempfile::tempdir().expect("a folder");
        let other = iso(dir.path(), &["-R"], &[("casper/vmlinuz", b"k")]);
        let error = Installer::on(&other).expect_err("refused");
        assert!(error.to_string().contains("no installer that takes a kickstart"), "{error}");
        let none = dir.path().join("none.iso");
        std::fs::write(&none, vec![0; 100_000]).expect("written");
        let error = Installer::on(&none).expect_err("refused");
        assert!(error.to_string().contains("it is no ISO image"), "{error}");
    }

    #[test]
    fn an_iso_that_lies_about_its_files_costs_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let files: [(&str, &[u8]); 2] =
            [("images/pxeboot/vmlinuz", b"kernel"), ("images/pxeboot/initrd.img", &[7; 1000])];
        let path = iso(dir.path(), &["-R"], &files);
        let whole = std::fs::read(&path).expect("read");
        // The record of a file has its length before and behind the other way round; the first one counts.
        let wrong = |length: u32, told: u32| {
            let mut bytes = whole.clone();
            let both = [length.to_le_bytes(), length.to_be_bytes()].concat();
            let lie = [told.to_le_bytes(), told.to_be_bytes()].concat();
            let at = bytes.windows(8).position(|w| w == both).expect("a record");
            bytes[at..at + 8].copy_from_slice(&lie);
            std::fs::write(&path, bytes).expect("written");
            let found = Installer::on(&path).expect("an installer");
            found.files("", dir.path()).expect_err("refused").to_string()
        };
        assert!(wrong(6, u32::MAX).contains("are the most that it may have"));
        assert!(wrong(1000, 1 << 30).contains("the image ends before it does"));
        let left = std::fs::read_dir(dir.path()).expect("read").count();
        assert_eq!(left, 2, "the ISO and what it was made of");
        let treeinfo = format!("[images-x86_64]\nkernel = {}\n", "../".repeat(60));
        let files: [(&str, &[u8]); 1] = [(".treeinfo", treeinfo.as_bytes())];
        let path = iso(dir.path(), &["-R"], &files);
        assert!(Installer::on(&path).expect_err("refused").to_string().contains("no installer that takes"));
    }
}
