//! The private hypervisor against real namespaces and a real libvirt. It has no test harness, because joining a mount
//! namespace takes a process with one thread: each step is a child process of this one.

#![expect(clippy::print_stdout, reason = "a test without a harness says itself what it did")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use quaylab::lab::private::{Entered, PrivateHypervisor, Wanted};

const NETWORK: &str = "<network><name>quaylab-test</name><bridge name='virbr-901'/>\
<ip address='192.168.253.254' netmask='255.255.255.0'><dhcp><range start='192.168.253.1' end='192.168.253.9'/></dhcp></ip></network>";

type Outcome = Result<(), String>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.as_slice() {
        [step, folder] if step == "--join" => joined(Path::new(folder)),
        [step, folder] if step == "--network" => {
            joined(Path::new(folder)).and_then(|()| network(Path::new(folder)))
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
    let output = spawn("--network", folder)?.wait_with_output().map_err(|e| e.to_string())?;
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
