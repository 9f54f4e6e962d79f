//! Offline bundles: what is packed, what is unpacked, and what is refused.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use quaylab::lab::ImageRequest;
use serde_json::{Value, json};

const MANIFEST: &str = "quaylab-bundle.json";

/// A machine with a home of its own.
struct Machine {
    home: tempfile::TempDir,
}

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Machine {
    fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn path(&self, name: &str) -> String {
        self.at(name).to_string_lossy().into_owned()
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.at(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.home.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.home.path())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.ran(self.command(env!("CARGO_BIN_EXE_quaylab")).args(arguments))
    }

    /// The same after lines of `sh`.
    fn run_after(&self, lines: &str, arguments: &[&str]) -> Ran {
        let line = format!("{lines}\nexec \"$0\" \"$@\"");
        self.ran(self.command("/bin/sh").args(["-c", &line, env!("CARGO_BIN_EXE_quaylab")]).args(arguments))
    }

    fn ran(&self, command: &mut Command) -> Ran {
        let output = command.output().unwrap();
        let home = self.home.path().to_string_lossy().into_owned();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&home, "HOME");
        Ran { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Every file below the home with what it holds.
    fn tree(&self) -> BTreeMap<String, Vec<u8>> {
        let mut all = BTreeMap::new();
        walk(self.home.path(), "", &mut all);
        all
    }
}

fn walk(folder: &Path, below: &str, all: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = format!("{below}{}", entry.file_name().to_string_lossy());
        if entry.file_type().unwrap().is_dir() {
            all.insert(format!("{name}/"), Vec::new());
            walk(&entry.path(), &format!("{name}/"), all);
        } else {
            all.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
}

fn good(ran: &Ran) {
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
}

/// An archive as `docker save` writes it, as far as that is looked at.
fn archive(tag: &str, size: usize) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let list = json!([{"Config": "0.json", "RepoTags": [tag], "Layers": ["layer.tar"]}]).to_string();
    for (name, data) in [("layer.tar", vec![7; size]), ("manifest.json", list.into_bytes())] {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, &data[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Longer than a name in tar's own header.
const LONG: &str = "roles/mine/files/a folder whose name is rather long, as those of generated documentation are/and a file in it, \
                    with a name of its own that is not short either: é.txt";

/// The quickstart's inventory with files of this machine, and no hypervisor brought up for it.
fn lab(machine: &Machine) {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/inventories/quickstart.inv"));
    let made = machine.path("made");
    let text = text.unwrap().replace("/var/cache/quaylab/images", &made);
    assert!(text.contains("libvirt_private=auto"));
    machine.put("quickstart.inv", text.replace("libvirt_private=auto", "libvirt_private=false"));
    for (file, tag) in
        [("postgresql-15", "postgresql:15"), ("redis-7", "redis:7"), ("registry-2", "registry:2")]
    {
        machine.put(&format!("made/{file}.tar"), archive(&format!("localhost/quaylab/{tag}"), 40_000));
    }
    // A raw disk: holes, something, holes.
    let mut disk = vec![0; 2 << 20];
    disk[1 << 20..(1 << 20) + 5].copy_from_slice(b"hello");
    machine.put("made/debian-12.qcow2", disk);
    machine.put(
        "roles/mine/tasks/main.yml",
        "- ansible.builtin.script: hello.sh\n  register: said\n- ansible.builtin.debug: {var: said.stdout}\n",
    );
    let script = machine.put("roles/mine/files/hello.sh", "#!/bin/sh\necho from the bundle\n");
    std::fs::set_permissions(script, std::fs::Permissions::from_mode(0o755)).unwrap();
    machine.put(LONG, "far down");
    machine.put("debs/pool/a_1_all.deb", "a package");
    machine.put("debs/Packages", "Package: a\n");
}

const CREATE: [&str; 8] =
    ["bundle", "create", "-i", "quickstart.inv", "--out", "lab.bundle", "--packages", "debs"];

#[test]
fn a_lab_goes_to_another_machine() {
    let (here, there) = (Machine::new(), Machine::new());
    lab(&here);
    let made = here.run(&CREATE);
    good(&made);
    assert!(made.out.contains("redis-7.tar"), "{}", made.out);
    assert!(made.out.contains("localhost/quaylab/redis:7"), "{}", made.out);
    assert!(
        made.err.contains("pulled by a run that uses them: clair_image, mysql_image, quay_image"),
        "{}",
        made.err
    );
    let bundle = here.path("lab.bundle");
    assert!(
        !here.tree().keys().any(|name| std::path::Path::new(name).extension().is_some_and(|e| e == "part")),
        "{:?}",
        here.tree().keys()
    );

    // The same files give the same bytes, whenever and wherever; the list is what was printed.
    let again = Machine::new();
    lab(&again);
    std::thread::sleep(Duration::from_millis(1100));
    good(&again.run(&CREATE));
    assert!(std::fs::read(&bundle).unwrap() == std::fs::read(again.path("lab.bundle")).unwrap());
    good(&here.run(&CREATE));
    assert!(std::fs::read(&bundle).unwrap() == std::fs::read(again.path("lab.bundle")).unwrap());
    let told = there.run(&["bundle", "ls", &bundle]);
    good(&told);
    assert!(made.out.starts_with(&told.out), "{}\n{}", told.out, made.out);
    let json: Value = serde_json::from_str(&there.run(&["bundle", "ls", "--json", &bundle]).out).unwrap();
    assert_eq!(json["name"], json!("quickstart"));
    assert!(!std::fs::read_to_string(&bundle).is_ok_and(|text| text.contains(&here.path(""))));

    let loaded = there.run(&["bundle", "load", &bundle]);
    good(&loaded);
    let folder = ".local/share/quaylab/bundles/quickstart";
    let tree = there.tree();
    for (path, from) in [
        ("images/redis-7.tar", "made/redis-7.tar"),
        ("images/postgresql-15.tar", "made/postgresql-15.tar"),
        ("packages/pool/a_1_all.deb", "debs/pool/a_1_all.deb"),
        ("packages/Packages", "debs/Packages"),
        ("roles/mine/files/hello.sh", "roles/mine/files/hello.sh"),
        (LONG, LONG),
    ] {
        assert_eq!(tree.get(&format!("{folder}/{path}")), here.tree().get(from), "{path}");
    }
    let bits = |file: &str| std::fs::metadata(there.at(folder).join(file)).unwrap().permissions().mode();
    assert_eq!(bits("roles/mine/files/hello.sh") & 0o111, 0o111);
    assert_eq!(bits("images/redis-7.tar") & 0o111, 0);
    let disk: Vec<_> = tree
        .iter()
        .filter(|(name, _)| name.starts_with(".cache/quaylab/images/") && name.ends_with("-debian-12.qcow2"))
        .collect();
    assert_eq!(disk.len(), 1, "{:?}", tree.keys());
    assert!(*disk[0].1 == here.tree()["made/debian-12.qcow2"]);
    assert!(there.run(&["image", "ls"]).out.contains("debian-12.qcow2"));
    assert!(!tree.keys().any(|name| name.contains(".loading-")), "{:?}", tree.keys());

    // A run with the file of variables finds all of it, and the roles.
    there.put("quickstart.inv", std::fs::read(here.at("quickstart.inv")).unwrap());
    there.put(
        "site.yml",
        "- hosts: lab\n  gather_facts: false\n  become: false\n  roles: [mine]\n  tasks:\n  - ansible.builtin.assert:\n      that:\n      \
         - redis_image_archive is file\n      - postgresql_image_archive is file\n      - registry_image_archive is file\n      \
         - image_uri is file\n      - quaylab_bundle_packages is directory\n      - redis_image_archive.startswith(quaylab_bundle)\n",
    );
    let line = loaded.out.lines().last().unwrap().trim().replace("HOME", &there.path(""));
    let (roles, variables) = line.split_once(" quaylab run -i INVENTORY -e ").unwrap();
    let roles = roles.strip_prefix("ANSIBLE_ROLES_PATH=").unwrap();
    let mut command = there.command(env!("CARGO_BIN_EXE_quaylab"));
    command.args(["run", "-i", "quickstart.inv", "site.yml", "-c", "local", "-e", variables]);
    let ran = there.ran(command.env("ANSIBLE_ROLES_PATH", roles));
    good(&ran);
    assert!(ran.out.contains("from the bundle"), "{}", ran.out);

    // Loaded again, it takes the place of what was loaded, and leaves the guest image alone.
    there.put(&format!("{folder}/images/redis-7.tar"), "spoiled");
    let again = there.run(&["bundle", "load", &bundle]);
    good(&again);
    assert!(again.out.contains("loaded again") && again.out.contains("(was there already)"), "{}", again.out);
    let mut after = there.tree();
    after.retain(|name, _| name.starts_with(folder));
    let mut before = tree;
    before.retain(|name, _| name.starts_with(folder));
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    assert!(after == before);
}

#[test]
fn hosts_keep_what_is_their_own() {
    let (here, there) = (Machine::new(), Machine::new());
    here.put("a.tar", archive("x:1", 10));
    here.put("sub/a.tar", archive("x:2", 10));
    here.put(
        "two.inv",
        "[lab]\na redis_image_archive=a.tar\nb redis_image_archive=sub/a.tar\nc\n[lab:vars]\nansible_connection=local\n\
         quay_images=[{'name': 'n/x', 'source': '{{ \"{{\" }}', 'archive': 'a.tar'}, {'name': 'n/y', 'source': 'y'}]\n",
    );
    good(&here.run(&["bundle", "create", "-i", "two.inv", "-o", "two.bundle"]));
    good(&there.run(&["bundle", "load", &here.path("two.bundle"), "--into", "here/it is"]));
    there.put("two.inv", std::fs::read(here.at("two.inv")).unwrap());
    there.put(
        "site.yml",
        "- hosts: lab\n  gather_facts: false\n  tasks:\n  - ansible.builtin.debug:\n      msg: \"{{ inventory_hostname }}={{ redis_image_archive }} {{ quay_images[0].archive }} {{ quay_images[1] }}\"\n",
    );
    let ran = there.run(&["run", "-i", "two.inv", "site.yml", "-e", "@here/it is/bundle.yml"]);
    good(&ran);
    let images = "HOME/here/it is/images";
    for line in [
        format!("a={images}/a.tar {images}/a.tar {{'name': 'n/y', 'source': 'y'}}"),
        format!("b={images}/2/a.tar "),
        format!("c= {images}/a.tar"),
    ] {
        assert!(ran.out.contains(&line), "{line}: {}", ran.out);
    }
}

#[test]
fn a_guest_image_of_the_net_is_found_in_the_cache() {
    let (here, there) = (Machine::new(), Machine::new());
    let disk = vec![0_u8; 1 << 20];
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&disk).unwrap();
    let packed = packed.finish().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let bodies = [disk.clone(), packed];
    let server = std::thread::spawn(move || {
        for _ in 0..2 {
            let (mut socket, _) = listener.accept().unwrap();
            let mut head = [0; 4096];
            let count = socket.read(&mut head).unwrap();
            let body = &bodies[usize::from(head[..count].starts_with(b"GET /disk.img.gz "))];
            write!(socket, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len())
                .unwrap();
            socket.write_all(body).unwrap();
        }
    });
    let uris = [format!("{base}/disk.img"), format!("{base}/disk.img.gz")];
    here.put(
        "net.inv",
        format!("[hypervisor]\nhv ansible_connection=local\n[lab]\na image_uri={}\nb image_uri={}\nc image_uri=/none provision=false\n[lab:vars]\nimage_checksum=none\n", uris[0], uris[1]),
    );
    good(&here.run(&["bundle", "create", "-i", "net.inv", "-o", "net.bundle"]));
    server.join().unwrap();
    let bundle = here.path("net.bundle");
    good(&there.run(&["bundle", "load", &bundle]));
    // Nothing serves them any more, and no variable is needed.
    let variables = std::fs::read_to_string(there.at(".local/share/quaylab/bundles/net/bundle.yml")).unwrap();
    assert!(!variables.contains("image_uri"), "{variables}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for uri in uris {
        let request =
            ImageRequest { uri, checksum: Some("none".into()), cache_dir: there.at(".cache/quaylab/images") };
        let image = runtime.block_on(request.cached()).unwrap().unwrap();
        assert!(std::fs::read(image.path).unwrap() == disk, "{}", request.uri);
    }

    // An image that VMs may stand on is not replaced by another.
    let cached = there.tree().into_keys().find(|name| name.ends_with("-disk.img")).unwrap();
    there.put(&cached, "another");
    let before = there.tree();
    let refused = there.run(&["bundle", "load", &bundle]);
    assert_eq!(refused.code, Some(5), "{}", refused.err);
    assert!(refused.err.contains("is there already, and is another image"), "{}", refused.err);
    assert!(there.tree() == before);
}

type Entry<'a> = (&'a str, tar::EntryType, &'a [u8]);

/// A bundle of any content.
fn bundle(entries: &[Entry]) -> Vec<u8> {
    let mut builder = tar::Builder::new(zstd::Encoder::new(Vec::new(), 1).unwrap());
    for (name, kind, data) in entries {
        let mut header = tar::Header::new_gnu();
        // Names that the crate would refuse are written as they are.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        if *kind == tar::EntryType::Symlink {
            header.set_size(0);
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        builder.append(&header, if *kind == tar::EntryType::Symlink { &[][..] } else { data }).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn manifest(paths: &[&str]) -> Value {
    let members: Vec<Value> =
        paths.iter().map(|path| json!({"path": path, "bytes": 0, "sha256": EMPTY})).collect();
    json!({"format": 1, "name": "x", "members": members})
}

#[test]
fn what_is_no_bundle_is_refused_and_nothing_is_left() {
    let file = tar::EntryType::Regular;
    let with = |list: &Value, rest: &[Entry]| {
        let text = list.to_string();
        let mut entries = vec![(MANIFEST, file, text.as_bytes())];
        entries.extend(rest);
        bundle(&entries)
    };
    let one = ("images/a", file, &b""[..]);
    let good_list = manifest(&["images/a"]);
    let mut newer = good_list.clone();
    newer["format"] = json!(2);
    newer["more"] = json!([]);
    let mut named = good_list.clone();
    named["name"] = json!("../x");
    let mut wrong = good_list.clone();
    wrong["members"][0]["sha256"] = json!("0".repeat(64));
    let mut used = good_list.clone();
    used["uses"] =
        json!([{"setting": {"archive": {"variable": "ansible_become_password", "member": "images/a"}}}]);
    let whole = with(&good_list, &[one]);
    let trailing = [&whole[..], b"more"].concat();
    let twice = [&whole[..], &zstd::encode_all(&vec![0_u8; 2 << 20][..], 1).unwrap()].concat();

    // A header may say what it likes: neither memory nor disk is taken for it.
    let claims = |kind: tar::EntryType, name: &str, size: u64| {
        let mut header = tar::Header::new_gnu();
        header.set_path(name).unwrap();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_cksum();
        let tar = [header.as_bytes().to_vec(), vec![0; 1 << 20]].concat();
        zstd::encode_all(&tar[..], 1).unwrap()
    };

    let machine = Machine::new();
    std::fs::create_dir(machine.at("folder")).unwrap();
    for (name, bytes, why) in [
        (
            "long-name",
            claims(tar::EntryType::GNULongName, "././@LongLink", 6 << 30),
            "longer than any needs to be",
        ),
        (
            "long-link",
            claims(tar::EntryType::GNULongLink, "././@LongLink", 6 << 30),
            "longer than any needs to be",
        ),
        ("pax", claims(tar::EntryType::XHeader, "pax", 6 << 30), "longer than any needs to be"),
        ("pax-global", claims(tar::EntryType::XGlobalHeader, "pax", 6 << 30), "longer than any needs to be"),
        ("sparse", claims(tar::EntryType::GNUSparse, MANIFEST, 6 << 30), "a file with holes"),
        ("long-list", claims(file, MANIFEST, 6 << 30), "its list is longer than 32 MiB"),
        ("cut-list", claims(file, MANIFEST, 2 << 20), "it ends before its list"),
        (
            "newline",
            with(&manifest(&["images/a\nb"]), &[("images/a\nb", file, b"")]),
            "holds a control character",
        ),
        ("device", with(&good_list, &[("images/a", tar::EntryType::Char, b"")]), "something else stands"),
        ("hard-link", with(&good_list, &[("images/a", tar::EntryType::Link, b"")]), "something else stands"),
        ("whole", whole, ""),
        ("empty", vec![], "is no bundle of quaylab: it does not begin as one"),
        ("text", b"a text".to_vec(), "does not begin as one"),
        ("zstd", zstd::encode_all(&b"a text"[..], 1).unwrap(), "a list of what it holds"),
        ("tar", bundle(&[("else", file, b"x")]), "it does not begin with a list of what it holds"),
        ("garbled", bundle(&[(MANIFEST, file, b"{")]), "its list is not understood"),
        ("newer", with(&newer, &[one]), "is a bundle of format 2, and this quaylab reads format 1"),
        ("absolute", with(&manifest(&["/etc/x"]), &[("/etc/x", file, b"")]), "is not below"),
        ("above", with(&manifest(&["images/../../x"]), &[("images/../../x", file, b"")]), "leads out of"),
        ("named", with(&named, &[one]), "its list is not understood: the name"),
        ("sets", with(&used, &[one]), "is no variable for an archive"),
        ("twice", with(&manifest(&["images/a", "images/a"]), &[one, one]), "listed twice"),
        ("link", with(&good_list, &[("images/a", tar::EntryType::Symlink, b"")]), "something else stands"),
        ("other", with(&good_list, &[("images/b", file, b"")]), "something else stands where images/a"),
        ("escapes", with(&good_list, &[("../a", file, b"")]), "something else stands where images/a"),
        ("missing", with(&good_list, &[]), "it ends before images/a"),
        ("longer", with(&good_list, &[("images/a", file, b"x")]), "something else stands"),
        ("more", with(&good_list, &[one, ("images/b", file, b"")]), "more follows than its list says"),
        ("digest", with(&wrong, &[one]), "images/a is not what its digest is of"),
        ("trailing", trailing, "is damaged"),
        ("appended", twice, "more follows than its list says"),
    ] {
        machine.put(name, bytes);
        let before = machine.tree();
        let ran = machine.run(&["bundle", "load", name]);
        if why.is_empty() {
            good(&ran);
            std::fs::remove_dir_all(machine.at(".local")).unwrap();
            continue;
        }
        assert_eq!(ran.code, Some(5), "{name}: {}", ran.err);
        assert!(ran.err.starts_with("error: ") && ran.err.contains(why), "{name}: {}", ran.err);
        assert!(ran.err.contains("\n  hint: "), "{name}: {}", ran.err);
        assert!(machine.tree() == before, "{name} left something: {:?}", machine.tree().keys());
    }
    assert!(machine.run(&["bundle", "load", "folder"]).err.contains("it is no file"));
    let none = machine.run(&["bundle", "load", "none"]);
    assert_eq!(none.code, Some(1), "{}", none.err);
    assert!(none.err.contains("reading none: No such file"), "{}", none.err);
}

/// What cannot be compressed, so that the bytes of a bundle are everywhere in it.
fn noise(length: u32, shift: u32) -> Vec<u8> {
    (0..length).map(|n| (n.wrapping_mul(2_654_435_761) >> shift).to_le_bytes()[0]).collect()
}

#[test]
fn a_small_bundle_that_claims_gigabytes_takes_no_memory() {
    let machine = Machine::new();
    // Gigabytes of nothing, which are packed to less than a megabyte: a name that long, and a list that long.
    for (name, kind) in [("././@LongLink", tar::EntryType::GNULongName), (MANIFEST, tar::EntryType::Regular)]
    {
        let mut header = tar::Header::new_gnu();
        header.set_path(name).unwrap();
        header.set_entry_type(kind);
        header.set_size(6 << 30);
        header.set_cksum();
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.write_all(header.as_bytes()).unwrap();
        let block = vec![0; 1 << 20];
        for _ in 0..2 << 10 {
            encoder.write_all(&block).unwrap();
        }
        machine.put("bomb.bundle", encoder.finish().unwrap());
        assert!(std::fs::metadata(machine.at("bomb.bundle")).unwrap().len() < 1 << 20);
        for arguments in [["bundle", "ls", "bomb.bundle"], ["bundle", "load", "bomb.bundle"]] {
            let ran = machine.run_after("ulimit -v 1048576", &arguments);
            assert_eq!(ran.code, Some(5), "{arguments:?}: {}", ran.err);
        }
    }
}

#[test]
fn every_cut_and_every_flipped_bit_is_noticed() {
    let machine = Machine::new();
    machine.put("debs/a.deb", noise(3000, 13));
    good(&machine.run(&["bundle", "create", "--packages", "debs", "-o", "a.bundle"]));
    let whole = std::fs::read(machine.at("a.bundle")).unwrap();
    let before = machine.tree();
    let spoiled = (0..24)
        .map(|n| n * whole.len() / 24)
        .chain([whole.len() - 1])
        .map(|at| (format!("cut at {at}"), whole[..at].to_vec()));
    let flipped = (0..24).map(|n| n * whole.len() / 24).chain([whole.len() - 1]).map(|at| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        (format!("flipped at {at}"), bytes)
    });
    for (what, bytes) in spoiled.chain(flipped) {
        machine.put("b.bundle", bytes);
        let ran = machine.run(&["bundle", "load", "b.bundle"]);
        assert_eq!(ran.code, Some(5), "{what}: {}{}", ran.out, ran.err);
        std::fs::remove_file(machine.at("b.bundle")).unwrap();
        assert!(machine.tree() == before, "{what} left something");
    }
}

#[test]
fn a_folder_of_somebody_else_is_left_alone() {
    let machine = Machine::new();
    machine.put("debs/a.rpm", "x");
    machine.put("mine/file", "x");
    std::fs::create_dir(machine.at("empty")).unwrap();
    good(&machine.run(&["bundle", "create", "--packages", "debs", "-o", "a.bundle"]));
    let before = machine.tree();
    let ran = machine.run(&["bundle", "load", "a.bundle", "--into", "mine"]);
    assert_eq!(ran.code, Some(5), "{}", ran.err);
    assert!(ran.err.contains("no bundle was loaded into it"), "{}", ran.err);
    assert!(machine.tree() == before);
    good(&machine.run(&["bundle", "load", "a.bundle", "--into", "empty"]));
    assert!(machine.at("empty/packages/a.rpm").is_file());
}

#[test]
fn where_there_is_no_room_nothing_is_left() {
    let machine = Machine::new();
    machine.put("debs/a.deb", noise(900_000, 11));
    let create = ["bundle", "create", "--packages", "debs", "-o", "a.bundle"];
    let before = machine.tree();
    // The kernel says so in the middle of a file.
    let short = machine.run_after("trap '' XFSZ; ulimit -f 200", &create);
    assert_eq!(short.code, Some(1), "{}", short.err);
    assert!(
        short.err.contains("a.bundle: File too large") && short.err.contains("make room"),
        "{}",
        short.err
    );
    assert!(machine.tree() == before);
    good(&machine.run(&create));
    let before = machine.tree();
    let short = machine.run_after("trap '' XFSZ; ulimit -f 200", &["bundle", "load", "a.bundle"]);
    assert_eq!(short.code, Some(1), "{}", short.err);
    assert!(short.err.contains("a.deb: File too large"), "{}", short.err);
    assert!(machine.tree() == before, "{:?}", machine.tree().keys());

    // A file system that is too small is known beforehand.
    let small = "mkdir -p small && mount -t tmpfs -o size=512k none small";
    let probe = Command::new("unshare").args(["-rm", "true"]).status();
    assert!(probe.is_ok_and(|s| s.success()), "this user may not make namespaces");
    let inside = format!("{small} && exec \"$0\" bundle load a.bundle --into small/it");
    let ran = machine.ran(machine.command("unshare").args([
        "-rm",
        "sh",
        "-c",
        &inside,
        env!("CARGO_BIN_EXE_quaylab"),
    ]));
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.err.contains("HOME/small has 0 MiB free, and 1 MiB are needed"), "{}", ran.err);
}

/// Whether a name with this part is somewhere below. No program is started to look: the moment would be over.
fn somewhere(folder: &Path, part: &str) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().contains(part))
            || path.is_dir() && somewhere(&path, part)
    })
}

/// Waits until a name of this beginning or end is somewhere below.
fn wait_for(machine: &Machine, part: &str) {
    let end = Instant::now() + Duration::from_secs(60);
    while !somewhere(machine.home.path(), part) {
        assert!(Instant::now() < end, "{part} did not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_is_interrupted_leaves_nothing() {
    let machine = Machine::new();
    machine.put("debs/a.deb", []);
    // Holes: much to read, nothing to keep.
    let large = std::fs::File::options().write(true).open(machine.at("debs/a.deb")).unwrap();
    large.set_len(80 << 20).unwrap();
    let create = ["bundle", "create", "--packages", "debs", "-o", "a.bundle"];
    let load = ["bundle", "load", "a.bundle"];
    let interrupted = |arguments: &[&str], sign: &str, signal: rustix::process::Signal, code: i32| {
        let mut command = machine.command(env!("CARGO_BIN_EXE_quaylab"));
        let child = command.args(arguments).stderr(Stdio::piped()).spawn().unwrap();
        wait_for(&machine, sign);
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains("stopped"), "{said}");
    };
    let names = || machine.tree().into_keys().collect::<Vec<_>>();
    let before = names();
    interrupted(&create, ".a.bundle.", rustix::process::Signal::INT, 130);
    assert_eq!(names(), before);
    good(&machine.run(&create));
    let before = names();
    for (signal, code) in [(rustix::process::Signal::TERM, 143), (rustix::process::Signal::HUP, 129)] {
        interrupted(&load, ".loading-", signal, code);
        assert_eq!(names(), before);
    }
}

#[test]
fn what_cannot_be_packed_is_said_where_it_stands() {
    let machine = Machine::new();
    machine.put("redis-7.tar", archive("redis:7", 10));
    machine.put("text.tar", [0; 1024]);
    machine.put("role/tasks/main.yml", "[]\n");
    machine.put("missing.inv", "[lab]\na redis_image_archive=redis-8.tar\n");
    machine.put("facts.inv", "[lab]\na redis_image_archive='{{ ansible_distribution }}.tar'\n");
    machine.put("none.inv", "[lab]\na\n");
    machine.put("image.inv", "[hypervisor]\nhv\n[lab]\na image_uri=/no/disk.qcow2\n");
    std::fs::create_dir(machine.at("empty")).unwrap();
    let before = machine.tree();
    for (arguments, code, said) in [
        (&[][..], 5, "no inventory is given"),
        (
            &["-i", "missing.inv"],
            5,
            "there is no file redis-8.tar, which redis_image_archive names\n --> missing.inv:2:",
        ),
        (&["-i", "missing.inv"], 5, "hint: did you mean redis-7.tar?"),
        (&["-i", "facts.inv"], 5, "redis_image_archive of a cannot be known before a run"),
        (&["-i", "none.inv"], 5, "there is nothing to pack"),
        (&["-i", "image.inv"], 1, "image_uri: reading /no/disk.qcow2: No such file"),
        (&["--image", "text.tar"], 5, "text.tar holds no manifest.json: it is not an image archive"),
        (&["--packages", "empty"], 5, "empty holds no package"),
        (&["--packages", "nowhere"], 1, "reading nowhere: No such file"),
        (&["--role", "empty"], 5, "empty is no role"),
        (&["--image", "redis-7.tar", "--name", "a/b"], 5, "the name \"a/b\" is not one of letters"),
        (&["--image", "redis-7.tar", "--out", "empty"], 5, "empty is a folder"),
        (&["--image", "redis-7.tar", "--out", "no/x"], 1, "no/x: No such file"),
    ] {
        let mut line = vec!["bundle", "create"];
        line.extend(arguments);
        if !arguments.contains(&"--out") {
            line.extend(["--out", "a.bundle"]);
        }
        let ran = machine.run(&line);
        assert_eq!(ran.code, Some(code), "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains(said), "{arguments:?}: {}", ran.err);
        let mut after = machine.tree();
        // The cache of guest images is made before one is looked for.
        after.retain(|name, _| !name.starts_with(".cache/"));
        assert!(after == before, "{arguments:?} left something: {:?}", after.keys());
    }
    // By hand it goes in, for the variable that could not be known.
    let given = [
        "bundle",
        "create",
        "-i",
        "facts.inv",
        "--image",
        "redis_image_archive=redis-7.tar",
        "--role",
        "role",
    ];
    let ran = machine.run(&[&given[..], &["-o", "a.bundle"]].concat());
    good(&ran);
    assert!(ran.out.contains("redis:7") && ran.out.contains("role "), "{}", ran.out);
    good(&machine.run(&["bundle", "load", "a.bundle", "--into", "it"]));
    let variables = std::fs::read_to_string(machine.at("it/bundle.yml")).unwrap();
    assert!(
        variables.contains(&format!("redis_image_archive: \"{}\"", machine.path("it/images/redis-7.tar")))
    );
}
