use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use super::{Hypervisor, LabError, write_private};
use crate::host::Script;

/// How guests run on a hypervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    Kvm,
    /// Software emulation (TCG): works everywhere, ten times slower.
    Emulation,
}

impl Accelerator {
    /// libvirt's word for it.
    pub fn domain_type(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Emulation => "qemu",
        }
    }
}

/// What was found out about KVM, with the reason in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvmProbe {
    pub accelerator: Accelerator,
    pub reason: String,
}

/// A boot sector that goes through real mode, protected mode, paging and long mode and then says 0x10 to port 0xf4.
const PAYLOAD: &[u8] = include_bytes!("kvm_probe.bin");

/// What qemu's debug exit device makes of 0x10.
const BOOTED: i32 = 0x10 << 1 | 1;

const TIME_LIMIT: Duration = Duration::from_secs(5);

/// Tells whether KVM on this machine really boots a guest, with the CPU model that quaylab's VMs get.
///
/// `/dev/kvm` opening says little: nested or restricted hosts refuse later. Asked once per boot of the machine; the answer is
/// kept in the state folder.
pub async fn probe_kvm(state_dir: &Path) -> Result<KvmProbe, LabError> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let cache = state_dir.join("kvm-probe");
    if let Some(known) = std::fs::read_to_string(&cache).ok().and_then(|text| read_cache(&text, boot.trim()))
    {
        return Ok(known);
    }
    let probe = run_probe().await?;
    let word = probe.accelerator.domain_type();
    write_private(&cache, format!("{}\n{word}\n{}\n", boot.trim(), probe.reason).as_bytes())?;
    Ok(probe)
}

/// The same for whichever hypervisor: a probe guest where one can be started, else what its capabilities say.
pub async fn kvm_of(hypervisor: &Hypervisor, state_dir: &Path) -> Result<KvmProbe, LabError> {
    if hypervisor.is_local() {
        return probe_kvm(state_dir).await;
    }
    if let Some(root) = hypervisor.way().and_then(|_| hypervisor.root()) {
        // VMs come up side by side, and one answer is enough.
        let mut known = hypervisor.state().kvm.lock().await;
        if let Some(probe) = &*known {
            return Ok(probe.clone());
        }
        let script = Script::new(format!("limit={}\n{PROBE_THERE}", TIME_LIMIT.as_secs()));
        let reply = root.pipe(&script, &mut &PAYLOAD[..]).await?;
        if let Some(probe) = read_answer(&reply.out()) {
            *known = Some(probe.clone());
            return Ok(probe);
        }
    }
    hypervisor.call(|d| d.capabilities()).await.map(|c| kvm_from_capabilities(&c))
}

/// Boots the payload from its input with KVM; says what came of it in one word and the reason after it.
const PROBE_THERE: &str = r#"
[ -e /dev/kvm ] || { echo missing; exit 0; }
PATH=$PATH:/usr/libexec
emulator=$(command -v qemu-system-x86_64 || command -v qemu-kvm) || exit 0
folder=$(mktemp -d) || exit 0
disk=$folder/disk
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM PIPE
cat >"$disk"
code=0
timeout "$limit" "$emulator" -accel kvm -cpu host -m 16 -nodefaults -display none -no-reboot -drive "file=$disk,format=raw,snapshot=on" \
    -device isa-debug-exit,iobase=0xf4,iosize=4 </dev/null >/dev/null 2>"$disk.said" || code=$?
echo "ended $code"
cat "$disk.said"
"#;

/// What `timeout` ends with when it had to end the program.
const TIMED_OUT: i32 = 124;

/// `None` where the probe could not be made.
fn read_answer(said: &str) -> Option<KvmProbe> {
    let (head, rest) = said.split_once('\n')?;
    if head == "missing" {
        return Some(KvmProbe {
            accelerator: Accelerator::Emulation,
            reason: "the hypervisor has no /dev/kvm".into(),
        });
    }
    let code: i32 = head.strip_prefix("ended ")?.trim().parse().ok()?;
    Some(judge((code != TIMED_OUT).then(|| (Some(code), rest.to_owned()))))
}

/// What a hypervisor's capabilities say, where its processes cannot be started from here.
fn kvm_from_capabilities(capabilities: &str) -> KvmProbe {
    let offers = super::xml::Element::parse(capabilities).is_ok_and(|c| {
        c.all("guest")
            .filter_map(|g| g.find("arch"))
            .any(|arch| arch.all("domain").any(|d| d.get("type") == Some("kvm")))
    });
    if offers {
        KvmProbe { accelerator: Accelerator::Kvm, reason: "the hypervisor offers KVM".into() }
    } else {
        KvmProbe { accelerator: Accelerator::Emulation, reason: "the hypervisor does not offer KVM".into() }
    }
}

fn read_cache(text: &str, boot: &str) -> Option<KvmProbe> {
    let mut lines = text.lines();
    if boot.is_empty() || lines.next()? != boot {
        return None;
    }
    let accelerator = match lines.next()? {
        "kvm" => Accelerator::Kvm,
        "qemu" => Accelerator::Emulation,
        _ => return None,
    };
    Some(KvmProbe { accelerator, reason: lines.next()?.to_owned() })
}

fn emulator() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join("qemu-system-x86_64"))
        .chain([PathBuf::from("/usr/libexec/qemu-kvm")])
        .find(|candidate| candidate.is_file())
}

async fn run_probe() -> Result<KvmProbe, LabError> {
    let no = |reason: String| KvmProbe { accelerator: Accelerator::Emulation, reason };
    // The daemon may open /dev/kvm where this user may not; then only a missing device is an answer.
    match std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Ok(no("there is no /dev/kvm: virtualisation is off in the firmware, or this is a VM without nesting".into()));
        }
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
            return Ok(KvmProbe {
                accelerator: Accelerator::Kvm,
                reason: "/dev/kvm is there; this user may not try it, libvirt's may".into(),
            });
        }
        Err(e) => return Ok(no(format!("/dev/kvm does not open: {e}"))),
        Ok(_) => {}
    }
    let Some(emulator) = emulator() else {
        return Ok(no("qemu-system-x86_64 is not installed".into()));
    };
    boot_payload(&emulator, Accelerator::Kvm, "host").await
}

async fn boot_payload(emulator: &Path, accelerator: Accelerator, cpu: &str) -> Result<KvmProbe, LabError> {
    let mut disk = tempfile::NamedTempFile::new().map_err(LabError::io("writing the KVM probe"))?;
    disk.write_all(PAYLOAD).map_err(LabError::io("writing the KVM probe"))?;
    let name = match accelerator {
        Accelerator::Kvm => "kvm",
        Accelerator::Emulation => "tcg",
    };
    let child = tokio::process::Command::new(emulator)
        .args([
            "-accel",
            name,
            "-cpu",
            cpu,
            "-m",
            "16",
            "-nodefaults",
            "-display",
            "none",
            "-no-reboot",
            "-drive",
        ])
        .arg(format!("file={},format=raw,snapshot=on", disk.path().display()))
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(LabError::io(format!("starting {}", emulator.display())))?;
    let answer = match tokio::time::timeout(TIME_LIMIT, child.wait_with_output()).await {
        Ok(output) => Some(output.map_err(LabError::io("waiting for the KVM probe"))?),
        Err(_) => None,
    };
    Ok(judge(answer.as_ref().map(|o| (o.status.code(), String::from_utf8_lossy(&o.stderr).into_owned()))))
}

fn judge(answer: Option<(Option<i32>, String)>) -> KvmProbe {
    let (accelerator, reason) = match answer {
        Some((Some(BOOTED), _)) => (Accelerator::Kvm, "a probe guest booted with KVM".into()),
        None => (
            Accelerator::Emulation,
            format!("/dev/kvm opens, but a probe guest did not boot within {} s", TIME_LIMIT.as_secs()),
        ),
        Some((_, stderr)) => {
            let line = stderr.lines().find(|l| l.contains("error")).or_else(|| stderr.lines().next());
            let said =
                line.unwrap_or("qemu ended without a word").rsplit("error: ").next().unwrap_or_default();
            (Accelerator::Emulation, format!("/dev/kvm opens, but a probe guest does not start: {said}"))
        }
    };
    KvmProbe { accelerator, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged_by_what_the_guest_did() {
        for (answer, accelerator, part) in [
            (Some((Some(BOOTED), String::new())), Accelerator::Kvm, "booted"),
            (None, Accelerator::Emulation, "did not boot within 5 s"),
            (
                Some((None, "qemu-system-x86_64: error: failed to set MSR 0x10a to 0x69\n".to_owned())),
                Accelerator::Emulation,
                "does not start: failed to set MSR",
            ),
        ] {
            let probe = judge(answer);
            assert_eq!(probe.accelerator, accelerator);
            assert!(probe.reason.contains(part), "{}", probe.reason);
        }
    }

    #[test]
    fn another_machines_answer_is_understood() {
        for (said, accelerator) in [
            ("ended 33\n", Some(Accelerator::Kvm)),
            ("ended 124\n", Some(Accelerator::Emulation)),
            ("ended 1\nqemu: error: no\n", Some(Accelerator::Emulation)),
            ("missing\n", Some(Accelerator::Emulation)),
            ("", None),
            ("what else\n", None),
        ] {
            assert_eq!(read_answer(said).map(|p| p.accelerator), accelerator, "{said}");
        }
    }

    #[test]
    fn an_answer_lasts_until_the_next_boot() {
        let text = "boot-1\nqemu\nbecause\n";
        assert_eq!(read_cache(text, "boot-1").map(|p| p.reason), Some("because".into()));
        assert_eq!(read_cache(text, "boot-2"), None);
        assert_eq!(read_cache(text, ""), None);
    }

    #[tokio::test]
    async fn the_payload_boots_where_guests_boot() {
        let Some(emulator) = emulator() else { return };
        let probe = boot_payload(&emulator, Accelerator::Emulation, "Nehalem").await.expect("it runs");
        assert_eq!(probe.accelerator, Accelerator::Kvm, "{}", probe.reason);
    }

    #[test]
    fn capabilities_speak_for_a_remote_hypervisor() {
        let caps = "<capabilities><guest><arch name='x86_64'><domain type='qemu'/><domain type='kvm'/></arch></guest></capabilities>";
        assert_eq!(kvm_from_capabilities(caps).accelerator, Accelerator::Kvm);
        assert_eq!(kvm_from_capabilities("<capabilities/>").accelerator, Accelerator::Emulation);
    }
}
