use std::io::{self, Read, Seek, SeekFrom, Write};

use thiserror::Error;

/// What an ISO counts in.
const SECTOR: u64 = 2048;

/// Where its descriptors begin, and how many of them are looked at.
const FIRST_DESCRIPTOR: u64 = 16;
const MOST_DESCRIPTORS: u64 = 64;

/// The most that the list of a folder may be; a folder of ten thousand files has less.
const LONGEST_FOLDER: u32 = 4 << 20;

/// The most folders that a path goes through.
const DEEPEST: usize = 16;

/// Why an ISO is not read.
#[derive(Debug, Error)]
pub enum IsoError {
    #[error("it is no ISO image: {0}")]
    NoImage(&'static str),
    #[error("{name}: {why}")]
    Damaged { name: String, why: &'static str },
    #[error("{name} has {size} bytes, and {most} are the most that it may have")]
    TooLarge { name: String, size: u64, most: u64 },
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Where something lies in the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extent {
    sector: u32,
    length: u32,
}

/// How the names of files are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    /// In a byte a letter, with Rock Ridge's longer ones where there are some.
    Plain,
    /// Joliet: two bytes a letter.
    Wide,
}

/// A file in the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IsoFile {
    name: String,
    extent: Extent,
    /// Whether more of it follows elsewhere, as of files of more than 4 GiB.
    in_pieces: bool,
}

/// An ISO 9660 image (ECMA-119, Joliet, Rock Ridge). Only the folders on the way to a file are read, one after the other, so
/// that folders which hold themselves lead nowhere.
#[derive(Debug)]
pub struct IsoImage<R> {
    source: R,
    length: u64,
    root: Extent,
    names: Names,
}

impl<R: Read + Seek> IsoImage<R> {
    pub fn open(mut source: R) -> Result<Self, IsoError> {
        let length = source.seek(SeekFrom::End(0))?;
        let mut found = None;
        for sector in FIRST_DESCRIPTOR..FIRST_DESCRIPTOR + MOST_DESCRIPTORS {
            let mut block = vec![0; 2048];
            source.seek(SeekFrom::Start(sector * SECTOR))?;
            if source.read_exact(&mut block).is_err() {
                break;
            }
            if block.get(1..6) != Some(b"CD001") {
                break;
            }
            let root = block.get(156..190).and_then(extent);
            match (block.first(), root) {
                (Some(1), Some(root)) if found.is_none() => found = Some((root, Names::Plain)),
                (Some(2), Some(root)) if is_joliet(&block) => found = Some((root, Names::Wide)),
                (Some(255), _) => break,
                _ => {}
            }
        }
        let (root, names) = found.ok_or(IsoError::NoImage("it has no volume descriptor"))?;
        Ok(Self { source, length, root, names })
    }

    /// A file by its path, whatever the case of its letters: without the extensions all are upper case, and end in `;1`.
    pub fn find(&mut self, path: &str) -> Result<Option<IsoFile>, IsoError> {
        let mut parts = path.split('/').filter(|part| !part.is_empty()).peekable();
        let mut folder = self.root;
        for _ in 0..DEEPEST {
            let Some(part) = parts.next() else { return Ok(None) };
            let Some(record) = self.record(folder, part)? else { return Ok(None) };
            match (parts.peek().is_none(), record.is_folder) {
                (true, false) => {
                    return Ok(Some(IsoFile {
                        name: path.chars().take(256).collect(),
                        extent: record.extent,
                        in_pieces: record.in_pieces,
                    }));
                }
                (false, true) => folder = record.extent,
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Writes a file out, if it is all there and has no more than `most` bytes.
    pub fn copy(&mut self, file: &IsoFile, most: u64, to: &mut impl Write) -> Result<(), IsoError> {
        let damaged = |why| IsoError::Damaged { name: file.name.clone(), why };
        let size = u64::from(file.extent.length);
        if file.in_pieces || size > most {
            return Err(IsoError::TooLarge { name: file.name.clone(), size, most });
        }
        let from = u64::from(file.extent.sector) * SECTOR;
        if from + size > self.length {
            return Err(damaged("the image ends before it does"));
        }
        self.source.seek(SeekFrom::Start(from))?;
        let copied = io::copy(&mut (&mut self.source).take(size), to)?;
        if copied == size { Ok(()) } else { Err(damaged("the image ends before it does")) }
    }

    /// What a folder says of a name in it.
    fn record(&mut self, folder: Extent, wanted: &str) -> Result<Option<Record>, IsoError> {
        let damaged = |why| IsoError::Damaged { name: format!("the folder of {wanted}"), why };
        let from = u64::from(folder.sector) * SECTOR;
        if folder.length > LONGEST_FOLDER {
            return Err(damaged("its list is longer than any folder's"));
        }
        if from + u64::from(folder.length) > self.length {
            return Err(damaged("the image ends before its list does"));
        }
        self.source.seek(SeekFrom::Start(from))?;
        let mut list = Vec::new();
        (&mut self.source).take(u64::from(folder.length)).read_to_end(&mut list)?;
        // No record goes over the end of a sector.
        for mut sector in list.chunks(2048) {
            while let Some(length) = sector.first().map(|length| usize::from(*length)).filter(|l| *l > 0) {
                let Some(bytes) = sector.get(..length) else { break };
                if let Some(record) = record(bytes, self.names)
                    && record.name.eq_ignore_ascii_case(wanted)
                {
                    return Ok(Some(record));
                }
                sector = sector.get(length..).unwrap_or_default();
            }
        }
        Ok(None)
    }
}

/// One line of a folder's list.
#[derive(Debug)]
struct Record {
    name: String,
    extent: Extent,
    is_folder: bool,
    in_pieces: bool,
}

fn is_joliet(descriptor: &[u8]) -> bool {
    matches!(descriptor.get(88..91), Some(b"%/@" | b"%/C" | b"%/E"))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

fn extent(record: &[u8]) -> Option<Extent> {
    Some(Extent { sector: word(record, 2)?, length: word(record, 10)? })
}

/// Reads a record; `None` for the folder itself, the one above it, and what is none.
fn record(bytes: &[u8], names: Names) -> Option<Record> {
    let flags = *bytes.get(25)?;
    let length = usize::from(*bytes.get(32)?);
    let identifier = bytes.get(33..33 + length)?;
    if matches!(identifier, [] | [0 | 1]) {
        return None;
    }
    let name = match names {
        Names::Wide => {
            let letters = identifier.chunks_exact(2).filter_map(|pair| pair.first_chunk().copied());
            String::from_utf16_lossy(&letters.map(u16::from_be_bytes).collect::<Vec<_>>())
        }
        // A name that fills an even number of bytes is followed by one that fills up.
        Names::Plain => {
            let rest = bytes.get(33 + length + (length + 1) % 2..).unwrap_or_default();
            rock_ridge(rest).unwrap_or_else(|| String::from_utf8_lossy(identifier).into_owned())
        }
    };
    let name = name.split(';').next().unwrap_or_default().trim_end_matches('.').to_owned();
    Some(Record { name, extent: extent(bytes)?, is_folder: flags & 2 != 0, in_pieces: flags & 0x80 != 0 })
}

/// Rock Ridge's name in what follows a record's own.
fn rock_ridge(mut area: &[u8]) -> Option<String> {
    let mut name = Vec::new();
    while let Some(length) = area.get(2).map(|length| usize::from(*length)).filter(|length| *length >= 4) {
        let entry = area.get(..length)?;
        // Flags 2 and 4 mean the folder itself and the one above it.
        if entry.starts_with(b"NM") && entry.get(4).is_some_and(|flags| flags & 6 == 0) {
            name.extend_from_slice(entry.get(5..).unwrap_or_default());
        }
        area = area.get(length..).unwrap_or_default();
    }
    (!name.is_empty()).then(|| String::from_utf8_lossy(&name).into_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// A record of a folder's list.
    fn line(name: &[u8], sector: u32, length: u32, flags: u8) -> Vec<u8> {
        let mut bytes = vec![0; 33];
        bytes[2..6].copy_from_slice(&sector.to_le_bytes());
        bytes[10..14].copy_from_slice(&length.to_le_bytes());
        bytes[25] = flags;
        bytes[32] = u8::try_from(name.len()).expect("short");
        bytes.extend_from_slice(name);
        bytes.resize(bytes.len().next_multiple_of(2), 0);
        bytes[0] = u8::try_from(bytes.len()).expect("short");
        bytes
    }

    /// An image whose root folder, at sector 20, has these lines.
    fn image(root: u32, lines: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = vec![0; 24 * 2048];
        let descriptor = &mut bytes[16 * 2048..];
        descriptor[0] = 1;
        descriptor[1..6].copy_from_slice(b"CD001");
        let this = line(&[0], 20, root, 2);
        descriptor[156..156 + this.len()].copy_from_slice(&this);
        bytes[17 * 2048] = 255;
        bytes[17 * 2048 + 1..17 * 2048 + 6].copy_from_slice(b"CD001");
        let list = lines.concat();
        bytes[20 * 2048..20 * 2048 + list.len()].copy_from_slice(&list);
        bytes[21 * 2048..21 * 2048 + 6].copy_from_slice(b"kernel");
        bytes
    }

    fn get(bytes: Vec<u8>, path: &str) -> Result<Option<Vec<u8>>, String> {
        let mut iso = IsoImage::open(Cursor::new(bytes)).map_err(|e| e.to_string())?;
        let Some(file) = iso.find(path).map_err(|e| e.to_string())? else { return Ok(None) };
        let mut out = Vec::new();
        iso.copy(&file, 4096, &mut out).map_err(|e| e.to_string())?;
        Ok(Some(out))
    }

    #[test]
    fn a_file_is_found_whatever_its_case() {
        let lines = [line(&[0], 20, 2048, 2), line(&[1], 20, 2048, 2), line(b"VMLINUZ.;1", 21, 6, 0)];
        assert_eq!(get(image(2048, &lines), "/vmlinuz"), Ok(Some(b"kernel".to_vec())));
        assert_eq!(get(image(2048, &lines), "vmlinuz/x"), Ok(None));
        assert_eq!(get(image(2048, &lines), "other"), Ok(None));
        assert_eq!(get(image(2048, &lines), ""), Ok(None));
    }

    #[test]
    fn a_folder_that_holds_itself_leads_nowhere() {
        let lines = [line(b"A", 20, 2048, 2)];
        let mut iso = IsoImage::open(Cursor::new(image(2048, &lines))).expect("an image");
        assert_eq!(iso.find(&"a/".repeat(100_000)).expect("read"), None);
    }

    #[test]
    fn lies_about_sizes_are_told() {
        let file = |sector, length, flags| image(2048, &[line(b"K", sector, length, flags)]);
        for (bytes, why) in [
            (file(21, 5000, 0), "are the most that it may have"),
            (file(21, u32::MAX, 0), "are the most that it may have"),
            (file(21, 6, 0x80), "are the most that it may have"),
            (file(23, 4000, 0), "the image ends before it does"),
            (file(u32::MAX, 6, 0), "the image ends before it does"),
            (image(u32::MAX, &[]), "longer than any folder's"),
            (image(1 << 20, &[]), "ends before its list does"),
            (vec![0; 100_000], "no ISO image"),
            (Vec::new(), "no ISO image"),
        ] {
            let said = get(bytes, "k").expect_err("refused");
            assert!(said.contains(why), "{said}, not {why}");
        }
    }

    #[test]
    fn every_flipped_byte_is_survived() {
        let mut lines = vec![line(b"VMLINUZ.;1", 21, 6, 0)];
        let mut long = line(b"X.;1", 21, 6, 0);
        long.extend_from_slice(b"NM\x09\x01\x00rockNM\x04\x01");
        long[0] = u8::try_from(long.len()).expect("short");
        lines.push(long);
        let whole = image(2048, &lines);
        assert_eq!(get(whole.clone(), "rock"), Ok(Some(b"kernel".to_vec())));
        for at in (16 * 2048..16 * 2048 + 200).chain(20 * 2048..20 * 2048 + 120) {
            for value in [0, 1, 4, 0x7f, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                let _said = get(bytes, "rock");
            }
        }
    }
}
