//! The private hypervisor against real namespaces and a real libvirt. It has no test harness, because joining a mount
//! namespace takes a process with one thread: each step is a child process of this one.

#![expect(clippy::print_stdout, reason = "a test without a harness says itself what it did")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use quaylab::lab::private::{Entered, PrivateHypervisor, Wanted};

const NETWORK: &str = "<network><name>quaylab-test</name><bridge name='virbr-901'/>\
<ip address='192.168.253.254' netmask='255.255.255.0'><dhcp><range start='192.168.253.1' end='192.168.253.9'/></dhcp></ip></network>";

/// Boots a sector that writes to the serial console, from a disk in the folder POOL.
const GUEST: &str = "<domain type='qemu'><name>quaylab-tiny</name><memory unit='MiB'>32</memory>\
<os><type arch='x86_64' machine='q35'>hvm</type></os><devices>\
<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='POOL/disk.img'/><target dev='vda' bus='virtio'/></disk>\
<serial type='pty'><target port='0'/></serial></devices></domain>";

type Outcome = Result<(), String>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.as_slice() {
        [step, folder] if step == "--join" => joined(Path::new(folder)),
        [step, folder] if step == "--network" => {
            joined(Path::new(folder)).and_then(|()| network(Path::new(folder)))
        }
        [step, folder] if step == "--guest" => {
            joined(Path::new(folder)).and_then(|()| guest(Path::new(folder)))
        }
        // What a test harness is asked by tools that list tests.
        [first, ..] if first == "--list" => Ok(()),
        _ => match missing() {
            Some(reason) => {
                println!("skipped: {reason}");
                Ok(())
            }
            None => parent(),
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            println!("failed: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("making namespaces needs root".into());
    }
    for program in ["libvirtd", "virtlogd", "virsh", "qemu-system-x86_64", "dnsmasq", "unshare", "ip"] {
        let found =
            ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].iter().any(|f| Path::new(f).join(program).exists());
        if !found {
            return Some(format!("{program} is not installed"));
        }
    }
    let namespaces =
        Command::new("unshare").args(["--net", "--mount", "true"]).stderr(Stdio::null()).status();
    (!namespaces.is_ok_and(|s| s.success())).then(|| "this machine lets nobody make namespaces".into())
}

fn hypervisor(folder: &Path) -> PrivateHypervisor {
    PrivateHypervisor { state: folder.join("state"), run: folder.join("run") }
}

/// Joins, and says whether it is `fresh` or was `joined`.
fn joined(folder: &Path) -> Outcome {
    let before = std::env::current_dir().map_err(|e| e.to_string())?;
    let entered = hypervisor(folder).ensure_and_enter(Wanted::Always).map_err(|e| e.to_string())?;
    if std::env::current_dir().map_err(|e| e.to_string())? != before {
        return Err("the working directory has changed".into());
    }
    println!("{}", if entered == (Entered::Private { fresh: true }) { "fresh" } else { "joined" });
    Ok(())
}

/// Starts a network if there is none, and says which run and which interfaces there are.
fn network(folder: &Path) -> Outcome {
    let xml = folder.join("network.xml");
    fs::write(&xml, NETWORK).map_err(|e| e.to_string())?;
    if !said("virsh", &["-q", "-c", "qemu:///system", "net-list", "--all", "--name"])?
        .contains("quaylab-test")
    {
        said("virsh", &["-q", "-c", "qemu:///system", "net-define", &xml.to_string_lossy()])?;
        said("virsh", &["-q", "-c", "qemu:///system", "net-start", "quaylab-test"])?;
    }
    println!("{}", said("virsh", &["-q", "-c", "qemu:///system", "net-list", "--name"])?.trim());
    println!("{}", said("ip", &["-o", "link"])?);
    Ok(())
}

/// Boots a guest and says as whom QEMU runs, what it may do, and whose the files are that it was given.
fn guest(folder: &Path) -> Outcome {
    let text = |e: std::io::Error| e.to_string();
    let pool = folder.join("pool");
    fs::create_dir(&pool).map_err(text)?;
    // Folders above a pool are passed through, as those of a pool in /var/lib are.
    for above in [folder, pool.as_path()] {
        fs::set_permissions(above, fs::Permissions::from_mode(0o711)).map_err(text)?;
    }
    let disk = pool.join("disk.img");
    let mut image = include_bytes!("data/lab/tiny_guest.bin").to_vec();
    image.resize(1 << 20, 0);
    fs::write(&disk, image).map_err(text)?;
    fs::set_permissions(&disk, fs::Permissions::from_mode(0o600)).map_err(text)?;
    let xml = folder.join("guest.xml");
    fs::write(&xml, GUEST.replace("POOL", &pool.to_string_lossy())).map_err(text)?;
    let virsh = |arguments: &[&str]| said("virsh", &[&["-q", "-c", "qemu:///system"], arguments].concat());
    virsh(&["create", &xml.to_string_lossy()])?;
    let pid = fs::read_to_string("/run/libvirt/qemu/quaylab-tiny.pid").map_err(text)?;
    let status = fs::read_to_string(format!("/proc/{}/status", pid.trim())).map_err(text)?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().next().unwrap_or_default().to_owned()
    };
    let owner = fs::metadata(&disk).map_err(text)?.uid();
    let kvm = fs::metadata("/dev/kvm").map(|meta| meta.uid());
    println!("uid {} seccomp {} capabilities {}", field("Uid:"), field("Seccomp:"), field("CapEff:"));
    println!("disk {}", if owner.to_string() == field("Uid:") { "given" } else { "not given" });
    println!("kvm {}", kvm.map_or_else(|_| "none".into(), |uid| uid.to_string()));
    println!("state {}", virsh(&["domstate", "quaylab-tiny"])?.trim());
    for socket in ["libvirt-sock", "libvirt-sock-ro", "libvirt-admin-sock"] {
        if let Ok(meta) = fs::metadata(Path::new("/run/libvirt").join(socket)) {
            println!("{socket} {:o}", meta.mode() & 0o777);
        }
    }
    virsh(&["destroy", "quaylab-tiny"])?;
    println!("disk afterwards {}", fs::metadata(&disk).map_err(text)?.uid());
    Ok(())
}

fn parent() -> Outcome {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let before = machine()?;
    let outcome = steps(folder.path());
    let down = hypervisor(folder.path()).down().map_err(|e| e.to_string());
    outcome?;
    down?;
    check(!folder.path().join("state").exists(), "its files are removed")?;
    let after = machine()?;
    check(before == after, &format!("the machine is as it was\nbefore {before:?}\nafter  {after:?}"))
}

fn steps(folder: &Path) -> Outcome {
    let first = join(folder)?;
    check(first.starts_with("fresh"), "the first run starts it")?;
    check(first.contains("quaylab-test") && first.contains("virbr-901"), "a network starts in it")?;

    let second = join(folder)?;
    check(second.starts_with("joined"), "the second run joins it")?;
    check(second.contains("quaylab-test"), "and finds the network running")?;

    let booted = run("--guest", folder)?;
    let line =
        |start: &str| booted.lines().find_map(|l| l.strip_prefix(start)).unwrap_or_default().to_owned();
    let (uid, rest) =
        line("uid ").split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap_or_default();
    check(uid.parse::<u32>().is_ok_and(|uid| uid != 0), &format!("QEMU is not root\n{booted}"))?;
    check(rest == "seccomp 2 capabilities 0000000000000000", &format!("and is shut in\n{booted}"))?;
    check(line("state ") == "running" && line("disk ") == "given", &format!("its guest runs\n{booted}"))?;
    check(["none", &uid].contains(&line("kvm ").as_str()), &format!("KVM is its own in there\n{booted}"))?;
    check(line("disk afterwards ") == "0", &format!("the disk is root's again\n{booted}"))?;
    check(
        line("libvirt-sock-ro ") == "700" && line("libvirt-sock ") == "700",
        &format!("the sockets are root's\n{booted}"),
    )?;
    for own in ["state", "run"] {
        let mode = fs::metadata(folder.join(own)).map_err(|e| e.to_string())?.mode();
        check(mode & 0o777 == 0o700, &format!("{own} is closed"))?;
    }

    let pid = fs::read_to_string(folder.join("run/run/libvirtd.pid")).map_err(|e| e.to_string())?;
    said("kill", &["-9", pid.trim()])?;
    while Path::new("/proc").join(pid.trim()).exists() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let third = join(folder)?;
    check(third.starts_with("joined") && third.contains("quaylab-test"), "a killed daemon is started again")?;

    // More than once, because those who join meet others that end just then.
    for _ in 0..4 {
        hypervisor(folder).down().map_err(|e| e.to_string())?;
        fs::create_dir_all(folder.join("run")).map_err(|e| e.to_string())?;
        fs::write(folder.join("run/namespaces"), "net:[1] mnt:[2] 1 ready\n").map_err(|e| e.to_string())?;
        check(at_once(6, folder)? == 1, "after a reboot, of runs at once one starts it and the others join")?;
    }
    Ok(())
}

/// Joins by so many runs at once: how many of them have started it.
fn at_once(runs: usize, folder: &Path) -> Result<usize, String> {
    let children: Vec<_> = (0..runs).map(|_| spawn("--join", folder)).collect::<Result<_, _>>()?;
    let outputs: Vec<_> = children.into_iter().map(std::process::Child::wait_with_output).collect();
    let mut fresh = 0;
    for output in outputs {
        let output = output.map_err(|e| e.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            return Err(format!("one of {runs} runs at once: {text}"));
        }
        fresh += usize::from(text.starts_with("fresh"));
    }
    Ok(fresh)
}

fn spawn(step: &str, folder: &Path) -> Result<std::process::Child, String> {
    let this = std::env::current_exe().map_err(|e| e.to_string())?;
    let child = Command::new(this).arg(step).arg(folder).stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    child.map_err(|e| e.to_string())
}

fn join(folder: &Path) -> Result<String, String> {
    run("--network", folder)
}

fn run(step: &str, folder: &Path) -> Result<String, String> {
    let output = spawn(step, folder)?.wait_with_output().map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() { Ok(text) } else { Err(text) }
}

fn check(holds: bool, what: &str) -> Outcome {
    if holds {
        println!("ok: {}", what.lines().next().unwrap_or_default());
        return Ok(());
    }
    Err(what.to_owned())
}

fn said(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).output().map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// What must be the same afterwards: interfaces, libvirt's files, mounts, forwarding.
#[derive(Debug, PartialEq)]
struct Machine {
    links: Vec<String>,
    files: BTreeMap<PathBuf, Option<Vec<u8>>>,
    mounts: String,
    forward: String,
    /// Whose KVM is.
    kvm: Option<(u32, u32, u32)>,
}

fn machine() -> Result<Machine, String> {
    let mut files = BTreeMap::new();
    for folder in ["/etc/libvirt", "/var/lib/libvirt", "/run/libvirt"] {
        collect(Path::new(folder), &mut files);
    }
    let links = said("ip", &["-o", "link"])?;
    Ok(Machine {
        // Names only: other work of the machine may change their counters and states meanwhile.
        links: links
            .lines()
            .filter_map(|l| l.split(": ").nth(1))
            .filter(|n| !n.starts_with("veth"))
            .map(str::to_owned)
            .collect(),
        files,
        mounts: fs::read_to_string("/proc/self/mounts").map_err(|e| e.to_string())?,
        forward: fs::read_to_string("/proc/sys/net/ipv4/ip_forward").map_err(|e| e.to_string())?,
        kvm: fs::metadata("/dev/kvm").ok().map(|meta| (meta.uid(), meta.gid(), meta.mode())),
    })
}

fn collect(path: &Path, into: &mut BTreeMap<PathBuf, Option<Vec<u8>>>) {
    if path.is_dir() {
        into.insert(path.to_owned(), None);
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.for_each(|entry| collect(&entry.path(), into));
    } else if path.is_file() {
        into.insert(path.to_owned(), fs::read(path).ok());
    }
}
