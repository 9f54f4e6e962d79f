//! Images by https: a server with a certificate of its own authority, connections that break, lists of checksums, packed images.
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};

/// What the server has, and what it was asked.
#[derive(Default)]
struct Site {
    files: Mutex<HashMap<String, Vec<u8>>>,
    /// Paths whose next answer breaks off in the middle.
    breaking: Mutex<Vec<String>>,
    /// Where paths lead to.
    moved: Mutex<HashMap<String, String>>,
    /// `PATH RANGE`, in order.
    asked: Mutex<Vec<String>>,
}

impl Site {
    fn put(&self, path: &str, content: &[u8]) {
        self.files.lock().unwrap().insert(path.to_owned(), content.to_vec());
    }

    fn answer(&self, head: &str) -> Vec<u8> {
        let path = head.split_whitespace().nth(1).unwrap_or_default().to_owned();
        let field = |name: &str| {
            head.lines().find_map(|l| {
                let (key, value) = l.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        let range = field("range").unwrap_or_default();
        self.asked.lock().unwrap().push(format!("{path} {range}"));
        if let Some(to) = self.moved.lock().unwrap().get(&path) {
            return format!(
                "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
            .into_bytes();
        }
        let files = self.files.lock().unwrap();
        let Some(content) = files.get(&path) else {
            return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec();
        };
        let tag = format!("\"{}\"", hex::encode(&Sha256::digest(content)[..4]));
        let same = field("if-range").is_none_or(|wanted| wanted == tag);
        let from: usize = range
            .strip_prefix("bytes=")
            .and_then(|r| r.strip_suffix('-'))
            .filter(|_| same)
            .and_then(|r| r.parse().ok())
            .unwrap_or(0);
        let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
        let rest = &content[from..];
        let mut reply = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nETag: {tag}\r\nConnection: close\r\n\r\n",
            rest.len()
        )
        .into_bytes();
        let mut breaking = self.breaking.lock().unwrap();
        let sent = if let Some(at) = breaking.iter().position(|p| *p == path) {
            breaking.remove(at);
            &rest[..rest.len() / 2]
        } else {
            rest
        };
        reply.extend_from_slice(sent);
        reply
    }
}

fn openssl(folder: &Path, arguments: &str) -> bool {
    let words = arguments.split_whitespace();
    Command::new("openssl").args(words).current_dir(folder).output().is_ok_and(|o| o.status.success())
}

/// A server on loopback; its address. `None` where certificates cannot be made.
fn serve(folder: &Path, site: &Arc<Site>) -> Option<String> {
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
    let made = [
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=quaylab-test-authority",
        "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout server.key -out server.csr -subj /CN=localhost",
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem",
    ]
    .iter()
    .all(|arguments| openssl(folder, arguments));
    if !made {
        return None;
    }
    let chain =
        CertificateDer::pem_file_iter(folder.join("server.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let site = Arc::clone(site);
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let Ok(connection) = rustls::ServerConnection::new(Arc::clone(&config)) else { continue };
            let mut stream = rustls::StreamOwned::new(connection, socket);
            let mut head = Vec::new();
            let mut byte = [0];
            // A client that does not believe the certificate says nothing more.
            while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                head.push(byte[0]);
            }
            if head.ends_with(b"\r\n\r\n") {
                let _ = stream.write_all(&site.answer(&String::from_utf8_lossy(&head)));
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
    });
    Some(format!("https://localhost:{port}"))
}

/// Fetches an image by a playbook, as a user would.
fn fetch(folder: &Path, uri: &str, checksum: Option<&str>, trusted: bool) -> Output {
    let checksum = checksum.map(|c| format!("        checksum: {c:?}\n")).unwrap_or_default();
    let playbook = format!(
        "- hosts: all\n  gather_facts: false\n  connection: local\n  tasks:\n    - quaylab.lab.virt_image:\n        image_uri: {uri:?}\n        cache_dir: '{}'\n{checksum}      register: image\n    - debug: {{msg: '{{{{ image.path }}}} {{{{ image.virtual_size }}}}'}}\n",
        folder.join("cache").display()
    );
    std::fs::write(folder.join("image.yml"), playbook).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_quaylab"));
    command.args(["run", "-i", "localhost,", "image.yml"]).current_dir(folder);
    command
        .env("XDG_STATE_HOME", folder.join("state"))
        .env_remove("SSL_CERT_DIR")
        .env_remove("SSL_CERT_FILE");
    if trusted {
        command.env("SSL_CERT_FILE", folder.join("ca.pem"));
    }
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn images_come_by_https_whole_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let site = Arc::new(Site::default());
    let Some(base) = serve(folder, &site) else {
        eprintln!("skipped: openssl makes no certificates here");
        return;
    };
    if Command::new("qemu-img").arg("--version").output().is_err() {
        eprintln!("skipped: qemu-img is not installed");
        return;
    }
    let raw: Vec<u8> = (0..300_000_u64).map(|i| u8::try_from(i * i % 251).unwrap()).collect();
    let length = raw.len().div_ceil(512) * 512;
    let digest = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
    site.put("/disk.img", &raw);

    // An authority that nobody vouched for.
    let output = fetch(folder, &format!("{base}/disk.img"), None, false);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).to_lowercase().contains("certificate"), "{}", said(&output));

    // The connection breaks; the next run goes on where it was.
    site.breaking.lock().unwrap().push("/disk.img".into());
    let output = fetch(folder, &format!("{base}/disk.img"), None, true);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    let output = fetch(folder, &format!("{base}/disk.img"), None, true);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(site.asked.lock().unwrap().last().unwrap(), "/disk.img bytes=150000-");
    assert!(said(&output).contains(&format!(" {length}")), "{}", said(&output));
    let requests = site.asked.lock().unwrap().len();
    let output = fetch(folder, &format!("{base}/disk.img"), None, true);
    assert!(said(&output).contains("changed=0"), "{}", said(&output));
    assert_eq!(site.asked.lock().unwrap().len(), requests, "it comes from the cache");

    // It breaks, and is another file when it is asked for again: the halves are not put together.
    site.put("/moving.img", &raw);
    site.breaking.lock().unwrap().push("/moving.img".into());
    assert!(!fetch(folder, &format!("{base}/moving.img"), None, true).status.success());
    let other = vec![3; 200_192];
    site.put("/moving.img", &other);
    let wanted = format!("sha256:{}", digest(&other));
    let output = fetch(folder, &format!("{base}/moving.img"), None, true);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains(" 200192"), "{}", said(&output));
    let output = fetch(folder, &format!("{base}/moving.img"), Some(&wanted), true);
    assert!(output.status.success(), "{}", said(&output));

    // Checksums: a wrong one, a list, and a list that does not name it.
    let wrong = format!("sha256:{}", "0".repeat(64));
    let output = fetch(folder, &format!("{base}/disk.img"), Some(&wrong), true);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains(&format!("its checksum is sha256:{}", digest(&raw))), "{}", said(&output));
    let list = format!("{}  other.img\n{} *disk.img\n", "1".repeat(64), digest(&raw));
    site.put("/SHA256SUMS", list.as_bytes());
    let output = fetch(folder, &format!("{base}/disk.img"), Some(&format!("{base}/SHA256SUMS")), true);
    assert!(output.status.success(), "{}", said(&output));
    site.put("/SHA256SUMS", b"nothing here\n");
    let output = fetch(folder, &format!("{base}/disk.img?x"), Some(&format!("{base}/SHA256SUMS")), true);
    assert!(said(&output).contains("it has no sha256 of disk.img"), "{}", said(&output));

    // Sent on by https is well, by http it is not: anybody on the way could answer.
    let to = |path: &str, to: String| drop(site.moved.lock().unwrap().insert(path.to_owned(), to));
    to("/moved.img", format!("{base}/disk.img"));
    let output = fetch(folder, &format!("{base}/moved.img"), None, true);
    assert!(output.status.success(), "{}", said(&output));
    assert!(
        said(&output).contains("has no checksum: whatever its server sends is taken"),
        "{}",
        said(&output)
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    to("/down.img", format!("http://{}/disk.img?token=s3cret", listener.local_addr().unwrap()));
    to("/twice.img", format!("{base}/down.img"));
    for path in ["/down.img", "/twice.img"] {
        let output = fetch(folder, &format!("{base}{path}"), Some(&format!("sha256:{}", digest(&raw))), true);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains("https may not lead to http://"), "{}", said(&output));
        assert!(listener.accept().is_err(), "it was asked for by http");
    }
    to("/SUMS", format!("http://{}/SUMS", listener.local_addr().unwrap()));
    let output = fetch(folder, &format!("{base}/disk.img?y"), Some(&format!("{base}/SUMS")), true);
    assert!(said(&output).contains("https may not lead to http://"), "{}", said(&output));

    // Packed images; the checksum is that of what is published.
    for (program, ending) in [("gzip", "gz"), ("xz", "xz"), ("zstd", "zst")] {
        let file = folder.join("disk");
        std::fs::write(&file, &raw).unwrap();
        let Ok(packed) = Command::new(program).args(["-q", "-c"]).arg(&file).output() else {
            eprintln!("skipped: {program} is not installed");
            continue;
        };
        let path = format!("/disk.img.{ending}");
        site.put(&path, &packed.stdout);
        let sum = format!("sha256:{}", digest(&packed.stdout));
        let output = fetch(folder, &format!("{base}{path}"), Some(&sum), true);
        assert!(output.status.success(), "{}", said(&output));
        assert!(said(&output).contains(&format!(" {length}")), "{program}: {}", said(&output));
        let again = fetch(folder, &format!("{base}{path}"), Some(&sum), true);
        assert!(said(&again).contains("changed=0"), "{program}: {}", said(&again));
    }
}

#[test]
fn an_image_that_names_another_file_of_the_hypervisor_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("secret"), vec![b's'; 1 << 20]).unwrap();
    let secret = folder.join("secret");
    let secret = secret.display();
    let vmdk = format!(
        "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n\nRW 2048 FLAT \"{secret}\" 0\n"
    );
    std::fs::write(folder.join("x.vmdk"), vmdk).unwrap();
    let made = |arguments: &[&str]| {
        let mut command = Command::new("qemu-img");
        command.args(["create", "-q", "-f", "qcow2"]).args(arguments).current_dir(folder);
        command.status().is_ok_and(|s| s.success())
    };
    if !made(&["-o", "data_file=elsewhere,data_file_raw=on", "df.qcow2", "1M"]) {
        eprintln!("skipped: qemu-img is not installed");
        return;
    }
    assert!(made(&["-u", "-F", "raw", "-b", &secret.to_string(), "over.qcow2", "1M"]));
    assert!(made(&[
        "-u",
        "-F",
        "raw",
        "-b",
        "json:{\"driver\":\"nbd\",\"host\":\"127.0.0.1\"}",
        "json.qcow2",
        "1M"
    ]));
    // Packed it is what it is.
    assert!(Command::new("gzip").args(["-k", "x.vmdk"]).current_dir(folder).status().unwrap().success());
    for (name, why, hint) in [
        ("x.vmdk", "it is a VMDK descriptor", "qemu-img convert -f vmdk -O qcow2 x.vmdk disk.qcow2"),
        ("x.vmdk.gz", "it is a VMDK descriptor", "qemu-img convert -f vmdk"),
        ("df.qcow2", "it keeps its data in another file", "qemu-img convert -f qcow2 -O qcow2 df.qcow2"),
        ("over.qcow2", "it is an overlay on", "qemu-img convert"),
        ("json.qcow2", "it is an overlay on", "qemu-img convert"),
    ] {
        for uri in
            [folder.join(name).display().to_string(), format!("file://{}", folder.join(name).display())]
        {
            let output = fetch(folder, &uri, None, true);
            assert_eq!(output.status.code(), Some(2), "{name}: {}", said(&output));
            assert!(said(&output).contains(why) && said(&output).contains(hint), "{name}: {}", said(&output));
        }
    }
    let left: Vec<_> =
        std::fs::read_dir(folder.join("cache")).unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn an_image_by_http_needs_a_checksum_or_a_word() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}/disk.img", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut head = [0; 4096];
        let _count = socket.read(&mut head).unwrap();
        write!(socket, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1024\r\n\r\n").unwrap();
        socket.write_all(&[7; 1024]).unwrap();
    });
    for checksum in [None, Some("http://127.0.0.1:9/SHA256SUMS")] {
        let output = fetch(folder, &uri, checksum, false);
        assert_ne!(output.status.code(), Some(0), "{}", said(&output));
        assert!(
            said(&output).contains("anybody on its way could put another in its place"),
            "{}",
            said(&output)
        );
        assert!(said(&output).contains("image_checksum=none"), "{}", said(&output));
    }
    let output = fetch(folder, &uri, Some("none"), false);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains(" 1024"), "{}", said(&output));
    server.join().unwrap();
}

#[test]
fn without_a_home_images_are_kept_where_nobody_else_writes() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("disk.img"), [7; 1024]).unwrap();
    let playbook = format!(
        "- hosts: all\n  gather_facts: false\n  connection: local\n  tasks:\n    - quaylab.lab.virt_image: {{image_uri: {}/disk.img}}\n      register: image\n",
        folder.display()
    );
    std::fs::write(folder.join("image.yml"), playbook).unwrap();
    let run = |cache: &Path| {
        Command::new(env!("CARGO_BIN_EXE_quaylab"))
            .args(["run", "-i", "localhost,", "image.yml"])
            .current_dir(folder)
            .env_remove("HOME")
            .env("XDG_STATE_HOME", folder.join("state"))
            .env("XDG_CACHE_HOME", cache)
            .output()
            .unwrap()
    };
    let cache = folder.join("cache");
    let output = run(&cache);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(cache.join("quaylab/images").metadata().unwrap().mode() & 0o777, 0o700);
    // One that anybody may write to is none: whoever was there first could have put an image into it.
    std::fs::set_permissions(cache.join("quaylab/images"), std::fs::Permissions::from_mode(0o777)).unwrap();
    let output = run(&cache);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("anybody may write to it"), "{}", said(&output));
}
