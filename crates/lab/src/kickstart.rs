use super::KeyPair;
use crate::host::{Secret, quote};

/// How the lab gets into what a kickstart installs.
#[derive(Debug)]
pub struct GuestAccess<'a> {
    /// The login user, whom the kickstart makes; gets the keys, and sudo where it is not root.
    pub user: &'a str,
    pub authorized_keys: &'a [String],
    pub host_key: &'a KeyPair,
}

/// What a finished installation writes to the serial console; `token` tells this one from those before it.
pub(super) fn installed_line(token: &str) -> String {
    format!("quaylab: installed {token}")
}

/// A kickstart that also lets the lab in, and says at its end that it came that far.
pub fn with_access(kickstart: &str, access: &GuestAccess<'_>, token: &str) -> Secret {
    let user = quote(access.user);
    let keys: String = access.authorized_keys.iter().map(|key| format!("{}\n", key.trim())).collect();
    let sudo = if access.user == "root" {
        String::new()
    } else {
        let line = quote(&format!("{} ALL=(ALL) NOPASSWD:ALL", access.user));
        format!("echo {line} >/etc/sudoers.d/quaylab\nchmod 440 /etc/sudoers.d/quaylab\n")
    };
    Secret(format!(
        "{kickstart}
%post --erroronfail
# quaylab: the lab's login, and the host key by which it knows this machine.
set -eu
umask 077
home=$(getent passwd {user} | cut -d: -f6)
mkdir -p \"$home/.ssh\"
cat >>\"$home/.ssh/authorized_keys\" <<'QUAYLAB_KEYS'
{keys}QUAYLAB_KEYS
chown -R {user}: \"$home/.ssh\"
{sudo}cat >/etc/ssh/ssh_host_ed25519_key <<'QUAYLAB_KEY'
{private}
QUAYLAB_KEY
echo {public} >/etc/ssh/ssh_host_ed25519_key.pub
chmod 644 /etc/ssh/ssh_host_ed25519_key.pub
if command -v restorecon >/dev/null; then restorecon -RF \"$home/.ssh\" /etc/ssh; fi
echo {done} >/dev/ttyS0
%end
",
        kickstart = kickstart.trim_end(),
        private = access.host_key.private.trim_end(),
        public = quote(&access.host_key.public),
        done = quote(&installed_line(token)),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> KeyPair {
        KeyPair {
            file: "/k".into(),
            private: "-----BEGIN\nx\n-----END\n".into(),
            public: "ssh-ed25519 BBBB quay".into(),
        }
    }

    #[test]
    fn the_lab_gets_in() {
        let keys = ["ssh-ed25519 AAAA lab\n".to_owned()];
        let access = GuestAccess { user: "ann", authorized_keys: &keys, host_key: &key() };
        insta::assert_snapshot!(with_access("text\n\n", &access, "t1").0, @r#"
        text
        %post --erroronfail
        # quaylab: the lab's login, and the host key by which it knows this machine.
        set -eu
        umask 077
        home=$(getent passwd ann | cut -d: -f6)
        mkdir -p "$home/.ssh"
        cat >>"$home/.ssh/authorized_keys" <<'QUAYLAB_KEYS'
        ssh-ed25519 AAAA lab
        QUAYLAB_KEYS
        chown -R ann: "$home/.ssh"
        echo 'ann ALL=(ALL) NOPASSWD:ALL' >/etc/sudoers.d/quaylab
        chmod 440 /etc/sudoers.d/quaylab
        cat >/etc/ssh/ssh_host_ed25519_key <<'QUAYLAB_KEY'
        -----BEGIN
        x
        -----END
        QUAYLAB_KEY
        echo 'ssh-ed25519 BBBB quay' >/etc/ssh/ssh_host_ed25519_key.pub
        chmod 644 /etc/ssh/ssh_host_ed25519_key.pub
        if command -v restorecon >/dev/null; then restorecon -RF "$home/.ssh" /etc/ssh; fi
        echo 'quaylab: installed t1' >/dev/ttyS0
        %end
        "#);
    }

    #[test]
    fn root_needs_no_sudo() {
        let access = GuestAccess { user: "root", authorized_keys: &[], host_key: &key() };
        assert!(!with_access("", &access, "t").0.contains("sudoers"));
    }
}
