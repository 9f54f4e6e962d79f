use super::Hypervisor;
use crate::host::Script;

/// The last lines of the kernel's log in which `AppArmor` or SELinux refused something to a guest or to libvirt.
const LOOK: &str = r#"{ journalctl -kq --no-pager -n 3000 2>/dev/null || dmesg 2>/dev/null; } |
grep -E 'apparmor="DENIED"|avc: +denied' | grep -E 'libvirt|qemu|virt|svirt' | tail -n 5"#;

/// What was refused on the hypervisor lately; nothing where nobody may look.
pub(super) async fn denials(hypervisor: &Hypervisor) -> Vec<String> {
    let Some(root) = hypervisor.root() else { return Vec::new() };
    match root.run(&Script::new(LOOK)).await {
        Ok(reply) => reply.out().lines().map(str::to_owned).collect(),
        Err(_) => Vec::new(),
    }
}
