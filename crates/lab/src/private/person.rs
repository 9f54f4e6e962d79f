/// Users that distributions make for QEMU.
const KNOWN: [&str; 2] = ["libvirt-qemu", "qemu"];

/// Numbers that no distribution gives to its users (systemd's, for services that exist only while they run).
const FREE: std::ops::Range<u32> = 61_184..65_520;

/// As whom QEMU runs in the private hypervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QemuPerson {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl QemuPerson {
    /// The distribution's user for it, as `/etc/passwd` has it; else one that nobody is, and that is written nowhere.
    pub(super) fn find(passwd: &str) -> Self {
        let users: Vec<(&str, Self)> = passwd.lines().filter_map(Self::read).collect();
        let known = KNOWN.iter().find_map(|name| users.iter().find(|(user, _)| user == name));
        if let Some((_, person)) = known.filter(|(_, person)| person.uid != 0) {
            return *person;
        }
        let taken = |id: u32| users.iter().any(|(_, other)| other.uid == id || other.gid == id);
        let id = FREE.into_iter().find(|id| !taken(*id)).unwrap_or(FREE.start);
        Self { uid: id, gid: id }
    }

    fn read(line: &str) -> Option<(&str, Self)> {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let mut numbers = fields.skip(1).map(str::parse::<u32>);
        Some((name, Self { uid: numbers.next()?.ok()?, gid: numbers.next()?.ok()? }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qemu_is_never_root_and_never_somebody_else() {
        let root = "root:x:0:0:root:/root:/bin/bash\n";
        for (more, person) in [
            ("libvirt-qemu:x:64055:107:Libvirt Qemu,,,:/var/lib/libvirt:/usr/sbin/nologin\n", (64_055, 107)),
            ("qemu:x:107:108:qemu user:/:/sbin/nologin\n", (107, 108)),
            ("qemu:x:0:0::/:\n", (61_184, 61_184)),
            ("a:x:61184:61184::/:\nb:x:7:61185::/:\n", (61_186, 61_186)),
            ("broken\n::\n", (61_184, 61_184)),
        ] {
            let found = QemuPerson::find(&format!("{root}{more}"));
            assert_eq!((found.uid, found.gid), person, "{more}");
        }
    }
}
