use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use isomage::TreeNode;
use tempfile::NamedTempFile;

use super::LabError;

/// How far an archive is filled up before the next: the kernel looks for one at such places.
const ALIGNMENT: u64 = 512;

/// An operating system's installer on an ISO.
#[derive(Debug)]
pub struct Installer {
    iso: File,
    path: PathBuf,
    kernel: TreeNode,
    initrd: TreeNode,
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
        let reading = || format!("reading {}", path.display());
        let mut iso = File::open(path).map_err(LabError::io(reading()))?;
        let tree = isomage::detect_and_parse_filesystem(&mut iso, &path.to_string_lossy()).map_err(|e| {
            LabError::failed(what(), format!("it is no ISO image: {e}"))
                .with_hint("was the download cut off? image_checksum would tell")
        })?;
        let mut treeinfo = Vec::new();
        if let Some(node) = find(&tree, ".treeinfo") {
            isomage::cat_node(&mut iso, node, &mut treeinfo)
                .map_err(|e| LabError::failed(reading(), format!(".treeinfo: {e}")))?;
        }
        let (kernel, initrd) = named(&String::from_utf8_lossy(&treeinfo));
        let (Some(kernel_node), Some(initrd_node)) = (find(&tree, &kernel), find(&tree, &initrd)) else {
            return Err(LabError::failed(
                what(),
                format!("it has no {kernel} and {initrd}: it is no installer that takes a kickstart"),
            )
            .with_hint("an install or boot ISO of Fedora, RHEL or one of its kin is meant; other systems come as qcow2 images with cloud-init"));
        };
        Ok(Self { path: path.to_owned(), kernel: kernel_node.clone(), initrd: initrd_node.clone(), iso })
    }

    /// Takes its files out, into a folder which only its owner reads: a kickstart holds secrets.
    pub fn files(mut self, kickstart: &str, folder: &Path) -> Result<InstallerFiles, LabError> {
        let making = || format!("writing installer files in {}", folder.display());
        let temporary = || NamedTempFile::new_in(folder).map_err(LabError::io(making()));
        let mut files = InstallerFiles { kernel: temporary()?, initrd: temporary()? };
        write_kickstart(files.initrd.as_file_mut(), kickstart).map_err(LabError::io(making()))?;
        for (node, into) in [(&self.kernel, &mut files.kernel), (&self.initrd, &mut files.initrd)] {
            isomage::cat_node(&mut self.iso, node, into.as_file_mut()).map_err(|e| {
                LabError::failed(format!("reading {}", self.path.display()), format!("{}: {e}", node.name))
            })?;
        }
        Ok(files)
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

/// A file by its path. Without the extensions for long names all are upper case, and end in `;1`.
fn find<'a>(tree: &'a TreeNode, path: &str) -> Option<&'a TreeNode> {
    path.split('/').filter(|part| !part.is_empty()).try_fold(tree, |node, part| {
        let same = |child: &&TreeNode| {
            let name = child.name.split(';').next().unwrap_or_default().trim_end_matches('.');
            name.eq_ignore_ascii_case(part)
        };
        node.children.iter().find(same)
    })
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
}
