//! The system modules against this machine, with throw-away things only: nothing of the machine itself is changed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]
#![expect(clippy::print_stderr, reason = "a test that is skipped says why")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

#[path = "support/oracle.rs"]
mod oracle;

use async_trait::async_trait;
use quaylab::host::{ConnectionSpec, Target};
use quaylab::modules::{Controller, FileKind, ModuleError, Outcome, RunMode, TaskContext, registry};
use quaylab::value::Value;
use serde_json::json;

/// A controller that has no files: these modules take none.
struct Bare(PathBuf);

#[async_trait]
impl Controller for Bare {
    fn load(&self, _: FileKind, name: &str) -> Result<(String, Vec<u8>), ModuleError> {
        Err(ModuleError::failed(format!("no file {name}")))
    }
    fn locate(&self, _: FileKind, name: &str) -> Result<PathBuf, ModuleError> {
        Err(ModuleError::failed(format!("no file {name}")))
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

struct Here {
    cx: TaskContext,
    folder: tempfile::TempDir,
}

impl Here {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let target = Target::new(ConnectionSpec::local("here"));
        let cx = TaskContext {
            shell: target.shell(None),
            host: "here".to_owned(),
            mode: RunMode { check: false, diff: true },
            environment: Vec::new(),
            run: quaylab::run_context::RunContext::default(),
            controller: Arc::new(Bare(folder.path().to_owned())),
        };
        Self { cx, folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    async fn run(&self, name: &str, args: Value) -> Result<Outcome, ModuleError> {
        let Value::Object(args) = args else { panic!("a mapping") };
        registry().get(name).unwrap().run(args, &self.cx).await
    }

    async fn changed(&self, name: &str, args: Value) -> bool {
        let shown = args.to_string();
        match self.run(name, args).await {
            Ok(outcome) => outcome.changed,
            Err(error) => panic!("{name} {shown}: {error}"),
        }
    }

    async fn error(&self, name: &str, args: Value) -> String {
        self.run(name, args).await.unwrap_err().to_string()
    }
}

/// Whether this machine has a program; a test that needs one it has not says so and passes.
fn has(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
    let there = found.is_ok_and(|o| o.status.success());
    if !there {
        eprintln!("skipped: this machine has no {program}");
    }
    there
}

fn root() -> bool {
    let is = rustix::process::geteuid().is_root();
    if !is {
        eprintln!("skipped: this needs root");
    }
    is
}

#[tokio::test]
async fn an_installed_package_is_left_and_a_missing_one_foreseen() {
    if !has("apt-get") || !has("git") {
        return;
    }
    let mut here = Here::new();
    assert!(!here.changed("apt", json!({"name": ["bash", "coreutils"]})).await);
    assert!(!here.changed("package", json!({"name": "bash", "state": "present"})).await);
    // Something installed provides it.
    assert!(!here.changed("apt", json!({"name": "awk"})).await);
    assert!(!here.changed("apt", json!({"name": "quaylab-no-such-package", "state": "absent"})).await);
    here.cx.mode.check = true;
    let outcome = here.run("apt", json!({"name": "git", "state": "absent"})).await.unwrap();
    assert!(outcome.changed && outcome.diff.iter().any(|d| d.after.contains("git")));
    let error = here.error("apt", json!({"name": "quaylab-no-such-package"})).await;
    assert!(error.contains("Unable to locate package quaylab-no-such-package"), "{error}");
    let packages = here.run("package_facts", json!({})).await.unwrap().facts;
    assert_eq!(packages["packages"]["bash"][0]["source"], "apt");
}

#[tokio::test]
async fn facts_describe_this_machine() {
    let here = Here::new();
    let facts = here.run("setup", json!({})).await.unwrap().facts;
    let said = |program: &str, args: &[&str]| {
        String::from_utf8(Command::new(program).args(args).output().unwrap().stdout)
            .unwrap()
            .trim()
            .to_owned()
    };
    assert_eq!(facts["ansible_kernel"], said("uname", &["-r"]));
    assert_eq!(facts["ansible_nodename"], said("uname", &["-n"]));
    assert_eq!(facts["ansible_user_id"], said("id", &["-un"]));
    assert_eq!(facts["ansible_user_uid"].to_string(), said("id", &["-u"]));
    assert!(facts["ansible_memtotal_mb"].as_u64().unwrap() > 100);
    assert!(!facts["ansible_mounts"].as_array().unwrap().is_empty());
    let filtered =
        here.run("setup", json!({"gather_subset": "!all", "filter": "ansible_dist*"})).await.unwrap();
    assert!(filtered.facts.contains_key("ansible_distribution"));
    assert!(!filtered.facts.contains_key("ansible_kernel"));
}

/// The facts that roles use most, against ansible-core's own.
#[tokio::test]
async fn facts_are_ansibles() {
    let python = oracle::python().unwrap();
    let said = Command::new(python.with_file_name("ansible"))
        .args(["localhost", "-c", "local", "-i", "localhost,", "-m", "setup"])
        .args(["-e", "ansible_python_interpreter={{ ansible_playbook_python }}"])
        .env("ANSIBLE_NOCOLOR", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let start = text.find("=> ").unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&said.stderr)));
    let theirs: Value = serde_json::from_str(&text[start + 3..]).unwrap();
    let theirs = theirs["ansible_facts"].as_object().unwrap();
    let ours = Here::new().run("setup", json!({})).await.unwrap().facts;
    // Not the full name: where /etc/hosts calls the host localhost, Python and `hostname -f` differ.
    let same = [
        "distribution",
        "distribution_version",
        "distribution_major_version",
        "distribution_release",
        "distribution_minor_version",
        "distribution_file_parsed",
        "distribution_file_path",
        "distribution_file_variety",
        "os_family",
        "system",
        "kernel",
        "kernel_version",
        "architecture",
        "machine",
        "hostname",
        "nodename",
        "memtotal_mb",
        "swaptotal_mb",
        "processor_vcpus",
        "processor_count",
        "processor_cores",
        "processor_nproc",
        "service_mgr",
        "pkg_mgr",
        "user_id",
        "user_uid",
        "user_gid",
        "user_dir",
        "user_shell",
        "user_gecos",
        "all_ipv4_addresses",
        "default_ipv4",
        "fips",
        "machine_id",
        "userspace_bits",
        "cmdline",
        "dns",
        "virtualization_type",
        "virtualization_role",
        "product_name",
        "system_vendor",
    ];
    let differing: Vec<String> = same
        .iter()
        .map(|k| format!("ansible_{k}"))
        .filter(|k| theirs.get(k) != ours.get(k))
        .map(|k| format!("{k}: theirs {:?}, ours {:?}", theirs.get(&k), ours.get(&k)))
        .collect();
    assert!(differing.is_empty(), "{differing:#?}");
}

#[tokio::test]
async fn the_mount_table_is_edited_in_place() {
    let here = Here::new();
    let table = here.path("fstab");
    std::fs::write(&table, "# kept\nUUID=1 / ext4 defaults 0 1\n").unwrap();
    let mount =
        json!({"path": "/srv/x", "src": "/dev/vdz", "fstype": "xfs", "state": "present", "fstab": table});
    assert!(here.changed("mount", mount.clone()).await);
    assert!(!here.changed("ansible.posix.mount", mount.clone()).await);
    let text = std::fs::read_to_string(&table).unwrap();
    assert_eq!(text, "# kept\nUUID=1 / ext4 defaults 0 1\n/dev/vdz /srv/x xfs defaults 0 0\n");
    let mut absent = mount;
    absent["state"] = json!("absent");
    assert!(here.changed("mount", absent.clone()).await);
    assert!(!here.changed("mount", absent).await);
    assert_eq!(std::fs::read_to_string(&table).unwrap(), "# kept\nUUID=1 / ext4 defaults 0 1\n");
}

#[tokio::test]
async fn file_systems_are_made_once_and_never_over_another() {
    if !root() || !has("mkfs.ext4") || !has("dumpe2fs") {
        return;
    }
    let mut here = Here::new();
    let disk = here.path("disk");
    let sized = |mib: u64| {
        std::fs::File::options()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&disk)
            .unwrap()
            .set_len(mib << 20)
            .unwrap();
    };
    sized(32);
    let ext4 = json!({"dev": disk, "fstype": "ext4"});
    here.cx.mode.check = true;
    assert!(here.changed("filesystem", ext4.clone()).await);
    here.cx.mode.check = false;
    assert!(here.changed("filesystem", ext4.clone()).await);
    assert!(!here.changed("filesystem", ext4.clone()).await);
    let error = here.error("filesystem", json!({"dev": disk, "fstype": "xfs"})).await;
    assert!(error.contains("already holds a signature of ext4"), "{error}");
    sized(64);
    let grown = json!({"dev": disk, "fstype": "ext4", "resizefs": true});
    assert!(here.changed("filesystem", grown.clone()).await);
    assert!(!here.changed("filesystem", grown).await);
    assert!(here.changed("filesystem", json!({"dev": disk, "state": "absent"})).await);
    assert!(here.changed("filesystem", ext4).await);
}

/// A file as a disk; it is taken apart when the test ends.
struct LoopDisk {
    device: String,
    mounted: PathBuf,
}

impl LoopDisk {
    fn of(file: &Path, mounted: PathBuf) -> Option<Self> {
        let made = Command::new("losetup").args(["--find", "--show"]).arg(file).output().ok()?;
        if !made.status.success() {
            eprintln!("skipped: this machine gives no loop device");
            return None;
        }
        Some(Self { device: String::from_utf8_lossy(&made.stdout).trim().to_owned(), mounted })
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        for (program, what) in [("umount", self.mounted.as_os_str()), ("losetup", self.device.as_ref())] {
            let words: &[&str] = if program == "losetup" { &["--detach"] } else { &["--quiet"] };
            let _ = Command::new(program).args(words).arg(what).status();
        }
    }
}

#[tokio::test]
async fn a_mounted_xfs_grows_with_its_disk() {
    if !root() || !has("mkfs.xfs") || !has("xfs_info") || !has("losetup") {
        return;
    }
    let mut here = Here::new();
    let (file, folder) = (here.folder.path().join("disk"), here.folder.path().join("my data"));
    std::fs::create_dir(&folder).unwrap();
    let disk = std::fs::File::create(&file).unwrap();
    disk.set_len(320 << 20).unwrap();
    let Some(loops) = LoopDisk::of(&file, folder.clone()) else { return };
    let xfs = json!({"dev": loops.device, "fstype": "xfs", "opts": "-n ftype=1", "resizefs": true});
    assert!(here.changed("filesystem", xfs.clone()).await);
    assert!(!here.changed("filesystem", xfs.clone()).await);
    let size = || rustix::fs::statvfs(&folder).unwrap();
    assert!(Command::new("mount").arg(&loops.device).arg(&folder).status().unwrap().success());
    assert!(!here.changed("filesystem", xfs.clone()).await);
    let before = size();

    disk.set_len(640 << 20).unwrap();
    assert!(Command::new("losetup").args(["-c", &loops.device]).status().unwrap().success());
    here.cx.mode.check = true;
    assert!(here.changed("filesystem", xfs.clone()).await);
    here.cx.mode.check = false;
    assert!(here.changed("filesystem", xfs.clone()).await);
    let after = size();
    assert!(after.f_blocks * after.f_frsize > before.f_blocks * before.f_frsize + (300 << 20));
    // On the device its size is still the old one.
    assert!(!here.changed("filesystem", xfs).await);
}

#[tokio::test]
async fn accounts_are_foreseen() {
    let mut here = Here::new();
    here.cx.mode.check = true;
    assert!(!here.changed("user", json!({"name": "root", "home": "/root", "uid": 0})).await);
    assert!(!here.changed("group", json!({"name": "root", "gid": 0})).await);
    assert!(!here.changed("user", json!({"name": "quaylab-none", "state": "absent"})).await);
    assert!(
        here.changed("user", json!({"name": "quaylab-none", "groups": "root", "password": "$6$x$y"})).await
    );
    assert!(here.changed("group", json!({"name": "quaylab-none", "system": true})).await);
    let found = here.run("getent", json!({"database": "passwd", "key": "root"})).await.unwrap();
    assert_eq!(found.facts["getent_passwd"]["root"][1], "0");
    let error = here.error("getent", json!({"database": "passwd", "key": "quaylab-none"})).await;
    assert!(error.contains("not in the database"), "{error}");
}

#[tokio::test]
async fn keys_and_settings_are_written_to_the_files_that_are_named() {
    let here = Here::new();
    let keys = here.path("ssh/authorized_keys");
    let key = json!({"user": "root", "key": "ssh-ed25519 AAAAC3 me@x", "path": keys, "manage_dir": true});
    assert!(here.changed("authorized_key", key.clone()).await);
    assert!(!here.changed("authorized_key", key.clone()).await);
    assert_eq!(std::fs::read_to_string(&keys).unwrap(), "ssh-ed25519 AAAAC3 me@x\n");
    let file = here.path("sysctl.conf");
    let setting = json!({"name": "vm.swappiness", "value": 10, "sysctl_file": file, "reload": false});
    assert!(here.changed("sysctl", setting.clone()).await);
    assert!(!here.changed("sysctl", setting).await);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "vm.swappiness=10\n");
}

#[tokio::test]
async fn a_local_host_is_never_rebooted() {
    let error = Here::new().error("reboot", json!({})).await;
    assert!(error.contains("control node"), "{error}");
}

/// Against a stand-in (see `tests/standins/`), since the real program is on RHEL only.
#[tokio::test]
async fn a_host_is_registered_without_showing_a_secret() {
    if !has("python3") {
        return;
    }
    let mut here = Here::new();
    let standins = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/standins");
    let path = format!("{standins}:{}", std::env::var("PATH").unwrap());
    here.cx.environment = vec![("PATH".to_owned(), path), ("STANDIN_STATE".to_owned(), here.path(""))];
    let state = || -> Value {
        serde_json::from_slice(&std::fs::read(here.folder.path().join("rhsm.json")).unwrap()).unwrap()
    };

    let wrong =
        here.error("redhat_subscription", json!({"username": "bob", "password": "s3cret-password"})).await;
    assert!(wrong.contains("status 70") && !wrong.contains("s3cret"), "{wrong}");
    let ann = json!({"username": "ann", "password": "s3cret-password", "pool": "*Lab*"});
    assert!(here.changed("redhat_subscription", ann.clone()).await);
    assert!(!here.changed("redhat_subscription", ann.clone()).await);
    assert_eq!(state()["pools"], json!(["pool-a"]));

    let repos = json!({"name": ["rhel-7-server-rpms", "rhel-7-server-extras-rpms"], "purge": true});
    assert!(here.changed("rhsm_repository", repos.clone()).await);
    assert!(!here.changed("rhsm_repository", repos).await);
    assert_eq!(state()["repos"], json!(["rhel-7-server-rpms", "rhel-7-server-extras-rpms"]));
    let error = here.error("rhsm_repository", json!({"name": "rhel-7-server-rpm"})).await;
    assert!(error.contains("not a valid repository ID"), "{error}");

    let key = json!({"org_id": "lab", "activationkey": "s3cret-key", "force_register": true});
    assert!(here.changed("redhat_subscription", key).await);
    assert!(here.changed("redhat_subscription", json!({"state": "absent"})).await);
    assert!(!here.changed("redhat_subscription", json!({"state": "absent"})).await);
}

fn read_yaml(path: &Path) -> Value {
    serde_yaml::from_str(&std::fs::read_to_string(path).unwrap())
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn task_modules(tasks: &Value, found: &mut Vec<(String, Value)>) {
    let keywords = [
        "name",
        "when",
        "register",
        "loop",
        "become",
        "no_log",
        "changed_when",
        "failed_when",
        "check_mode",
        "block",
        "vars",
    ];
    for task in tasks.as_array().unwrap() {
        let task = task.as_object().unwrap();
        if let Some(block) = task.get("block") {
            task_modules(block, found);
        }
        found.extend(
            task.iter().filter(|(k, _)| !keywords.contains(&k.as_str())).map(|(k, v)| (k.clone(), v.clone())),
        );
    }
}

#[test]
fn the_roles_use_modules_and_arguments_that_exist() {
    let others =
        ["debug", "assert", "set_fact", "include_tasks", "command", "copy", "template", "file", "stat"];
    for role in ["subscription", "docker_storage"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("roles").join(role);
        let defaults = read_yaml(&folder.join("defaults/main.yml"));
        let specs = read_yaml(&folder.join("meta/argument_specs.yml"));
        let names =
            |v: &Value| v.as_object().unwrap().keys().cloned().collect::<std::collections::BTreeSet<_>>();
        assert_eq!(names(&defaults), names(&specs["argument_specs"]["main"]["options"]), "{role}");
        let mut modules = Vec::new();
        for entry in std::fs::read_dir(folder.join("tasks")).unwrap() {
            task_modules(&read_yaml(&entry.unwrap().path()), &mut modules);
        }
        assert!(!modules.is_empty());
        for (name, args) in modules {
            match registry().get(&name) {
                Some(module) => {
                    for key in args.as_object().unwrap().keys() {
                        assert!(
                            module.spec().arguments.contains(&key.as_str()),
                            "{role}: {name} takes no {key}"
                        );
                    }
                }
                None => {
                    assert!(others.contains(&name.rsplit('.').next().unwrap()), "{role}: no module {name}");
                }
            }
        }
    }
}
