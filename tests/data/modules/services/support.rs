//! Real servers for the tests, and a way to run a module against them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quaylab::host::{ConnectionSpec, Target};
use quaylab::modules::{Controller, FileKind, ModuleError, Outcome, RunMode, TaskContext, registry};
use serde_json::Value;
use tempfile::TempDir;

/// Says that a stage is skipped where a program is missing.
pub(super) fn skip_without(what: &str, programs: &[&str]) -> bool {
    let there = |program: &&&str| {
        Path::new(program).is_file()
            || ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].iter().any(|d| Path::new(d).join(program).is_file())
    };
    match programs.iter().find(|p| !there(p)) {
        Some(missing) => {
            eprintln!("skipped: {what} needs {missing}, which is not installed");
            true
        }
        None => false,
    }
}

/// This machine as a target.
pub(super) struct Site {
    context: TaskContext,
    _state: TempDir,
}

struct TestController(PathBuf);

impl Controller for TestController {
    fn load(&self, _: FileKind, name: &str) -> Result<(String, Vec<u8>), ModuleError> {
        let bytes = fs::read(name).map_err(|e| ModuleError::failed(format!("{name}: {e}")))?;
        Ok((name.to_owned(), bytes))
    }
    fn locate(&self, _: FileKind, name: &str) -> Result<PathBuf, ModuleError> {
        Ok(PathBuf::from(name))
    }
    fn render(&self, _: &str, text: &str) -> Result<String, ModuleError> {
        Ok(text.to_owned())
    }
    fn progress(&self, _: &str) {}
    fn state_dir(&self) -> &Path {
        &self.0
    }
    fn lab(&self) -> &'static str {
        "test"
    }
}

pub(super) fn site() -> Site {
    let user = Command::new("id").arg("-un").output().expect("id");
    site_as(String::from_utf8_lossy(&user.stdout).trim())
}

/// This machine as a target that somebody logged in to and became another user on.
pub(super) fn site_as(login_user: &str) -> Site {
    let state = TempDir::new().expect("a folder");
    let target =
        Target::new(ConnectionSpec { user: login_user.to_owned(), ..ConnectionSpec::local("localhost") });
    let context = TaskContext {
        shell: target.shell(None),
        host: "localhost".into(),
        mode: RunMode { check: false, diff: true },
        environment: Vec::new(),
        run: quaylab::run_context::RunContext::default(),
        controller: Arc::new(TestController(state.path().to_owned())),
    };
    Site { context, _state: state }
}

/// This machine as a target whose tasks have an environment.
pub(super) fn site_with(environment: &[(&str, String)]) -> Site {
    let mut site = site();
    site.context.environment =
        environment.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    site
}

async fn attempt(site: &Site, module: &str, args: Value) -> Result<Outcome, String> {
    attempt_in(&site.context, module, args).await
}

/// Runs what must succeed, in check mode.
pub(super) async fn run_in_check_mode(site: &Site, module: &str, args: Value) -> Outcome {
    let context = TaskContext { mode: RunMode { check: true, diff: true }, ..site.context.clone() };
    attempt_in(&context, module, args.clone()).await.unwrap_or_else(|e| panic!("{module} {args}: {e}"))
}

async fn attempt_in(context: &TaskContext, module: &str, args: Value) -> Result<Outcome, String> {
    let Value::Object(args) = args else { panic!("arguments are a mapping") };
    let module = registry().get(module).expect("a module of that name");
    module.check(&args).map_err(|e| e.to_string())?;
    let outcome = module.run(args, context).await.map_err(|e| e.to_string())?;
    match outcome.failed {
        Some(message) => Err(message),
        None => Ok(outcome),
    }
}

pub(super) async fn run(site: &Site, module: &str, args: Value) -> Outcome {
    attempt(site, module, args.clone()).await.unwrap_or_else(|e| panic!("{module} {args}: {e}"))
}

/// Runs what must fail; returns what it says.
pub(super) async fn fail(site: &Site, module: &str, args: Value) -> String {
    attempt(site, module, args.clone()).await.err().unwrap_or_else(|| panic!("{module} {args} succeeded"))
}

pub(super) fn field(outcome: &Outcome, name: &str) -> String {
    outcome.result[name].as_str().unwrap_or_default().to_owned()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port()
}

/// A process that ends with its owner, by the signal that lets it end well.
struct Server {
    child: Child,
    signal: &'static str,
}

impl Server {
    fn start(command: &mut Command, signal: &'static str) -> Self {
        let child = command.stdin(Stdio::null()).spawn().expect("a server that starts");
        Self { child, signal }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new("kill").args([self.signal, &self.child.id().to_string()]).status();
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_until(what: &str, log: &Path, mut ready: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !ready() {
        let said = || fs::read_to_string(log).unwrap_or_default();
        assert!(Instant::now() < until, "{what} did not come up:\n{}", said());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn log_to(command: &mut Command, log: &Path) {
    let file = fs::File::create(log).expect("a log");
    command.stdout(file.try_clone().expect("a log")).stderr(file);
}

fn quiet(program: &str, args: &[&str]) {
    let out = Command::new(program).args(args).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
}

/// A folder that other users may enter.
fn open_folder() -> TempDir {
    let folder = TempDir::new().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
    folder
}

pub(super) struct Postgres {
    pub(super) port: u16,
    _server: Server,
    _folder: TempDir,
}

impl Postgres {
    /// A server whose superuser has the password `super`.
    pub(super) fn start() -> Self {
        const BIN: &str = "/usr/lib/postgresql/15/bin";
        let folder = open_folder();
        let data = folder.path().join("data");
        let password = folder.path().join("password");
        fs::write(&password, "super\n").expect("a password file");
        let (data_text, password_text) = (data.display().to_string(), password.display().to_string());
        quiet("install", &["-d", "-o", "postgres", "-m", "0700", &data_text]);
        quiet("chown", &["postgres", &password_text]);
        let user = ["--reuid", "postgres", "--regid", "postgres", "--clear-groups"];
        let initdb = format!("{BIN}/initdb");
        let pwfile = format!("--pwfile={password_text}");
        let init = ["-D", &data_text, "-A", "scram-sha-256", "-N", "-E", "UTF8", "--locale=C.UTF-8", &pwfile];
        quiet("setpriv", &[&user[..], &[initdb.as_str()], &init].concat());
        let port = free_port();
        let log = folder.path().join("log");
        let mut command = Command::new("setpriv");
        command
            .args(user)
            .arg(format!("{BIN}/postgres"))
            .args(["-D", &data_text, "-p", &port.to_string()])
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off"]);
        log_to(&mut command, &log);
        let server = Server::start(&mut command, "-INT");
        let ready = format!("{BIN}/pg_isready");
        wait_until("PostgreSQL", &log, || {
            let asked =
                Command::new(&ready).args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]).status();
            asked.is_ok_and(|s| s.success())
        });
        Self { port, _server: server, _folder: folder }
    }

    /// Runs a statement as the superuser.
    pub(super) fn run(&self, database: &str, statement: &str) {
        let done = Command::new("psql")
            .env("PGPASSWORD", "super")
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "postgres", "-d", database])
            .args(["-v", "ON_ERROR_STOP=1", "-qc", statement])
            .output()
            .expect("psql");
        assert!(done.status.success(), "{statement}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

pub(super) struct RedisServer {
    pub(super) port: u16,
    _server: Server,
    _folder: TempDir,
}

impl RedisServer {
    pub(super) fn start(password: &str) -> Self {
        let folder = open_folder();
        let port = free_port();
        let mut command = Command::new("redis-server");
        command.current_dir(folder.path()).args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
        ]);
        if !password.is_empty() {
            command.args(["--requirepass", password]);
        }
        let log = folder.path().join("log");
        log_to(&mut command, &log);
        let server = Server::start(&mut command, "-TERM");
        wait_until("Redis", &log, || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { port, _server: server, _folder: folder }
    }
}

pub(super) struct MariaDb {
    pub(super) port: u16,
    _server: Server,
    folder: TempDir,
}

impl MariaDb {
    /// A server whose root needs no password at its socket.
    pub(super) fn start() -> Self {
        let folder = open_folder();
        let data = folder.path().join("data").display().to_string();
        quiet("install", &["-d", "-o", "mysql", "-m", "0755", &data]);
        quiet(
            "mariadb-install-db",
            &[
                "--no-defaults",
                "--user=mysql",
                &format!("--datadir={data}"),
                "--skip-test-db",
                "--auth-root-authentication-method=normal",
            ],
        );
        let port = free_port();
        let mut command = Command::new("mariadbd");
        let socket = format!("--socket={data}/s.sock");
        command
            .args([
                "--no-defaults",
                "--user=mysql",
                "--bind-address=127.0.0.1",
                &format!("--datadir={data}"),
                &socket,
            ])
            .arg(format!("--port={port}"));
        let log = folder.path().join("log");
        log_to(&mut command, &log);
        let server = Server::start(&mut command, "-TERM");
        wait_until("MariaDB", &log, || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { port, _server: server, folder }
    }

    pub(super) fn socket(&self) -> String {
        self.folder.path().join("data/s.sock").display().to_string()
    }
}

/// The stand-in for Quay as a program of its own.
pub(super) struct StandIn {
    port: u16,
    _server: Server,
    _folder: TempDir,
}

impl StandIn {
    pub(super) fn start(postgres: &Postgres, redis: &RedisServer) -> Self {
        for statement in ["CREATE ROLE quay LOGIN PASSWORD 'db'", "CREATE DATABASE quay OWNER quay"] {
            postgres.run("postgres", statement);
        }
        postgres.run("quay", "CREATE EXTENSION pg_trgm");
        let folder = open_folder();
        let port = free_port();
        let redis = format!("{{host: 127.0.0.1, port: {}, password: red}}", redis.port);
        let config = format!(
            "AUTHENTICATION_TYPE: Database\nBUILDLOGS_REDIS: {redis}\nUSER_EVENTS_REDIS: {redis}\n\
             DATABASE_SECRET_KEY: a\nSECRET_KEY: b\nSETUP_COMPLETE: true\nTESTING: false\nFEATURE_MAILING: false\n\
             DB_URI: postgresql://quay:db@127.0.0.1:{}/quay\nDEFAULT_TAG_EXPIRATION: 2w\nTAG_EXPIRATION_OPTIONS: [1d, 2w]\n\
             DISTRIBUTED_STORAGE_CONFIG: {{default: [LocalStorage, {{storage_path: {}}}]}}\n\
             DISTRIBUTED_STORAGE_PREFERENCE: [default]\nPREFERRED_URL_SCHEME: http\nSERVER_HOSTNAME: localhost:{port}\n\
             SUPER_USERS: [admin]\nFEATURE_USER_INITIALIZE: true\nFEATURE_PROXY_CACHE: true\nFEATURE_REPO_MIRROR: true\n\
             SSRF_ALLOWED_HOSTS: [127.0.0.0/8]\n",
            postgres.port,
            folder.path().join("images").display()
        );
        let path = folder.path().join("config.yaml");
        fs::write(&path, config).expect("a configuration");
        let mut command = Command::new("/usr/bin/python3");
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/standins/quay/standin.py");
        command.args(["-BIu", program]).arg(&path).arg(port.to_string());
        let log = folder.path().join("log");
        log_to(&mut command, &log);
        let server = Server::start(&mut command, "-TERM");
        // It listens before it is up, and answers 502 until then.
        wait_until("the stand-in for Quay", &log, || {
            fs::read_to_string(&log).is_ok_and(|said| said.contains("ready on"))
        });
        Self { port, _server: server, _folder: folder }
    }

    /// One that needs nothing but Python, with all that people use day by day.
    pub(super) fn alone() -> Self {
        let folder = open_folder();
        let port = free_port();
        let redis = "{host: 127.0.0.1, port: 6379, password: red}";
        let config = format!(
            "AUTHENTICATION_TYPE: Database\nBUILDLOGS_REDIS: {redis}\nUSER_EVENTS_REDIS: {redis}\n\
             DATABASE_SECRET_KEY: a\nSECRET_KEY: b\nSETUP_COMPLETE: true\nTESTING: false\nFEATURE_MAILING: false\n\
             DB_URI: postgresql://quay:db@127.0.0.1/quay\nDEFAULT_TAG_EXPIRATION: 2w\nTAG_EXPIRATION_OPTIONS: [1d, 2w]\n\
             DISTRIBUTED_STORAGE_CONFIG: {{default: [LocalStorage, {{storage_path: {}}}]}}\n\
             DISTRIBUTED_STORAGE_PREFERENCE: [default]\nPREFERRED_URL_SCHEME: http\nSERVER_HOSTNAME: localhost:{port}\n\
             SUPER_USERS: [admin]\nFEATURE_USER_INITIALIZE: true\nFEATURE_AUTO_PRUNE: true\nFEATURE_IMMUTABLE_TAGS: true\n\
             FEATURE_ORG_MIRROR: true\nFEATURE_TEAM_SYNCING: true\nFEATURE_IMAGE_PULL_STATS: true\n\
             FEATURE_QUOTA_MANAGEMENT: true\nSSRF_ALLOWED_HOSTS: [127.0.0.0/8]\n",
            folder.path().join("images").display()
        );
        let path = folder.path().join("config.yaml");
        fs::write(&path, config).expect("a configuration");
        let mounts = folder.path().join("mounts");
        fs::write(&mounts, "").expect("a table of mounts");
        let mut command = Command::new("/usr/bin/python3");
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/standins/quay/standin.py");
        command.args(["-BIu", program]).arg(&path).arg(port.to_string());
        command.env("QUAY_STANDIN_ALONE", folder.path()).env("QUAY_STANDIN_MOUNTS", &mounts);
        command.env("QUAY_STANDIN_START_SECONDS", "0").env("QUAY_STANDIN_FEDERATED", "ldap");
        let log = folder.path().join("log");
        log_to(&mut command, &log);
        let server = Server::start(&mut command, "-TERM");
        wait_until("the stand-in for Quay", &log, || {
            fs::read_to_string(&log).is_ok_and(|said| said.contains("ready on"))
        });
        Self { port, _server: server, _folder: folder }
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// A Ceph with its object gateway.
pub(super) struct Ceph {
    pub(super) port: u16,
    runner: Child,
    folder: TempDir,
}

impl Ceph {
    /// `None`, with the reason printed, where Ceph is not installed.
    pub(super) fn start() -> Option<Self> {
        if skip_without("Ceph", &["ceph-mon", "ceph-mgr", "ceph-osd", "radosgw", "radosgw-admin", "curl"]) {
            return None;
        }
        let folder = open_folder();
        let (mon, port) = (free_port(), free_port());
        let mut runner = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/ceph.sh"))
            .arg(folder.path())
            .args([mon.to_string(), port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the script");
        let mut line = String::new();
        let out = runner.stdout.take().expect("its output");
        BufReader::new(out).read_line(&mut line).expect("a line");
        let ceph = Self { port, runner, folder };
        assert_eq!(line.trim(), "up", "Ceph did not come up");
        Some(ceph)
    }

    /// The file that says where the cluster is.
    pub(super) fn config(&self) -> String {
        self.folder.path().join("ceph.conf").display().to_string()
    }
}

impl Drop for Ceph {
    fn drop(&mut self) {
        // The script reads its standard input until it is closed; then it stops what it started.
        drop(self.runner.stdin.take());
        let _ = self.runner.wait();
    }
}

pub(super) struct Registry {
    pub(super) port: u16,
    _server: Server,
    _folder: TempDir,
}

impl Registry {
    /// A registry whose only user is `quayadmin` with the password `secret`.
    pub(super) fn start() -> Self {
        Self::start_in(None)
    }

    fn start_in(namespace: Option<&str>) -> Self {
        const USERS: &str = "quayadmin:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";
        let folder = open_folder();
        let at = |name: &str| folder.path().join(name).display().to_string();
        fs::write(at("htpasswd"), USERS).expect("users");
        let port = free_port();
        let config = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: true}}\n\
             http: {{addr: '127.0.0.1:{port}', secret: x}}\nauth:\n  htpasswd: {{realm: test, path: {}}}\n",
            at("data"),
            at("htpasswd")
        );
        fs::write(at("config.yml"), config).expect("a configuration");
        let program = |name: &str| match namespace {
            None => Command::new(name),
            Some(namespace) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net=/run/netns/{namespace}")).arg(name);
                command
            }
        };
        let mut command = program("docker-registry");
        command.args(["serve", &at("config.yml")]);
        let log = folder.path().join("log");
        log_to(&mut command, &log);
        let server = Server::start(&mut command, "-TERM");
        let dial = format!("exec 3<>/dev/tcp/127.0.0.1/{port}");
        wait_until("the registry", &log, || {
            let mut asked = program("bash");
            asked.args(["-c", &dial]).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
        });
        Self { port, _server: server, _folder: folder }
    }
}

/// A web server with a certificate that nobody signed.
pub(super) struct Secure {
    pub(super) port: u16,
    _server: Server,
    _folder: TempDir,
}

impl Secure {
    pub(super) fn start() -> Self {
        let folder = open_folder();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let (key, cert) = (at("key.pem"), at("cert.pem"));
        let subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
        let made =
            ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", &key, "-out", &cert];
        quiet("openssl", &[&made[..], &subject].concat());
        let port = free_port();
        let mut command = Command::new("openssl");
        command.args([
            "s_server",
            "-accept",
            &format!("127.0.0.1:{port}"),
            "-key",
            &key,
            "-cert",
            &cert,
            "-www",
        ]);
        let log = folder.path().join("log");
        log_to(&mut command, &log);
        let server = Server::start(&mut command, "-TERM");
        wait_until("openssl", &log, || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { port, _server: server, _folder: folder }
    }
}

/// A stand-in for Quay's `user/initialize`: it has no users at first, and then it has one.
pub(super) fn quay_stand_in() -> u16 {
    use std::io::{Read, Write};
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        let mut has_users = false;
        for mut stream in listener.incoming().flatten() {
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            while !request.ends_with(b"}") {
                match stream.read(&mut buffer) {
                    Ok(read @ 1..) => request.extend_from_slice(&buffer[..read]),
                    _ => break,
                }
            }
            let request = String::from_utf8_lossy(&request).into_owned();
            let (status, body) = if !request.starts_with("POST /api/v1/user/initialize ") {
                ("404 Not Found", "{}")
            } else if request.contains("bad name") {
                ("400 Bad Request", r#"{"message": "Failed to initialize user: Invalid username"}"#)
            } else if has_users {
                ("400 Bad Request", r#"{"message": "Cannot initialize user in a non-empty database"}"#)
            } else {
                has_users = true;
                ("200 OK", r#"{"username": "quayadmin", "access_token": "abc"}"#)
            };
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
        }
    });
    port
}

/// A container engine in a network namespace of its own.
pub(super) struct Docker {
    server: Option<Server>,
    namespace: String,
    folder: TempDir,
}

impl Docker {
    /// `None` where no engine can run.
    pub(super) fn start() -> Option<Self> {
        let folder = open_folder();
        let namespace = format!("qsvc{}", std::process::id());
        if !Command::new("ip").args(["netns", "add", &namespace]).status().is_ok_and(|s| s.success()) {
            return None;
        }
        let mut engine = Self { server: None, namespace, folder };
        quiet("ip", &["-n", &engine.namespace, "link", "set", "lo", "up"]);
        let log = engine.folder.path().join("log");
        let at = |name: &str| engine.folder.path().join(name).display().to_string();
        let mut command = Command::new("nsenter");
        // Not `ip netns exec`: it mounts a fresh /sys, which hides the control groups.
        command
            .arg(format!("--net=/run/netns/{}", engine.namespace))
            .args([
                "dockerd",
                "--host",
                &engine.address(),
                "--data-root",
                &at("data"),
                "--exec-root",
                &at("exec"),
            ])
            .args(["--pidfile", &at("pid"), "--insecure-registry", "127.0.0.0/8"]);
        log_to(&mut command, &log);
        engine.server = Some(Server::start(&mut command, "-TERM"));
        let until = Instant::now() + Duration::from_secs(60);
        while !engine.docker(&["version"]).is_ok_and(|s| s.status.success()) {
            if Instant::now() > until {
                eprintln!("{}", fs::read_to_string(&log).unwrap_or_default());
                return None;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Some(engine)
    }

    pub(super) fn address(&self) -> String {
        format!("unix://{}", self.folder.path().join("docker.sock").display())
    }

    /// A registry that this engine reaches.
    pub(super) fn registry(&self) -> Registry {
        Registry::start_in(Some(&self.namespace))
    }

    /// A folder for a container's data, which belongs to this user.
    pub(super) fn folder(&self, name: &str, owner: u32) -> String {
        let path = self.folder.path().join(name).display().to_string();
        quiet("install", &["-d", "-m", "0755", "-o", &owner.to_string(), "-g", &owner.to_string(), &path]);
        path
    }

    fn docker(&self, args: &[&str]) -> std::io::Result<std::process::Output> {
        Command::new("/usr/bin/docker").args(["-H", &self.address()]).args(args).output()
    }

    fn import(&self, name: &str, extra: &str) {
        let root = self.folder.path().join(format!("root{extra}"));
        fs::create_dir_all(root.join("bin")).expect("a folder");
        fs::copy("/usr/bin/busybox", root.join("bin/busybox")).expect("busybox");
        fs::write(root.join("extra"), extra).expect("a file");
        let tar = self.folder.path().join(format!("root{extra}.tar")).display().to_string();
        quiet("tar", &["-C", &root.display().to_string(), "-cf", &tar, "."]);
        let made = self.docker(&["import", &tar, name]).expect("docker");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    /// An archive of a small image, which the engine forgets again.
    pub(super) fn make_archive(&self, name: &str) -> String {
        let archive = self.folder.path().join("image.tar").display().to_string();
        self.import(name, "1");
        for args in [vec!["save", "-o", &archive, name], vec!["rmi", name]] {
            let done = self.docker(&args).expect("docker");
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        }
        archive
    }

    /// Gives the name to another image.
    pub(super) fn retag_other(&self, name: &str) {
        self.import(name, "2");
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        drop(self.server.take());
        // What the engine mounted and left behind.
        let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
        let inside = self.folder.path().display().to_string();
        for mount in mounts.lines().filter_map(|l| l.split(' ').nth(1)).filter(|m| m.starts_with(&inside)) {
            let _ = Command::new("umount").args(["-l", mount]).status();
        }
        let _ = Command::new("ip").args(["netns", "delete", &self.namespace]).status();
    }
}
