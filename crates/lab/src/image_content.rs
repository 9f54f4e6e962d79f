use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use thiserror::Error;

use super::unpack::Packing;
use super::{LabError, VolumeFormat};
use crate::archive::is_header;

/// The largest disk that an image may say it is.
const LARGEST: u64 = 64 << 40;

/// How much of a file's start is looked at: the headers of all formats are within it.
pub(super) const HEAD: usize = 64 << 10;

/// A sector, which is also how long the formats' trailers are.
const SECTOR: u64 = 512;

/// What is known of an image that is used as it is: raw, or qcow2 that names no other file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageContent {
    pub format: VolumeFormat,
    pub virtual_size: u64,
}

/// Why a file is not used as an image.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unfit {
    #[error("it is empty")]
    Empty,
    #[error("it is {0}, which is no disk image")]
    NoImage(&'static str),
    #[error(
        "it is {name}, and only raw and qcow2 images are used as they are: others can name files of the hypervisor for the guest to read"
    )]
    Foreign { name: &'static str, driver: &'static str },
    #[error("it is {0}, not the disk image in it")]
    Packed(&'static str),
    #[error("it is an overlay on {on:?}, which is not part of it")]
    Overlay { on: String },
    #[error("it keeps its data in another file (`data-file`), which is not part of it")]
    DataFile,
    #[error("it is encrypted")]
    Encrypted,
    #[error("it is a damaged qcow2 image: {0}")]
    Damaged(&'static str),
    #[error("it needs something of qcow2 that quaylab does not know (incompatible features {0:#x})")]
    Unknown(u64),
    #[error("it says that it is a disk of {} TiB, and {} TiB are the most that an image may be", size >> 40, LARGEST >> 40)]
    TooLarge { size: u64 },
}

impl Unfit {
    /// What to try; `name` is the file's.
    fn hint(&self, name: &str) -> String {
        let name = crate::host::quote(name);
        match self {
            Self::Empty | Self::NoImage(_) => {
                "look at what image_uri leads to: it may be an error's page or a login's".into()
            }
            Self::Foreign { driver, .. } => format!(
                "if you trust who made it, fetch it, run `qemu-img convert -f {driver} -O qcow2 {name} disk.qcow2`, and name disk.qcow2 in image_uri"
            ),
            Self::Packed("a tar archive (an OVA is one)") => format!(
                "fetch it, unpack it with `tar -xf {name}`, and name the disk image in it in image_uri; of an OVA that is a vmdk: if you trust who made it, run `qemu-img convert -f vmdk -O qcow2 DISK.vmdk disk.qcow2` first"
            ),
            Self::Packed(_) => "fetch it, unpack it, and name the disk image in it in image_uri".into(),
            Self::Overlay { .. } | Self::DataFile => format!(
                "if you trust who made it, flatten it where its other file is: `qemu-img convert -f qcow2 -O qcow2 {name} disk.qcow2`, and name disk.qcow2 in image_uri"
            ),
            Self::Encrypted => {
                "guests are started without a person who could type a passphrase: decrypt it with qemu-img convert first".into()
            }
            Self::Damaged(_) => {
                format!("was the download cut off? image_checksum would tell; else see `qemu-img check -f qcow2 {name}`")
            }
            Self::Unknown(_) => format!(
                "if you trust who made it, write it anew: `qemu-img convert -f qcow2 -O qcow2 {name} disk.qcow2`, and name disk.qcow2 in image_uri"
            ),
            Self::TooLarge { .. } => "is it the right file? image_checksum would tell".into(),
        }
    }

    /// The error of an image of this name.
    pub(super) fn told(&self, image: &str) -> LabError {
        let name = image.split(['?', '#']).next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
        LabError::failed(format!("image {image}"), self.to_string()).with_hint(self.hint(name))
    }
}

/// Finds out what a file on this machine is, by its content and without any other program; `Err` inside says why it is
/// not used as an image.
pub(super) fn content_of(path: &Path) -> std::io::Result<Result<ImageContent, Unfit>> {
    let mut file = open_plain(path)?;
    let length = file.metadata()?.len();
    read_content(&mut file, length)
}

/// Judges what is there of a file that is still being fetched: what it is can be told from its start. What is packed is
/// judged when it is unpacked.
pub(super) fn starts_fit(part: &Path) -> std::io::Result<Result<(), Unfit>> {
    let mut head = Vec::new();
    open_plain(part)?.take(HEAD as u64).read_to_end(&mut head)?;
    if Packing::by_magic(&head).is_some() {
        return Ok(Ok(()));
    }
    Ok(judge(&head, &[], head.len() as u64).map(drop))
}

/// Opens a file for reading; what is no plain file (a device, a pipe that never ends) is refused.
pub(super) fn open_plain(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    // A pipe without a writer must not hold up the run.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(nonblocking).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "it is no file"))
}

/// Finds out what an image of this length is.
pub fn read_content(
    file: &mut (impl Read + Seek),
    length: u64,
) -> std::io::Result<Result<ImageContent, Unfit>> {
    let mut head = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(HEAD as u64).read_to_end(&mut head)?;
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(length.saturating_sub(SECTOR)))?;
    file.take(SECTOR).read_to_end(&mut tail)?;
    Ok(judge(&head, &tail, length))
}

/// The pure part: what the first and the last bytes of a file of this length make of it.
fn judge(head: &[u8], tail: &[u8], length: u64) -> Result<ImageContent, Unfit> {
    if length == 0 {
        return Err(Unfit::Empty);
    }
    if head.starts_with(b"QFI\xfb") {
        return qcow2(head);
    }
    if let Some(unfit) = foreign(head, tail) {
        return Err(unfit);
    }
    if length > LARGEST {
        return Err(Unfit::TooLarge { size: length });
    }
    Ok(ImageContent { format: VolumeFormat::Raw, virtual_size: length.next_multiple_of(SECTOR) })
}

/// Formats by what stands at a place in the file: name, and QEMU's name of it.
const FOREIGN: [(usize, &[u8], &str, &str); 11] = [
    (0, b"KDMV", "a VMDK image", "vmdk"),
    (0, b"COWD", "a VMDK image", "vmdk"),
    (0, b"# Disk DescriptorFile", "a VMDK descriptor", "vmdk"),
    (0x40, b"\x7f\x10\xda\xbe", "a VDI image", "vdi"),
    (0, b"vhdxfile", "a VHDX image", "vhdx"),
    (0, b"conectix", "a VHD image", "vpc"),
    (0, b"QED\0", "a QED image", "qed"),
    (0, b"WithoutFreeSpace", "a Parallels image", "parallels"),
    (0, b"WithouFreSpacExt", "a Parallels image", "parallels"),
    (0, b"Bochs Virtual HD Image", "a Bochs image", "bochs"),
    (0, b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop", "a cloop image", "cloop"),
];

/// What holds files rather than being a disk.
const PACKED: [(&[u8], &str); 9] = [
    (b"PK\x03\x04", "a zip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"BZh", "packed with bzip2"),
    (b"LZIP", "packed with lzip"),
    (b"\x04\x22\x4d\x18", "packed with LZ4"),
    (b"\x1f\x8b", "packed with gzip once more"),
    (b"\xfd7zXZ\0", "packed with xz once more"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd once more"),
];

fn foreign(head: &[u8], tail: &[u8]) -> Option<Unfit> {
    let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    if let Some((.., name, driver)) = FOREIGN.iter().find(|(offset, magic, ..)| at(*offset, magic)) {
        return Some(Unfit::Foreign { name, driver });
    }
    if is_descriptor(head) {
        return Some(Unfit::Foreign { name: "a VMDK descriptor", driver: "vmdk" });
    }
    // A fixed VHD is its disk and a trailer; older ones are a byte short.
    if tail.starts_with(b"conectix") || tail.get(1..).is_some_and(|t| t.starts_with(b"conectix")) {
        return Some(Unfit::Foreign { name: "a VHD image", driver: "vpc" });
    }
    if tail.starts_with(b"koly") {
        return Some(Unfit::Foreign { name: "a DMG image", driver: "dmg" });
    }
    if at(0, b"LUKS\xba\xbe") {
        return Some(Unfit::Encrypted);
    }
    if is_tar(head) {
        return Some(Unfit::Packed("a tar archive (an OVA is one)"));
    }
    if let Some((_, name)) = PACKED.iter().find(|(magic, _)| at(0, magic)) {
        return Some(Unfit::Packed(name));
    }
    let text: Vec<u8> = head.trim_ascii_start().iter().take(16).map(u8::to_ascii_lowercase).collect();
    if text.starts_with(b"<!doctype") || text.starts_with(b"<html") {
        return Some(Unfit::NoImage("a web page"));
    }
    text.starts_with(b"<?xml").then_some(Unfit::NoImage("an XML document"))
}

/// A VMDK's text, as QEMU knows it: `version=` behind comments and empty lines.
fn is_descriptor(head: &[u8]) -> bool {
    let mut lines = head.split(|b| *b == b'\n').map(<[u8]>::trim_ascii);
    lines
        .find(|line| !line.is_empty() && !line.starts_with(b"#"))
        .is_some_and(|line| line.to_ascii_lowercase().starts_with(b"version="))
}

/// Whether it begins with a member of a tar archive.
fn is_tar(head: &[u8]) -> bool {
    head.first_chunk().is_some_and(|block: &[u8; 512]| block.first() != Some(&0) && is_header(block))
}

/// The parts of a qcow2 header that are looked at, by their places (QEMU's docs/interop/qcow2.txt).
mod field {
    pub(super) const VERSION: usize = 4;
    pub(super) const BACKING_OFFSET: usize = 8;
    pub(super) const BACKING_LENGTH: usize = 16;
    pub(super) const CLUSTER_BITS: usize = 20;
    pub(super) const SIZE: usize = 24;
    pub(super) const CRYPT: usize = 32;
    pub(super) const END_OF_V2: usize = 72;
    pub(super) const INCOMPATIBLE: usize = 72;
    pub(super) const HEADER_LENGTH: usize = 100;
    pub(super) const END_OF_V3: usize = 104;
}

/// Incompatible features of qcow2.
const CORRUPT: u64 = 1 << 1;
const DATA_FILE: u64 = 1 << 2;
/// Dirty, compression type, extended L2 entries: those that only say how the data is written.
const HARMLESS: u64 = 1 | 1 << 3 | 1 << 4;

/// Extensions of qcow2's header.
const EXTENSION_END: u32 = 0;
const EXTENSION_DATA_FILE: u32 = 0x4441_5441;
const EXTENSION_ENCRYPTED: u32 = 0x0537_be77;

fn qcow2(head: &[u8]) -> Result<ImageContent, Unfit> {
    let short = Unfit::Damaged("it ends within its header");
    let version = word(head, field::VERSION).ok_or_else(|| short.clone())?;
    let header_length = match version {
        1 => return Err(Unfit::Foreign { name: "a qcow image of the first version", driver: "qcow" }),
        2 => field::END_OF_V2,
        3 => {
            let said = word(head, field::HEADER_LENGTH).ok_or_else(|| short.clone())?;
            usize::try_from(said).unwrap_or(usize::MAX)
        }
        _ => return Err(Unfit::Damaged("its version is neither 2 nor 3")),
    };
    if version == 3 && header_length < field::END_OF_V3 {
        return Err(Unfit::Damaged("its header is shorter than a header is"));
    }
    let long = |at| long_word(head, at).ok_or_else(|| short.clone());
    let backing = long(field::BACKING_OFFSET)?;
    if backing != 0 {
        let length = word(head, field::BACKING_LENGTH).unwrap_or(0).min(1023) as usize;
        let from = usize::try_from(backing).unwrap_or(usize::MAX);
        let name = from.checked_add(length).and_then(|end| head.get(from..end)).unwrap_or_default();
        return Err(Unfit::Overlay { on: String::from_utf8_lossy(name).into_owned() });
    }
    let incompatible = if version == 3 { long(field::INCOMPATIBLE)? } else { 0 };
    if incompatible & DATA_FILE != 0 {
        return Err(Unfit::DataFile);
    }
    if incompatible & CORRUPT != 0 {
        return Err(Unfit::Damaged("it is marked as corrupt"));
    }
    if incompatible & !HARMLESS != 0 {
        return Err(Unfit::Unknown(incompatible & !HARMLESS));
    }
    if word(head, field::CRYPT) != Some(0) {
        return Err(Unfit::Encrypted);
    }
    let cluster_bits = word(head, field::CLUSTER_BITS).unwrap_or(0);
    if !(9..=21).contains(&cluster_bits) {
        return Err(Unfit::Damaged("the size of its clusters is none that there is"));
    }
    extensions(head, header_length, 1 << cluster_bits)?;
    let size = long(field::SIZE)?;
    if size > LARGEST {
        return Err(Unfit::TooLarge { size });
    }
    Ok(ImageContent { format: VolumeFormat::Qcow2, virtual_size: size })
}

/// Looks through the extensions, which stand behind the header in the first cluster.
fn extensions(head: &[u8], from: usize, cluster: usize) -> Result<(), Unfit> {
    let mut at = from;
    // They end where the cluster ends, or with an end; what is longer than what was read is not believed.
    while at.saturating_add(8) <= cluster {
        let (Some(kind), Some(length)) = (word(head, at), word(head, at + 4)) else {
            // An image without any data may end where its header does.
            let ends = at == head.len() && head.len() < HEAD;
            return if ends { Ok(()) } else { Err(Unfit::Damaged("it ends within its header")) };
        };
        match kind {
            EXTENSION_END => return Ok(()),
            EXTENSION_DATA_FILE => return Err(Unfit::DataFile),
            EXTENSION_ENCRYPTED => return Err(Unfit::Encrypted),
            _ => {}
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let next = length.checked_next_multiple_of(8).and_then(|l| l.checked_add(at + 8));
        match next.filter(|next| *next <= cluster.min(HEAD)) {
            Some(next) => at = next,
            None => return Err(Unfit::Damaged("its header's extensions do not end")),
        }
    }
    Ok(())
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_be_bytes)
}

fn long_word(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().copied().map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::process::Command;

    use super::*;

    fn read(bytes: &[u8]) -> Result<ImageContent, Unfit> {
        read_content(&mut Cursor::new(bytes), bytes.len() as u64).expect("it is in memory")
    }

    /// What `qemu-img` makes, in a folder that goes. For a key it measures its own speed, and gives up at random where a machine counts a
    /// thread's time coarsely: it is asked again then.
    fn made(arguments: &[&str]) -> Vec<u8> {
        let dir = tempfile::tempdir().expect("a folder");
        let make = || {
            let done = Command::new("qemu-img").args(arguments).current_dir(dir.path()).output();
            let done = done.expect("qemu-img");
            (done.status.success(), String::from_utf8_lossy(&done.stderr).into_owned())
        };
        let mut last = make();
        for _ in 0..50 {
            if last.0 || !last.1.contains("accurate CPU usage") {
                break;
            }
            last = make();
        }
        assert!(last.0, "{arguments:?}: {}", last.1);
        std::fs::read(dir.path().join("image")).expect("made")
    }

    const GOOD: ImageContent = ImageContent { format: VolumeFormat::Qcow2, virtual_size: 64 << 20 };

    #[test]
    fn qcow2_that_names_no_other_file_is_taken() {
        for options in [
            "compat=1.1",
            "compat=0.10",
            "cluster_size=512",
            "cluster_size=2M,lazy_refcounts=on",
            "extended_l2=on,cluster_size=128k",
            "preallocation=metadata",
        ] {
            let bytes = made(&["create", "-q", "-f", "qcow2", "-o", options, "image", "64M"]);
            assert_eq!(read(&bytes), Ok(GOOD), "{options}");
        }
    }

    #[test]
    fn qcow2_that_names_another_file_is_refused() {
        let overlay =
            |on: &str| made(&["create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", on, "image", "64M"]);
        for on in [
            "/etc/shadow",
            "base.raw",
            "nbd:127.0.0.1:10809",
            "json:{\"driver\":\"file\",\"filename\":\"/etc/shadow\"}",
        ] {
            assert_eq!(read(&overlay(on)), Err(Unfit::Overlay { on: on.into() }));
        }
        let elsewhere =
            made(&["create", "-q", "-f", "qcow2", "-o", "data_file=secret,data_file_raw=on", "image", "64M"]);
        assert_eq!(read(&elsewhere), Err(Unfit::DataFile));
        // Also where the feature's bit is not set, but the name is there, or the other way round.
        let mut bit_off = elsewhere.clone();
        bit_off[79] &= !4;
        assert_eq!(read(&bit_off), Err(Unfit::DataFile));
        let mut plain = made(&["create", "-q", "-f", "qcow2", "image", "64M"]);
        plain[79] |= 4;
        assert_eq!(read(&plain), Err(Unfit::DataFile));
    }

    #[test]
    fn qcow2_that_is_strange_is_refused() {
        let plain = made(&["create", "-q", "-f", "qcow2", "image", "64M"]);
        let with = |at: usize, bytes: &[u8]| {
            let mut image = plain.clone();
            image[at..at + bytes.len()].copy_from_slice(bytes);
            read(&image)
        };
        assert_eq!(with(79, &[2]), Err(Unfit::Damaged("it is marked as corrupt")));
        assert_eq!(with(76, &[0, 0, 1, 0]), Err(Unfit::Unknown(0x100)));
        assert_eq!(with(32, &[0, 0, 0, 2]), Err(Unfit::Encrypted));
        assert!(matches!(with(24, &[0x7f; 8]), Err(Unfit::TooLarge { .. })));
        for (at, bytes) in [
            (4, [0, 0, 0, 4]),
            (20, [0, 0, 0, 40]),
            (100, [0, 0, 0, 8]),
            // The first extension has no end.
            (116, [0xff; 4]),
        ] {
            assert!(matches!(with(at, &bytes), Err(Unfit::Damaged(_))), "{at}: {:?}", with(at, &bytes));
        }
        assert!(matches!(with(4, &[0, 0, 0, 1]), Err(Unfit::Foreign { driver: "qcow", .. })));
        for length in 0..112 {
            assert!(read(&plain[..length]).is_err() || length < 4, "{length}");
        }
        let keyed = made(&[
            "create",
            "-q",
            "-f",
            "qcow2",
            "--object",
            "secret,id=s,data=x",
            "-o",
            "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10",
            "image",
            "1M",
        ]);
        assert_eq!(read(&keyed), Err(Unfit::Encrypted));
    }

    #[test]
    fn other_formats_are_known_by_their_content() {
        for driver in ["vmdk", "vdi", "vhdx", "vpc", "qed", "parallels", "qcow"] {
            let bytes = made(&["create", "-q", "-f", driver, "image", "16M"]);
            let found = read(&bytes);
            assert!(
                matches!(&found, Err(Unfit::Foreign { driver: named, .. }) if *named == driver),
                "{driver}: {found:?}"
            );
        }
        for options in
            ["subformat=monolithicFlat", "subformat=streamOptimized", "subformat=twoGbMaxExtentFlat"]
        {
            let bytes = made(&["create", "-q", "-f", "vmdk", "-o", options, "image", "16M"]);
            assert!(matches!(read(&bytes), Err(Unfit::Foreign { driver: "vmdk", .. })), "{options}");
        }
        let fixed = made(&["create", "-q", "-f", "vpc", "-o", "subformat=fixed", "image", "16M"]);
        assert!(matches!(read(&fixed), Err(Unfit::Foreign { driver: "vpc", .. })));
        let keyed = made(&[
            "create",
            "-q",
            "-f",
            "luks",
            "--object",
            "secret,id=s,data=x",
            "-o",
            "key-secret=s,iter-time=10",
            "image",
            "1M",
        ]);
        assert_eq!(read(&keyed), Err(Unfit::Encrypted));
        // A descriptor of few bytes that leads to a file of the hypervisor, also where its first line is another.
        for first in ["# Disk DescriptorFile\n", "# anything\n\n  \n#\n", ""] {
            let text = format!(
                "{first}version=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n\nRW 2048 FLAT \"/etc/shadow\" 0\n"
            );
            assert!(matches!(read(text.as_bytes()), Err(Unfit::Foreign { driver: "vmdk", .. })), "{text}");
        }
    }

    #[test]
    fn an_ova_and_what_else_is_no_disk_are_told_apart() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(3);
        header.set_cksum();
        builder.append_data(&mut header, "appliance.ovf", &b"<x>"[..]).expect("packed");
        let mut ova = builder.into_inner().expect("packed");
        let error = read(&ova).expect_err("refused").told("https://x/appliance.ova?token=1");
        assert_eq!(
            error.to_string(),
            "image https://x/appliance.ova?token=1: it is a tar archive (an OVA is one), not the disk image in it"
        );
        assert!(
            error
                .hint()
                .is_some_and(|h| h.contains("`tar -xf appliance.ova`") && h.contains("-f vmdk -O qcow2")),
            "{error:?}"
        );
        // Of the oldest kind, which says nothing of itself but the sum.
        ova[257..265].fill(0);
        let sum: u32 =
            (0..512).map(|at| if (148..156).contains(&at) { 32 } else { u32::from(ova[at]) }).sum();
        ova[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        assert!(matches!(read(&ova), Err(Unfit::Packed(_))));
        for (start, unfit) in [
            (&b"PK\x03\x04"[..], Unfit::Packed("a zip archive")),
            (b"\x1f\x8b\x08", Unfit::Packed("packed with gzip once more")),
            (b"\n  <!DOCTYPE html>", Unfit::NoImage("a web page")),
            (b"<HTML>", Unfit::NoImage("a web page")),
        ] {
            assert_eq!(read(&[start, &[7; 2000]].concat()), Err(unfit));
        }
        assert_eq!(read(b""), Err(Unfit::Empty));
        assert_eq!(read(&[0; 700]), Ok(ImageContent { format: VolumeFormat::Raw, virtual_size: 1024 }));
        let mut sector = vec![0x33; 4096];
        sector[510..512].copy_from_slice(&[0x55, 0xaa]);
        assert!(read(&sector).is_ok(), "a boot sector");
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let dir = tempfile::tempdir().expect("a folder");
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
            .expect("made");
        for path in [pipe.as_path(), Path::new("/dev/zero"), dir.path()] {
            assert!(content_of(path).is_err(), "{}", path.display());
        }
    }

    #[test]
    fn a_hint_is_a_command_that_can_be_pasted() {
        let vmdk = Unfit::Foreign { name: "a VMDK image", driver: "vmdk" };
        let error = vmdk.told("/srv/a; rm x.vmdk");
        assert!(
            error
                .hint()
                .is_some_and(|h| h.contains("`qemu-img convert -f vmdk -O qcow2 'a; rm x.vmdk' disk.qcow2`")),
            "{error:?}"
        );
    }
}
