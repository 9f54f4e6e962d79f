use std::io::{self, Read, Seek, SeekFrom};

/// What tar counts in.
const BLOCK: u64 = 512;

/// The most that a record before a member may be: a long name, or PAX's list of what the member's header has no room for.
const LONGEST_RECORD: u64 = 64 << 10;

/// So many such records may stand before one member.
const MOST_RECORDS: usize = 8;

/// One member of an archive, as its header says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TarMember {
    /// As it stands there; nothing says that it is text, or that it stays below any folder.
    pub path: Vec<u8>,
    pub size: u64,
    /// Whether it is a plain file, and no link, folder, device or pipe.
    pub is_file: bool,
}

/// Reads one member after the other. Sizes are believed only as far as bytes come; no record of an archive is kept in memory
/// beyond a small bound.
#[derive(Debug)]
pub struct TarReader<R> {
    source: R,
    /// What is left of the member's content.
    left: u64,
    /// What fills its last block.
    padding: u64,
    skip: fn(&mut R, u64) -> io::Result<()>,
    ended: bool,
}

impl<R: Read> TarReader<R> {
    /// Reads what comes in one stream.
    pub fn new(source: R) -> Self {
        Self { source, left: 0, padding: 0, skip: read_away, ended: false }
    }

    /// The next member; what was not read of the one before is passed over.
    pub fn next_member(&mut self) -> io::Result<Option<TarMember>> {
        if self.ended {
            return Ok(None);
        }
        let (mut path, mut size) = (None, None);
        for _ in 0..=MOST_RECORDS {
            self.pass_over()?;
            let Some(header) = self.header()? else {
                self.ended = true;
                return if path.is_none() && size.is_none() {
                    Ok(None)
                } else {
                    Err(damaged("it ends behind a record that is about a member"))
                };
            };
            let length = header.entry_size()?;
            let kind = header.entry_type();
            self.padding = length.checked_next_multiple_of(BLOCK).ok_or_else(too_long)? - length;
            self.left = length;
            if kind.is_gnu_longname() {
                let mut name = self.record()?;
                // It ends with a zero.
                let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
                name.truncate(end);
                path = Some(name);
            } else if kind.is_pax_local_extensions() {
                let record = self.record()?;
                let said = pax(&record)?;
                path = said.path.or(path);
                size = said.size.or(size);
            } else if kind.is_gnu_longlink() || kind.is_pax_global_extensions() {
                if length > LONGEST_RECORD {
                    return Err(too_long());
                }
            } else if kind.is_gnu_sparse() {
                return Err(damaged("it holds a file with holes, as only GNU tar writes them"));
            } else {
                if let Some(size) = size {
                    self.left = size;
                    self.padding = size.checked_next_multiple_of(BLOCK).ok_or_else(too_long)? - size;
                }
                return Ok(Some(TarMember {
                    path: path.unwrap_or_else(|| header.path_bytes().into_owned()),
                    size: self.left,
                    is_file: kind.is_file() || kind.is_contiguous(),
                }));
            }
        }
        Err(damaged("too many records stand before a member"))
    }

    /// What follows the archive's end.
    pub fn into_inner(self) -> R {
        self.source
    }

    fn pass_over(&mut self) -> io::Result<()> {
        let rest = self.left.checked_add(self.padding).ok_or_else(too_long)?;
        (self.left, self.padding) = (0, 0);
        if rest == 0 { Ok(()) } else { (self.skip)(&mut self.source, rest) }
    }

    /// The next header; `None` at the end, which is a block of zeros or nothing more.
    fn header(&mut self) -> io::Result<Option<tar::Header>> {
        let mut header = tar::Header::new_old();
        let block = header.as_mut_bytes();
        let mut have = 0;
        while let Some(rest) = block.get_mut(have..).filter(|rest| !rest.is_empty()) {
            match self.source.read(rest) {
                Ok(0) if have == 0 => return Ok(None),
                Ok(0) => return Err(damaged("it ends within a header")),
                Ok(count) => have += count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if is_header(block) { Ok(Some(header)) } else { Err(damaged("a member's header is none")) }
    }

    /// A record's text.
    fn record(&mut self) -> io::Result<Vec<u8>> {
        if self.left > LONGEST_RECORD {
            return Err(too_long());
        }
        let length = self.left;
        let mut text = Vec::new();
        self.by_ref().take(length).read_to_end(&mut text)?;
        if text.len() as u64 == length { Ok(text) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

impl<R: Read + Seek> TarReader<R> {
    /// Passes over members without reading them.
    pub fn seeking(source: R) -> Self {
        Self { skip: seek_away, ..Self::new(source) }
    }
}

/// The content of the member.
impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let fits = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        // What unpacks takes it for a fault to be asked for nothing.
        if fits == 0 {
            return Ok(0);
        }
        let count = self.source.read(buffer.get_mut(..fits).unwrap_or_default())?;
        self.left -= count as u64;
        Ok(count)
    }
}

fn read_away<R: Read>(source: &mut R, bytes: u64) -> io::Result<()> {
    let passed = io::copy(&mut source.take(bytes), &mut io::sink())?;
    if passed == bytes { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn seek_away<R: Read + Seek>(source: &mut R, bytes: u64) -> io::Result<()> {
    // The last byte is read: behind the end of a file one may seek as far as one likes.
    let most = i64::try_from(bytes - 1).map_err(|_| too_long())?;
    source.seek(SeekFrom::Current(most))?;
    read_away(source, 1)
}

/// Whether a block is a header, by the sum that it has of itself.
pub fn is_header(block: &[u8; 512]) -> bool {
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
        .sum();
    tar::Header::from_byte_slice(block).cksum().is_ok_and(|said| said == sum)
}

#[derive(Debug, Default)]
struct Pax {
    path: Option<Vec<u8>>,
    size: Option<u64>,
}

/// Reads PAX's lines, `LENGTH KEY=VALUE` each.
fn pax(mut text: &[u8]) -> io::Result<Pax> {
    let bad = || damaged("a PAX record is garbled");
    let mut said = Pax::default();
    while !text.is_empty() && text.first() != Some(&0) {
        let space = text.iter().take(20).position(|byte| *byte == b' ').ok_or_else(bad)?;
        let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse::<u64>().ok();
        let length = text.get(..space).and_then(number).and_then(|l| usize::try_from(l).ok());
        let line = length.and_then(|length| text.get(..length)).ok_or_else(bad)?;
        let pair = line.get(space + 1..).and_then(|l| l.strip_suffix(b"\n")).ok_or_else(bad)?;
        if let Some(path) = pair.strip_prefix(b"path=") {
            said.path = Some(path.to_vec());
        } else if let Some(size) = pair.strip_prefix(b"size=") {
            said.size = Some(number(size).ok_or_else(bad)?);
        } else if pair.starts_with(b"GNU.sparse.") {
            return Err(damaged("it holds a file with holes, as only GNU tar writes them"));
        }
        text = text.get(line.len()..).unwrap_or_default();
    }
    Ok(said)
}

fn damaged(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

fn too_long() -> io::Error {
    damaged("a record in it is longer than any needs to be")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &[u8], kind: tar::EntryType, size: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        if let Some(gnu) = header.as_gnu_mut() {
            gnu.name[..name.len()].copy_from_slice(name);
        }
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_cksum();
        header
    }

    fn member(name: &[u8], kind: tar::EntryType, data: &[u8]) -> Vec<u8> {
        let mut bytes = header(name, kind, data.len() as u64).as_bytes().to_vec();
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }

    /// A member's path, its size, whether it is a file, and how it begins.
    type Found = (String, u64, bool, Vec<u8>);

    fn all<R: Read>(mut reader: TarReader<R>) -> Result<Vec<Found>, String> {
        let mut found = Vec::new();
        while let Some(member) = reader.next_member().map_err(|e| e.to_string())? {
            let mut start = Vec::new();
            reader.by_ref().take(4).read_to_end(&mut start).map_err(|e| e.to_string())?;
            found.push((String::from_utf8_lossy(&member.path).into(), member.size, member.is_file, start));
        }
        Ok(found)
    }

    #[test]
    fn members_come_in_order_with_their_long_names() {
        let file = tar::EntryType::Regular;
        let long = "x".repeat(300);
        let line = format!("{} path=y/{long}\n", long.len() + 12);
        let archive = [
            member(b"a", file, b"content of a"),
            member(b"././@LongLink", tar::EntryType::GNULongName, format!("{long}\0").as_bytes()),
            member(b"cut", file, b"b"),
            member(b"pax", tar::EntryType::XHeader, line.as_bytes()),
            member(b"cut", file, &[7; 513]),
            member(b"to/", tar::EntryType::Directory, b""),
            member(b"link", tar::EntryType::Symlink, b""),
            vec![0; 1024],
            b"behind it".to_vec(),
        ]
        .concat();
        let expected = vec![
            ("a".into(), 12, true, b"cont".to_vec()),
            (long.clone(), 1, true, b"b".to_vec()),
            (format!("y/{long}"), 513, true, vec![7; 4]),
            ("to/".into(), 0, false, Vec::new()),
            ("link".into(), 0, false, Vec::new()),
        ];
        assert_eq!(all(TarReader::new(&archive[..])), Ok(expected.clone()));
        assert_eq!(all(TarReader::seeking(io::Cursor::new(&archive))), Ok(expected));
        assert_eq!(all(TarReader::new(&b""[..])), Ok(vec![]));
    }

    #[test]
    fn what_a_header_says_of_its_size_is_not_believed() {
        let file = tar::EntryType::Regular;
        let endless = io::repeat(0);
        for (kind, size, why) in [
            (tar::EntryType::GNULongName, 6 << 30, "longer than any needs to be"),
            (tar::EntryType::GNULongLink, 6 << 30, "longer than any needs to be"),
            (tar::EntryType::XHeader, 6 << 30, "longer than any needs to be"),
            (tar::EntryType::XGlobalHeader, 6 << 30, "longer than any needs to be"),
            (tar::EntryType::GNUSparse, 512, "a file with holes"),
            (file, 6 << 30, "end of file"),
            (file, u64::MAX - 600, "end of file"),
        ] {
            let start = header(b"x", kind, size).as_bytes().to_vec();
            let archive = [start, vec![0; 4096]].concat();
            for error in [
                all(TarReader::new(&archive[..])).expect_err("refused"),
                all(TarReader::seeking(io::Cursor::new(&archive))).expect_err("refused"),
            ] {
                let fits = error.contains(why) || error.contains("longer than any");
                assert!(fits, "{kind:?} {size}: {error}");
            }
        }
        // Records one behind the other, without end.
        let record = member(b"x", tar::EntryType::GNULongName, b"name");
        let error = all(TarReader::new(&record.repeat(100)[..])).expect_err("refused");
        assert!(error.contains("too many records"), "{error}");
        // An archive that is nothing but zeros ends at once.
        assert_eq!(all(TarReader::new(endless)), Ok(vec![]));
        let garbled = member(b"x", tar::EntryType::XHeader, b"99999999999999999999 path=x\n");
        assert!(all(TarReader::new(&garbled[..])).expect_err("refused").contains("garbled"));
        let other = [7; 512];
        assert!(all(TarReader::new(&other[..])).expect_err("refused").contains("header is none"));
    }
}
