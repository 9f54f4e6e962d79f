use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::namespaces::{Namespaces, signal_process};
use super::person::QemuPerson;
use super::{PrivateError, PrivateHypervisor, SOCKETS};

/// Programs that a private hypervisor is made of, and where they come from.
const PROGRAMS: [(&str, &str); 7] = [
    ("unshare", "util-linux"),
    ("setsid", "util-linux"),
    ("ip", "iproute2"),
    ("libvirtd", "libvirt-daemon-system"),
    ("virtlogd", "libvirt-daemon-system"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("dnsmasq", "dnsmasq-base"),
];

/// Run without systemd, libvirt must not look for cgroups and security drivers, nor note owners beside files. QEMU, which is
/// what a guest can attack, is neither root nor may it start programs: libvirt gives it the files that its guest needs.
fn qemu_conf(person: QemuPerson) -> String {
    let QemuPerson { uid, gid } = person;
    format!(
        "user = \"+{uid}\"\ngroup = \"+{gid}\"\ndynamic_ownership = 1\nremember_owner = 0\nseccomp_sandbox = 1\n\
security_driver = \"none\"\nnamespaces = []\ncgroup_controllers = []\n"
    )
}

/// The socket for reading is its owner's, too: what it tells is nobody else's business.
const LIBVIRTD_CONF: &str = "auth_unix_rw = \"none\"\nauth_unix_ro = \"none\"\n\
unix_sock_rw_perms = \"0700\"\nunix_sock_ro_perms = \"0700\"\nunix_sock_admin_perms = \"0700\"\n";

/// What libvirt writes, as (folder of the machine, folder in the state).
const FOLDERS: [(&str, &str); 5] = [
    ("/etc/libvirt", "etc"),
    ("/var/lib/libvirt", "lib"),
    ("/var/log/libvirt", "log"),
    ("/var/cache/libvirt", "cache"),
    ("/run/libvirt", "run"),
];

/// The first process of the namespaces: names them, puts the mounts in place, and stays. A fresh /sys shows the
/// namespace's own interfaces; the cgroups of the old one are kept in it.
const HOLDER: &str = r#"
set -eu
names=$1 run=$2 resolv=$3 qemu=$4
shift 4
line="$(readlink /proc/self/ns/net) $(readlink /proc/self/ns/mnt) $$"
echo "$line" >"$names.new"
mv "$names.new" "$names"
while [ $# -gt 0 ]; do
    mount --bind "$2" "$1"
    shift 2
done
mkdir -p "$run/cgroup"
if mount --rbind /sys/fs/cgroup "$run/cgroup" 2>/dev/null; then kept=1; else kept=; fi
mount -t sysfs quaylab /sys
if [ -n "$kept" ]; then
    mount --rbind "$run/cgroup" /sys/fs/cgroup 2>/dev/null || true
    umount -l "$run/cgroup"
fi
# KVM for the guests' own user, in here only. Where no device may be made, guests are emulated.
if [ -c /dev/kvm ]; then
    mkdir -p "$run/dev"
    if mount -t tmpfs -o mode=0711,size=64k quaylab "$run/dev" && cp -a /dev/kvm "$run/dev/kvm" &&
        chown "$qemu" "$run/dev/kvm" && chmod 0600 "$run/dev/kvm"; then
        mount --bind "$run/dev/kvm" /dev/kvm
    fi
fi
if [ -n "$resolv" ] && [ -e /etc/resolv.conf ]; then mount --bind "$resolv" /etc/resolv.conf; fi
echo "$line ready" >"$names.new"
mv "$names.new" "$names"
echo ready
exec sleep infinity >/dev/null 2>&1
"#;

const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn check_programs() -> Result<(), PrivateError> {
    match PROGRAMS.iter().find(|(program, _)| find(program).is_none()) {
        Some(&(program, package)) => Err(PrivateError::Missing { program, package }),
        None => Ok(()),
    }
}

/// Where a program is; the system folders count even where a user's PATH lacks them.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&path).chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
}

fn command(program: &'static str) -> Command {
    Command::new(find(program).unwrap_or_else(|| program.into()))
}

/// Makes the namespaces with one process in them and its mounts in place.
pub(super) fn start_holder(private: &PrivateHypervisor) -> Result<Namespaces, PrivateError> {
    let person = QemuPerson::find(&fs::read_to_string("/etc/passwd").unwrap_or_default());
    // Pools lie beside it, and QEMU passes through what is above them, whatever the mask of whoever starts it.
    if let Some(above) = private.state.parent().filter(|above| !above.exists()) {
        fs::create_dir_all(above).map_err(|e| PrivateError::file("make", above, e))?;
        let passable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(above, passable).map_err(|e| PrivateError::file("open", above, e))?;
    }
    for folder in [&private.state, &private.run] {
        fs::create_dir_all(folder).map_err(|e| PrivateError::file("make", folder, e))?;
        // Sockets, logs and saved guests are root's; what QEMU needs of them it finds where they are mounted.
        let own = fs::Permissions::from_mode(0o700);
        fs::set_permissions(folder, own).map_err(|e| PrivateError::file("close", folder, e))?;
    }
    if !Path::new("/run/libvirt").exists() {
        write(&private.made_run(), "")?;
    }
    let mut mounts = Vec::new();
    for (machine, own) in FOLDERS {
        let base = if own == "run" { &private.run } else { &private.state };
        let own = base.join(own);
        for folder in [Path::new(machine), &own] {
            fs::create_dir_all(folder).map_err(|e| PrivateError::file("make", folder, e))?;
        }
        mounts.extend([PathBuf::from(machine), own]);
    }
    // The guests' consoles are logged here; only the daemon's packages would make it.
    let consoles = private.state.join("log/qemu");
    fs::create_dir_all(&consoles).map_err(|e| PrivateError::file("make", &consoles, e))?;
    write(&private.state.join("etc/qemu.conf"), &qemu_conf(person))?;
    write(&private.state.join("etc/libvirtd.conf"), LIBVIRTD_CONF)?;
    let resolv = if find("slirp4netns").is_some() {
        let path = private.run.join("resolv.conf");
        write(&path, "nameserver 10.0.2.3\n")?;
        path
    } else {
        PathBuf::new()
    };

    let log = private.state.join("log/holder.log");
    let stderr = File::create(&log).map_err(|e| PrivateError::file("make", &log, e))?;
    let mut holder = command("setsid")
        .args([
            "unshare",
            "--net",
            "--mount",
            "--propagation",
            "private",
            "--",
            "sh",
            "-c",
            HOLDER,
            "quaylab-private",
        ])
        .args([&private.names(), &private.run, &resolv])
        .arg(format!("{}:{}", person.uid, person.gid))
        .args(&mounts)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .map_err(|e| PrivateError::Failed { what: "starting unshare".into(), reason: e.to_string() })?;
    let mut line = String::new();
    if let Some(stdout) = holder.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).map_err(|e| PrivateError::file("read", &log, e))?;
    }
    Namespaces::read(&private.names()).filter(|n| n.ready && line == "ready\n").ok_or_else(|| {
        PrivateError::Failed { what: "making the private namespaces".into(), reason: tail(&log) }
    })
}

fn uplink_pid(private: &PrivateHypervisor) -> Option<i32> {
    let pid: i32 = fs::read_to_string(private.run.join("uplink.pid")).ok()?.trim().parse().ok()?;
    // A number is used again by others: it counts only while it is this program.
    (fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim() == "slirp4netns").then_some(pid)
}

/// A way out for the guests, where slirp4netns is installed.
pub(super) fn ensure_uplink(
    private: &PrivateHypervisor,
    namespaces: &Namespaces,
) -> Result<(), PrivateError> {
    if uplink_pid(private).is_some() || find("slirp4netns").is_none() {
        return Ok(());
    }
    let Some(member) = namespaces.member() else { return Ok(()) };
    let log = private.state.join("log/uplink.log");
    let output = |path: &Path| File::options().create(true).append(true).open(path);
    let (out, err) = (output(&log), output(&log));
    let (out, err) = (
        out.map_err(|e| PrivateError::file("open", &log, e))?,
        err.map_err(|e| PrivateError::file("open", &log, e))?,
    );
    // The machine's own loopback is no guest's business.
    let child = command("setsid")
        .args(["slirp4netns", "--configure", "--mtu=1400", "--disable-host-loopback", "--netns-type=path"])
        .args([format!("/proc/{member}/ns/net"), "tap0".into()])
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .map_err(|e| PrivateError::Failed { what: "starting slirp4netns".into(), reason: e.to_string() })?;
    write(&private.run.join("uplink.pid"), &child.id().to_string())
}

pub(super) fn stop_uplink(private: &PrivateHypervisor) {
    if let Some(pid) = uplink_pid(private) {
        signal_process(pid, Signal::TERM);
    }
}

/// Inside the namespaces: loopback up, and packets of the guests passed on.
pub(super) fn ensure_network() -> Result<(), PrivateError> {
    let forward = Path::new("/proc/sys/net/ipv4/ip_forward");
    run(command("ip").args(["link", "set", "lo", "up"]), "ip link set lo up")?;
    fs::write(forward, "1").map_err(|e| PrivateError::file("write", forward, e))
}

/// Inside the namespaces: the two daemons, those that do not run already.
pub(super) fn ensure_libvirt(private: &PrivateHypervisor) -> Result<(), PrivateError> {
    start_daemon(private, "virtlogd", &["/run/libvirt/virtlogd-sock"])?;
    start_daemon(private, "libvirtd", &SOCKETS)
}

fn start_daemon(
    private: &PrivateHypervisor,
    daemon: &'static str,
    sockets: &[&str],
) -> Result<(), PrivateError> {
    let answers = || sockets.iter().any(|socket| UnixStream::connect(socket).is_ok());
    if answers() {
        return Ok(());
    }
    let pid_file = format!("/run/libvirt/{daemon}.pid");
    let log = private.state.join(format!("log/{daemon}.log"));
    let stderr = File::create(&log).map_err(|e| PrivateError::file("make", &log, e))?;
    let started = command(daemon)
        .args(["--daemon", "--pid-file", &pid_file])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr)
        .status()
        .map_err(|e| PrivateError::Failed { what: format!("starting {daemon}"), reason: e.to_string() })?;
    if !started.success() {
        return Err(PrivateError::Failed { what: format!("starting {daemon}"), reason: tail(&log) });
    }
    let until = Instant::now() + PATIENCE;
    while !answers() {
        if Instant::now() > until {
            return Err(PrivateError::Silent { daemon, seconds: PATIENCE.as_secs(), log: tail(&log) });
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn run(command: &mut Command, what: &str) -> Result<(), PrivateError> {
    let failed = |reason: String| PrivateError::Failed { what: what.to_owned(), reason };
    let output = command.stdin(Stdio::null()).output().map_err(|e| failed(e.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

fn write(path: &Path, text: &str) -> Result<(), PrivateError> {
    fs::write(path, text).map_err(|e| PrivateError::file("write", path, e))
}

/// The last lines of a log, for an error message.
fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    if lines.is_empty() {
        return format!("{} is empty", log.display());
    }
    lines.into_iter().rev().collect::<Vec<_>>().join("; ")
}
