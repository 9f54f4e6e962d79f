//! The file and command modules on a real host: this one, through the local connection.

#[path = "modules_files/archives.rs"]
mod archives;
#[path = "modules_files/attacked.rs"]
mod attacked;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quaylab::host::{ConnectionSpec, Target};
use quaylab::modules::{Controller, FileKind, ModuleError, Outcome, RunMode, TaskContext, registry};
use serde_json::{Value, json};

/// A controller whose files and templates lie in one folder; `{{ name }}` is all that it renders.
struct Folder(PathBuf);

#[async_trait::async_trait]
impl Controller for Folder {
    fn load(&self, kind: FileKind, name: &str) -> Result<(String, Vec<u8>), ModuleError> {
        let path = self.locate(kind, name)?;
        let bytes = fs::read(&path).map_err(|e| ModuleError::failed(format!("{name}: {e}")))?;
        Ok((path.display().to_string(), bytes))
    }

    fn locate(&self, _: FileKind, name: &str) -> Result<PathBuf, ModuleError> {
        let path = self.0.join(name);
        if path.exists() { Ok(path) } else { Err(ModuleError::failed(format!("could not find {name}"))) }
    }

    fn render(&self, _: &str, text: &str) -> Result<String, ModuleError> {
        Ok(text.replace("{{ name }}", "quay"))
    }

    fn progress(&self, _: &str) {}

    fn state_dir(&self) -> &Path {
        &self.0
    }

    fn lab(&self) -> &'static str {
        "test"
    }
}

/// A folder on the target, a folder on the controller, and modules between them.
struct Bench {
    folder: tempfile::TempDir,
    cx: TaskContext,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let files = folder.path().join("controller");
        fs::create_dir(&files).expect("a folder");
        fs::create_dir(folder.path().join("target")).expect("a folder");
        let target = Target::new(ConnectionSpec::local("here"));
        let cx = TaskContext {
            shell: target.shell(None),
            host: "here".into(),
            mode: RunMode { check: false, diff: true },
            environment: vec![("GREETING".into(), "hello there".into())],
            run: quaylab::run_context::RunContext::default(),
            controller: Arc::new(Folder(files)),
        };
        Self { folder, cx }
    }

    /// A path on the target.
    fn at(&self, name: &str) -> String {
        self.folder.path().join("target").join(name).display().to_string()
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.at(name), text).expect("written");
    }

    fn give(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.folder.path().join("controller").join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, content).expect("written");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.at(name)).expect("metadata").permissions().mode() & 0o7777
    }

    /// Runs a module; `@name` in the arguments is a path on the target.
    async fn run(&self, module: &str, args: Value) -> Result<Outcome, ModuleError> {
        self.go(module, args, false).await
    }

    async fn check(&self, module: &str, args: Value) -> Result<Outcome, ModuleError> {
        self.go(module, args, true).await
    }

    async fn go(&self, module: &str, args: Value, check: bool) -> Result<Outcome, ModuleError> {
        let text =
            args.to_string().replace("\"@", &format!("\"{}/", self.folder.path().join("target").display()));
        let args: serde_json::Map<String, Value> = serde_json::from_str(&text).expect("a mapping");
        let cx = TaskContext { mode: RunMode { check, diff: true }, ..self.cx.clone() };
        registry().get(module).unwrap_or_else(|| panic!("no module {module}")).run(args, &cx).await
    }

    /// Everything below the target folder: names, kinds, modes and contents.
    fn picture(&self) -> Vec<String> {
        fn walk(path: &Path, into: &mut Vec<String>) {
            let mut entries: Vec<_> =
                fs::read_dir(path).expect("a folder").map(|e| e.expect("entry").path()).collect();
            entries.sort();
            for entry in entries {
                let meta = fs::symlink_metadata(&entry).expect("metadata");
                let content = if meta.is_file() { fs::read(&entry).expect("content") } else { Vec::new() };
                into.push(format!(
                    "{} {:o} {}",
                    entry.display(),
                    meta.permissions().mode(),
                    String::from_utf8_lossy(&content)
                ));
                if meta.is_dir() {
                    walk(&entry, into);
                }
            }
        }
        let mut out = Vec::new();
        walk(&self.folder.path().join("target"), &mut out);
        out
    }

    /// Check mode predicts and touches nothing, the first run changes, the second does not. Returns the first's outcome.
    async fn converges(&self, module: &str, args: Value) -> Outcome {
        let before = self.picture();
        let predicted =
            self.check(module, args.clone()).await.unwrap_or_else(|e| panic!("check {module} {args}: {e}"));
        assert!(predicted.changed, "check mode predicts a change: {module} {args}");
        assert_eq!(before, self.picture(), "check mode touches nothing: {module} {args}");
        let first = self.run(module, args.clone()).await.unwrap_or_else(|e| panic!("{module} {args}: {e}"));
        assert!(first.changed, "the first run changes: {module} {args}");
        assert_eq!(predicted.diff, first.diff, "check mode shows the same difference: {module} {args}");
        let again = self.run(module, args.clone()).await.unwrap_or_else(|e| panic!("{module} {args}: {e}"));
        assert!(!again.changed, "the second run changes nothing: {module} {args}\n{:?}", again.diff);
        assert_eq!(again.diff, [], "{module} {args}");
        first
    }

    async fn fails(&self, module: &str, args: Value) -> String {
        match self.run(module, args.clone()).await {
            Ok(Outcome { failed: Some(message), .. }) => message,
            Ok(other) => panic!("{module} {args} must fail: {other:?}"),
            Err(error) => error.to_string().replace(&self.at(""), "@"),
        }
    }
}

#[tokio::test]
async fn file_makes_folders_links_and_files() {
    let b = Bench::new();
    let made = b.converges("file", json!({"path": "@a/b/c", "state": "directory", "mode": "0750"})).await;
    assert_eq!((b.mode("a"), b.mode("a/b/c")), (0o750, 0o750));
    assert_eq!(made.result["mode"], "0750");
    assert_eq!(made.diff[0].after, "state: directory\n");
    b.put("a/b/f", "x");
    b.converges(
        "file",
        json!({"path": "@a", "state": "directory", "recurse": true, "mode": "u=rwX,g=rX,o="}),
    )
    .await;
    assert_eq!((b.mode("a/b/f"), b.mode("a/b")), (0o640, 0o750));
    b.converges("file", json!({"path": "@a/b/f", "mode": "g+w"})).await;
    b.converges("file", json!({"dest": "@l", "src": "a/b/f", "state": "link"})).await;
    assert_eq!(b.read("l"), "x");
    b.converges(
        "file",
        json!({"dest": "@l", "src": "@nowhere", "state": "link", "force": true, "follow": false}),
    )
    .await;
    b.converges("file", json!({"dest": "@h", "src": "@a/b/f", "state": "hard"})).await;
    let touched = json!({"path": "@t", "state": "touch", "modification_time": "preserve", "access_time": "preserve", "mode": "0600"});
    b.converges("file", touched).await;
    assert_eq!(b.mode("t"), 0o600);
    assert!(b.run("file", json!({"path": "@t", "state": "touch"})).await.is_ok_and(|o| o.changed));
    b.converges("file", json!({"path": "@a", "state": "absent"})).await;
    assert!(!Path::new(&b.at("a")).exists());
}

#[tokio::test]
async fn file_says_why_not() {
    let b = Bench::new();
    b.put("f", "x");
    for (args, message) in [
        (json!({"path": "@nothing"}), "file (@nothing) is absent, cannot continue"),
        (json!({"path": "@f", "state": "directory"}), "@f already exists as a file"),
        (json!({"path": "@l", "state": "link", "src": "@nothing"}), "src file does not exist: @nothing"),
        (
            json!({"path": "@f", "state": "link", "src": "@f"}),
            "refusing to convert from file to symlink for @f",
        ),
        (json!({"path": "@f", "owner": "no-such-user"}), "chown failed: failed to look up user no-such-user"),
        (
            json!({"path": "@f", "recurse": true, "state": "file"}),
            "recurse option requires state to be 'directory'",
        ),
    ] {
        assert_eq!(b.fails("file", args).await, message);
    }
}

#[tokio::test]
async fn copy_writes_texts_files_and_trees() {
    let b = Bench::new();
    let first = b.converges("copy", json!({"content": "one\n", "dest": "@it's here", "mode": "0640"})).await;
    assert_eq!((b.read("it's here").as_str(), b.mode("it's here")), ("one\n", 0o640));
    assert_eq!((first.diff[0].before.as_str(), first.diff[0].after.as_str()), ("", "one\n"));
    assert_eq!(first.result["checksum"], "c7059bb19433cc3cabaa6236c83d56668a843dd2");
    let changed = b
        .run("copy", json!({"content": "two\n", "dest": "@it's here", "backup": true}))
        .await
        .expect("copied");
    assert_eq!((changed.diff[0].before.as_str(), changed.diff[0].after.as_str()), ("one\n", "two\n"));
    let backup = changed.result["backup_file"].as_str().expect("a backup").to_owned();
    assert_eq!(fs::read_to_string(backup).expect("the backup"), "one\n");
    assert_eq!(b.mode("it's here"), 0o640, "the mode is kept");

    b.give("app.conf", "conf\n");
    b.converges("copy", json!({"src": "app.conf", "dest": "@new/deep/", "directory_mode": "0700"})).await;
    assert_eq!((b.read("new/deep/app.conf").as_str(), b.mode("new/deep")), ("conf\n", 0o700));
    let kept = b
        .run("copy", json!({"content": "x", "dest": "@new/deep/app.conf", "force": false}))
        .await
        .expect("kept");
    assert!(!kept.changed);

    b.give("tree/sub/a", "a");
    b.give("tree/b", "b");
    b.converges("copy", json!({"src": "tree", "dest": "@t1", "mode": "0600"})).await;
    assert_eq!((b.read("t1/tree/sub/a").as_str(), b.mode("t1/tree/b")), ("a", 0o600));
    b.converges("copy", json!({"src": "tree/", "dest": "@t2"})).await;
    assert_eq!(b.read("t2/sub/a"), "a");

    b.converges("copy", json!({"src": "@t2/b", "dest": "@t3", "remote_src": true, "mode": "0400"})).await;
    assert_eq!((b.read("t3").as_str(), b.mode("t3")), ("b", 0o400));
    b.converges("copy", json!({"src": "@t1", "dest": "@t4", "remote_src": true})).await;
    assert_eq!(b.read("t4/t1/tree/b"), "b");
    let large = vec![b'x'; 3 * 1024 * 1024];
    b.give("large", &large);
    b.converges("copy", json!({"src": "large", "dest": "@large"})).await;
    assert_eq!(fs::read(b.at("large")).expect("read"), large);
}

#[tokio::test]
async fn copy_says_why_not() {
    let b = Bench::new();
    b.put("f", "x");
    for (args, message) in [
        (json!({"dest": "@x"}), "src (or content) is required"),
        (json!({"content": "x", "dest": "@no/such/x"}), "Destination directory @no/such does not exist"),
        (json!({"src": "nothing", "dest": "@x"}), "could not find nothing"),
        (json!({"src": "@nothing", "dest": "@x", "remote_src": true}), "Source @nothing not found"),
        (json!({"content": "x", "dest": "@x", "validate": "true"}), "validate must contain %s: true"),
    ] {
        assert_eq!(b.fails("copy", args).await, message);
    }
    let refused = b.fails("copy", json!({"content": "y", "dest": "@f", "validate": "grep -q z %s"})).await;
    assert!(refused.contains("did not pass"), "{refused}");
    assert_eq!(b.read("f"), "x");
}

#[tokio::test]
async fn template_renders() {
    let b = Bench::new();
    b.give("t.j2", "for {{ name }}\n");
    let first = b.converges("template", json!({"src": "t.j2", "dest": "@t", "mode": "0600"})).await;
    assert_eq!((b.read("t").as_str(), first.diff[0].after.as_str()), ("for quay\n", "for quay\n"));
    b.converges("template", json!({"src": "t.j2", "dest": "@t", "newline_sequence": "\\r\\n"})).await;
    assert_eq!(b.read("t"), "for quay\r\n");
    assert_eq!(b.fails("template", json!({"src": "no.j2", "dest": "@t"})).await, "could not find no.j2");
}

#[tokio::test]
async fn lines_blocks_and_options_are_edited() {
    let b = Bench::new();
    b.put("f", "a=1\nb=2\n");
    fs::set_permissions(b.at("f"), fs::Permissions::from_mode(0o600)).expect("mode");
    let line = b
        .converges("lineinfile", json!({"path": "@f", "regexp": "^a=", "line": "a=9", "backup": true}))
        .await;
    assert_eq!(
        (line.result["msg"].as_str(), line.diff[0].after.as_str()),
        (Some("line replaced"), "a=9\nb=2\n")
    );
    assert_eq!(
        fs::read_to_string(line.result["backup"].as_str().expect("backup")).expect("read"),
        "a=1\nb=2\n"
    );
    b.converges("blockinfile", json!({"path": "@f", "block": "x\ny"})).await;
    b.converges("replace", json!({"path": "@f", "regexp": "^b=(.)$", "replace": "c=\\1"})).await;
    assert_eq!(b.read("f"), "a=9\nc=2\n# BEGIN ANSIBLE MANAGED BLOCK\nx\ny\n# END ANSIBLE MANAGED BLOCK\n");
    assert_eq!(b.mode("f"), 0o600, "the mode is kept");
    b.converges("lineinfile", json!({"path": "@f", "line": "a=9", "mode": "0644"})).await;
    b.converges(
        "ini_file",
        json!({"path": "@d/new.ini", "section": "s", "option": "o", "value": "v", "mode": "0640"}),
    )
    .await;
    assert_eq!((b.read("d/new.ini").as_str(), b.mode("d/new.ini")), ("[s]\no = v\n", 0o640));
    for module in ["lineinfile", "blockinfile", "replace"] {
        let args = json!({"path": "@no", "line": "x"});
        let args = match module {
            "blockinfile" => json!({"path": "@no", "block": "x"}),
            "replace" => json!({"path": "@no", "regexp": "x"}),
            _ => args,
        };
        assert!(b.fails(module, args).await.contains("@no does not exist"), "{module}");
    }
}

#[tokio::test]
async fn htpasswd_keeps_what_opens() {
    let b = Bench::new();
    let args = json!({"path": "@users", "name": "quay", "password": "s3cret", "hash_scheme": "bcrypt", "mode": "0600"});
    let first = b.converges("htpasswd", args).await;
    assert!(b.read("users").starts_with("quay:$2y$10$"));
    assert!(!format!("{first:?}").contains("s3cret"));
    b.converges("htpasswd", json!({"path": "@users", "name": "quay", "state": "absent"})).await;
    assert_eq!(b.read("users"), "");
}

#[tokio::test]
async fn commands_tell_what_they_did() {
    let b = Bench::new();
    let done =
        b.run("command", json!({"_raw_params": "printf '%s|' 'a b' $GREETING ${NONE}"})).await.expect("run");
    assert_eq!(done.result["stdout"], "a b|hello there|${NONE}|");
    assert_eq!(done.result["cmd"], json!(["printf", "%s|", "a b", "$GREETING", "${NONE}"]));
    assert!(done.changed && done.result.contains_key("delta"));
    let done = b
        .run("shell", json!({"_raw_params": "cat; pwd; echo err >&2; exit 3", "stdin": "in", "chdir": "/"}))
        .await
        .expect("run");
    assert_eq!(done.failed.as_deref(), Some("non-zero return code"));
    assert_eq!((&done.result["stdout_lines"], &done.result["rc"]), (&json!(["in", "/"]), &json!(3)));
    assert_eq!(done.result["stderr"], "err");
    let made = b.converges("command", json!({"argv": ["touch", b.at("c d")], "creates": "@c*"})).await;
    assert_eq!(made.result["rc"], 0);
    let skipped = b.check("shell", json!({"_raw_params": "touch /nowhere"})).await.expect("checked");
    assert!(skipped.skipped.is_some() && !skipped.changed);
    let not = b.run("shell", json!({"_raw_params": "false", "removes": "@no"})).await.expect("run");
    assert!(!not.changed && not.failed.is_none());
    assert!(
        b.fails("command", json!({"_raw_params": "no-such-program x"})).await.contains("no-such-program")
    );
    assert!(
        b.fails("command", json!({"_raw_params": "ls", "chdir": "@no"}))
            .await
            .contains("Unable to change directory")
    );
    let raw = b.run("raw", json!({"_raw_params": "echo $GREETING"})).await.expect("run");
    assert_eq!(raw.result["stdout"], "hello there\n");
    b.give("s.sh", "#!/bin/sh\necho \"$1-$GREETING\"\n");
    let script = b.run("script", json!({"_raw_params": "s.sh 'x y'"})).await.expect("run");
    assert_eq!(script.result["stdout"], "x y-hello there");
}

#[tokio::test]
async fn stat_slurp_find_and_fetch_only_read() {
    let b = Bench::new();
    b.put("f", "abc");
    b.put("g.log", "12345");
    std::os::unix::fs::symlink("f", b.at("l")).expect("linked");
    let before = b.picture();
    let stat = b.run("stat", json!({"path": "@f"})).await.expect("stat").result["stat"].clone();
    assert_eq!((&stat["exists"], &stat["isreg"], &stat["size"]), (&json!(true), &json!(true), &json!(3)));
    assert_eq!(stat["checksum"], "a9993e364706816aba3e25717850c26c9cd0d89d");
    let link = b.run("stat", json!({"path": "@l"})).await.expect("stat").result["stat"].clone();
    assert_eq!((&link["islnk"], &link["lnk_target"]), (&json!(true), &json!("f")));
    let none = b.run("stat", json!({"path": "@none"})).await.expect("stat").result["stat"].clone();
    assert_eq!(none, json!({"exists": false}));
    let slurped = b.run("slurp", json!({"src": "@f"})).await.expect("slurped");
    assert_eq!(slurped.result["content"], "YWJj");
    assert_eq!(b.fails("slurp", json!({"src": "@none"})).await, "file not found: @none");
    let found = b.run("find", json!({"paths": "@", "patterns": "*.log", "size": "4"})).await.expect("found");
    assert_eq!(found.result["matched"], 1);
    assert_eq!(found.result["files"][0]["path"], b.at("g.log"));
    let found = b.run("find", json!({"paths": ["@"], "contains": "b|a"})).await.expect("found");
    assert_eq!(found.result["matched"], 1);
    let dest = b.folder.path().join("got").display().to_string();
    let args = json!({"src": "@f", "dest": dest});
    assert!(b.run("fetch", args.clone()).await.expect("fetched").changed);
    assert!(!b.run("fetch", args).await.expect("fetched").changed);
    assert_eq!(fs::read_to_string(format!("{dest}/here{}", b.at("f"))).expect("read"), "abc");
    assert_eq!(before, b.picture());
    fetched_files(&b).await;
    let temp =
        b.run("tempfile", json!({"state": "directory", "path": "@", "suffix": "x y"})).await.expect("made");
    let path = temp.result["path"].as_str().expect("path").to_owned();
    assert!(path.ends_with("x y") && Path::new(&path).is_dir());
}

async fn fetched_files(b: &Bench) {
    let to = |name: &str| b.folder.path().join(name).display().to_string();
    let outside = json!({"src": format!("/tmp/{}{}", "../".repeat(30), b.at("f")), "dest": to("collected")});
    assert!(b.fails("fetch", outside).await.contains("directory traversal"));
    // The size that such a file is said to have is 0.
    let there = json!({"src": "/proc/version", "dest": format!("{}/", b.at("")), "flat": true});
    assert!(b.run("fetch", there).await.expect("fetched").changed);
    assert_eq!(b.read("version"), fs::read_to_string("/proc/version").expect("readable"));
    let fetch = |dest: String| json!({"src": "@f", "dest": dest, "flat": true});
    // A link stays a link, and what it leads to keeps its mode.
    fs::write(to("kept"), "old").expect("a file");
    fs::set_permissions(to("kept"), fs::Permissions::from_mode(0o640)).expect("a mode");
    std::os::unix::fs::symlink("kept", to("alias")).expect("linked");
    let got = b.run("fetch", fetch(to("alias"))).await.expect("fetched");
    assert_eq!(
        (got.result["checksum"].as_str(), got.result["md5sum"].as_str()),
        (Some("a9993e364706816aba3e25717850c26c9cd0d89d"), Some("900150983cd24fb0d6963f7d28e17f72"))
    );
    assert_eq!(fs::read_to_string(to("kept")).expect("read"), "abc");
    assert!(fs::symlink_metadata(to("alias")).expect("there").is_symlink());
    assert_eq!(fs::metadata(to("kept")).expect("there").permissions().mode() & 0o7777, 0o640);
    std::os::unix::fs::symlink("new", to("nowhere")).expect("linked");
    b.run("fetch", fetch(to("nowhere"))).await.expect("fetched");
    assert_eq!(fs::read_to_string(to("new")).expect("read"), "abc");
    fs::create_dir(to("folder")).expect("a folder");
    assert!(b.fails("fetch", fetch(to("folder"))).await.contains("is an existing directory"));
    assert!(b.fails("fetch", fetch("/dev/null".into())).await.contains("not a regular file"));
    b.put("large", &"x".repeat(3_000_000));
    let args = json!({"src": "@large", "dest": to("folder/"), "flat": true});
    assert!(b.run("fetch", args.clone()).await.expect("fetched").changed);
    assert!(!b.run("fetch", args).await.expect("fetched").changed);
    assert_eq!(fs::metadata(to("folder/large")).expect("there").len(), 3_000_000);
    let none = json!({"src": "@none", "dest": to("folder/"), "flat": true, "fail_on_missing": false});
    let ignored = b.run("fetch", none).await.expect("ignored");
    assert_eq!(ignored.result["msg"], format!("file not found: {}, ignored", b.at("none")));
    let left: Vec<_> = fs::read_dir(to("folder")).expect("there").collect();
    assert_eq!(left.len(), 1, "no part is left: {left:?}");
}

#[tokio::test]
async fn a_named_pipe_holds_nothing_up() {
    let b = Bench::new();
    let made = b.run("command", json!({"argv": ["mkfifo", "@pipe"]})).await.expect("run");
    assert_eq!(made.result["rc"], 0);
    let soon = async |module: &str, args: Value, check: bool| {
        let work = b.go(module, args, check);
        tokio::time::timeout(Duration::from_secs(60), work).await.unwrap_or_else(|_| panic!("{module} waits"))
    };
    for (module, args) in [
        ("copy", json!({"src": "@pipe", "remote_src": true, "dest": "@to"})),
        ("unarchive", json!({"src": "@pipe", "remote_src": true, "dest": "@"})),
        ("slurp", json!({"src": "@pipe"})),
        ("lineinfile", json!({"path": "@pipe", "line": "x"})),
    ] {
        soon(module, args, false).await.expect_err(module);
    }
    for (module, args) in [
        (
            "authorized_key",
            json!({"user": "root", "path": "@pipe", "manage_dir": false, "key": "ssh-ed25519 AAAA"}),
        ),
        (
            "mount",
            json!({"path": "/nowhere", "src": "none", "fstype": "none", "state": "absent_from_fstab", "fstab": "@pipe"}),
        ),
        ("sysctl", json!({"name": "kernel.none", "value": "1", "sysctl_file": "@pipe", "reload": false})),
    ] {
        // Whether they then do something is their own affair.
        let _either = soon(module, args, true).await;
    }
}

#[tokio::test]
async fn a_download_ends_and_tells_another_server_nothing() {
    let b = Bench::new();
    // One that takes the connection and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/x", silent.local_addr().expect("an address"));
    let since = std::time::Instant::now();
    b.run("get_url", json!({"url": url, "dest": "@x", "timeout": 2})).await.expect_err("nothing came");
    assert!(since.elapsed() < Duration::from_secs(60), "{:?}", since.elapsed());
    // Two servers: the first sends on to the second, which writes down what it is told.
    let second =
        Asked::start("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok".into()).await;
    let to = format!("http://{}/end", second.address);
    let first = Asked::start(format!(
        "HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    ))
    .await;
    let url = format!("http://{}/start", first.address);
    let args = json!({"url": url, "dest": "@got", "headers": {"X-Auth-Token": "sesame"}});
    b.run("get_url", args).await.expect("downloaded");
    assert_eq!(b.read("got"), "ok");
    assert!(first.heard().contains("sesame"));
    assert!(second.heard().contains("/end") && !second.heard().contains("sesame"), "{}", second.heard());
    // An address is an address: no option, no pattern.
    b.put("evil", &format!("url = {to}\noutput = {}\n", b.at("written")));
    let option = format!("-K{}", b.at("evil"));
    b.run("get_url", json!({"url": option, "dest": "@y"})).await.expect_err("no address");
    assert!(!Path::new(&b.at("written")).exists());
    let before = second.heard().matches("GET ").count();
    let _no_such_name = b.run("get_url", json!({"url": format!("{to}[1-5]"), "dest": "@z"})).await;
    assert!(second.heard().matches("GET ").count() <= before + 1);
}

/// A server that gives one answer to all, and remembers what it was asked.
struct Asked {
    address: std::net::SocketAddr,
    heard: Arc<std::sync::Mutex<String>>,
    task: tokio::task::JoinHandle<()>,
}

impl Asked {
    async fn start(answer: String) -> Self {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let heard = Arc::new(std::sync::Mutex::new(String::new()));
        let log = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 4096];
                let read = tokio::time::timeout(Duration::from_secs(1), stream.read(&mut request)).await;
                if let Ok(Ok(read @ 1..)) = read {
                    log.lock().expect("the log").push_str(&String::from_utf8_lossy(&request[..read]));
                    // The client may have gone.
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            }
        });
        Self { address, heard, task }
    }

    fn heard(&self) -> String {
        self.heard.lock().expect("the log").clone()
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn archives_and_downloads_arrive() {
    let b = Bench::new();
    let server = Server::start(b"payload\n".to_vec()).await;
    let sha = "sha256:".to_owned() + &hex_sha256(b"payload\n");
    let args = json!({"url": server.url("dir/f.bin"), "dest": "@got.bin", "checksum": sha, "mode": "0600"});
    b.converges("get_url", args).await;
    assert_eq!((b.read("got.bin").as_str(), b.mode("got.bin")), ("payload\n", 0o600));
    b.put("old.bin", "old");
    b.converges("get_url", json!({"url": server.url("old.bin"), "dest": "@", "force": true})).await;
    assert_eq!(b.read("old.bin"), "payload\n");
    let wrong = format!("sha256:{}", "0".repeat(64));
    let refused = b.fails("get_url", json!({"url": server.url("x"), "dest": "@x", "checksum": wrong})).await;
    assert!(refused.contains("did not match"), "{refused}");
    assert!(!Path::new(&b.at("x")).exists());

    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o644);
    tar.append_data(&mut header, "top/in.txt", b"inner".as_slice()).expect("appended");
    b.give("a.tar", tar.into_inner().expect("an archive"));
    fs::create_dir(b.at("un")).expect("a folder");
    b.converges("unarchive", json!({"src": "a.tar", "dest": "@un", "mode": "0640"})).await;
    assert_eq!((b.read("un/top/in.txt").as_str(), b.mode("un/top/in.txt")), ("inner", 0o640));
    assert_eq!(
        b.fails("unarchive", json!({"src": "a.tar", "dest": "@no"})).await,
        "Destination @no is not a directory"
    );
    let left: Vec<_> = fs::read_dir(b.at("un")).expect("read").collect();
    assert_eq!(left.len(), 1);
}

#[tokio::test]
async fn waits_end_when_the_condition_holds() {
    let b = Bench::new();
    let server = Server::start(b"x".to_vec()).await;
    let up = b.run("wait_for", json!({"port": server.port, "timeout": 5})).await.expect("up");
    assert_eq!(up.result["state"], "started");
    b.put("log", "line\nready 42\n");
    let found =
        b.run("wait_for", json!({"path": "@log", "search_regex": "^ready (\\d+)$"})).await.expect("found");
    assert_eq!(found.result["match_groups"], json!(["42"]));
    let port = server.port;
    drop(server);
    b.run("wait_for", json!({"port": port, "state": "stopped", "timeout": 5})).await.expect("stopped");
    let late = b.fails("wait_for", json!({"path": "@none", "timeout": 1})).await;
    assert_eq!(late, "Timeout when waiting for file @none");
    b.run("wait_for_connection", json!({"timeout": 5})).await.expect("connected");
    assert_eq!(b.run("ping", json!({})).await.expect("pong").result["ping"], "pong");
    fs::create_dir(b.at("d")).expect("a folder");
    b.put("d/2", "two");
    b.put("d/1", "one\n");
    b.converges("assemble", json!({"src": "@d", "dest": "@whole", "delimiter": "--"})).await;
    assert_eq!(b.read("whole"), "one\n--\ntwo");
}

fn hex_sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    hex::encode(sha2::Sha256::digest(bytes))
}

/// A web server that answers everything with one body, until it is dropped.
struct Server {
    port: u16,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(body: Vec<u8>) -> Self {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 4096];
                // A client that only looks whether the port is open sends nothing.
                let read = tokio::time::timeout(Duration::from_secs(1), stream.read(&mut request)).await;
                if let Ok(Ok(1..)) = read {
                    let head = format!(
                        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                        body.len()
                    );
                    // The client may have gone; the next one is served all the same.
                    let _ = stream.write_all(&[head.as_bytes(), &body].concat()).await;
                }
            }
        });
        Self { port, task }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}
