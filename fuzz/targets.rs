// What is fuzzed: each function takes any bytes, and may only return. Shared by cargo-fuzz (fuzz_targets/) and by tests/fuzz.rs.

use std::sync::{Arc, OnceLock};

use std::io::{Cursor, Read as _};

use quaylab::archive::{IsoImage, TarReader};
use quaylab::bundle::read_manifest;
use quaylab::diag::{Origin, SourceFile};
use quaylab::host::{Frame, FrameReader};
use quaylab::inventory::Inventory;
use quaylab::lab::read_content;
use quaylab::playbook::{Folder, Loader};
use quaylab::vault::{Envelope, Key, Vault};
use quaylab::yaml::{self, Kind, Node};

/// What is done with arbitrary bytes.
type Target = fn(&[u8]);

/// A target's name and what it does.
pub(crate) const TARGETS: [(&str, Target); 10] = [
    ("inventory", inventory),
    ("yaml", document),
    ("pattern", pattern),
    ("vault", vault),
    ("splitter", splitter),
    ("image", image),
    ("iso", iso),
    ("tar", archive),
    ("bundle", bundle),
    ("frames", frames),
];

/// A folder in memory.
fn folder() -> &'static tempfile::TempDir {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    FOLDER
        .get_or_init(|| tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder"))
}

/// An INI or YAML inventory, read from a file in memory.
pub(crate) fn inventory(data: &[u8]) {
    let folder = folder();
    let ending = if data.first().is_some_and(|b| b % 2 == 0) { "ini" } else { "yml" };
    let path = folder.path().join(format!("hosts.{ending}"));
    std::fs::write(&path, data.get(1..).unwrap_or_default()).expect("written");
    let _ = Inventory::load(&[path.to_string_lossy().into_owned()]).map(|(inventory, _)| {
        for host in inventory.hosts().map(str::to_owned).take(50).collect::<Vec<_>>() {
            let _ = inventory.host_vars(&host);
        }
    });
}

/// Any YAML document.
pub(crate) fn document(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = yaml::load(&SourceFile::new("fuzz.yml", text.as_ref()));
}

/// A host pattern, on an inventory with some of everything.
pub(crate) fn pattern(data: &[u8]) {
    static HOSTS: OnceLock<Inventory> = OnceLock::new();
    let inventory = HOSTS.get_or_init(|| {
        let mut inventory = Inventory::load(&[]).expect("nothing to read").0;
        for (host, groups) in
            [("web01", ["web", "eu"]), ("web02", ["web", "us"]), ("db.example.com", ["db", "eu"])]
        {
            inventory.add_host(host, &groups.map(str::to_owned), indexmap::IndexMap::new());
        }
        inventory
    });
    let text = String::from_utf8_lossy(data);
    // A limit may name a file, which is not what is tried here.
    let (pattern, limit) = text.split_once('\n').map_or((text.as_ref(), None), |(p, l)| (p, Some(l)));
    let limit = limit.filter(|l| !l.contains('@'));
    let _ = inventory.select_limited(pattern, limit);
}

/// A vault text.
pub(crate) fn vault(data: &[u8]) {
    static KEYS: OnceLock<Arc<Vault>> = OnceLock::new();
    let keys = KEYS.get_or_init(|| Arc::new(Vault::new(vec![Key::new("default", "secret")])));
    let text = String::from_utf8_lossy(data);
    // Drawing a key takes ten thousand rounds: only what has a whole body gets that far.
    if Envelope::parse(&text).is_ok() {
        let _ = keys.open(&text);
    }
}

/// A task's arguments on one line.
pub(crate) fn splitter(data: &[u8]) {
    static LOADER: OnceLock<Loader> = OnceLock::new();
    let loader = LOADER.get_or_init(|| Loader::new(Vec::new()));
    let text = String::from_utf8_lossy(data);
    let origin = Origin::synthetic("fuzz");
    let map = |pairs: Vec<(&'static str, Node)>| {
        let pairs = pairs.into_iter().map(|(key, value)| (Node::word(key, &origin), value)).collect();
        Node::new(Kind::Map(pairs), &origin)
    };
    let list = |items: Vec<Node>| Node::new(Kind::Seq(items.into()), &origin);
    // As JSON, which any text can be written as.
    let file = SourceFile::new("fuzz", serde_json::Value::from(text.as_ref()).to_string());
    let Ok((words, _)) = yaml::load_one(&file) else { return };
    for module in ["debug", "command", "copy", "set_fact"] {
        let tasks = list(vec![map(vec![(module, words.clone())])]);
        let play = map(vec![("hosts", Node::word("all", &origin)), ("tasks", tasks)]);
        let _ = loader.parsed(&list(vec![play]), &Folder::Disk("/nowhere".into()));
    }
}

/// A guest image: what it is, by its first and last bytes.
pub(crate) fn image(data: &[u8]) {
    let _ = read_content(&mut Cursor::new(data), data.len() as u64);
}

/// An ISO, of which an installer's files are taken. Its first 32 KiB, in which nothing stands, are left out.
pub(crate) fn iso(data: &[u8]) {
    let mut bytes = vec![0; 32 << 10];
    bytes.extend_from_slice(data);
    let Ok(mut iso) = IsoImage::open(Cursor::new(bytes)) else { return };
    for path in [".treeinfo", "images/pxeboot/vmlinuz", "images/pxeboot/initrd.img"] {
        if let Ok(Some(file)) = iso.find(path) {
            let _ = iso.copy(&file, 1 << 20, &mut std::io::sink());
        }
    }
}

/// A tar archive, read in both ways.
pub(crate) fn archive(data: &[u8]) {
    read_archive(data);
    read_archive(&summed(data));
}

/// Headers get the sum that they have to have, which one that was changed at random has not.
fn summed(data: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    for block in data.chunks_exact_mut(512).filter(|block| block[257..].starts_with(b"ustar")) {
        let sum: u32 =
            (0..512).map(|at| if (148..156).contains(&at) { 32 } else { u32::from(block[at]) }).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    data
}

fn read_archive(data: &[u8]) {
    let mut stream = TarReader::new(data);
    let mut start = Vec::new();
    while let Ok(Some(_)) = stream.next_member() {
        let _ = (&mut stream).take(1000).read_to_end(&mut start);
        start.clear();
    }
    let mut seeking = TarReader::seeking(Cursor::new(data));
    while let Ok(Some(_)) = seeking.next_member() {}
}

/// A bundle, of which the packing is left out: bytes that were changed at random would not get through it.
pub(crate) fn bundle(data: &[u8]) {
    let path = folder().path().join("fuzz.bundle");
    std::fs::write(&path, zstd::encode_all(&*summed(data), 1).expect("packed")).expect("written");
    let _ = read_manifest(&path);
}

/// What a host sends as the replies of a shell, in pieces of any size: how it is cut makes no difference, and nothing is made up.
pub(crate) fn frames(data: &[u8]) {
    let (size, stream) = data.split_first().map_or((1, data), |(size, rest)| (usize::from(*size) + 1, rest));
    let read = |size: usize| {
        let mut reader = FrameReader::of_mark("NNNN");
        let mut frames: Vec<Frame> = Vec::new();
        for piece in stream.chunks(size) {
            reader.feed(piece);
            loop {
                match reader.next_frame() {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(reason) => return (frames, Some(reason), reader.held()),
                }
            }
        }
        (frames, None, reader.held())
    };
    let (frames, error, held) = read(size);
    let carried: usize = frames.iter().map(|frame| frame.bytes.len()).sum();
    assert!(carried + held <= stream.len());
    let (whole, error_whole, _) = read(stream.len().max(1));
    assert_eq!((frames, error.is_some()), (whole, error_whole.is_some()));
}
