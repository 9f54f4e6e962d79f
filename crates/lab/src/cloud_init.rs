use std::io::{Cursor, Write};
use std::path::Path;

use rand::RngExt;
use serde::Serialize;
use sha_crypt::{PasswordHasher, ShaCrypt};
use sha2::{Digest, Sha256};

use super::guest_words::{NETWORK, guest_hostname, prefer_usual_shell};
use super::private_file::read_or_make;
use super::{KeyPair, LabError, host_dir};
use crate::host::Secret;
use crate::value::{Map, Value};

/// What a guest is told on its first boot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GuestSetup {
    /// The VM's own name, under which what belongs to it is kept.
    pub name: String,
    /// The first label of the guest's name.
    pub hostname: String,
    pub fqdn: String,
    /// The login user, who gets the keys, the password and sudo.
    pub user: String,
    pub password: Option<Secret>,
    pub authorized_keys: Vec<String>,
    pub packages: Vec<String>,
    pub update: bool,
    /// Commands (text or list) that run once at the end.
    pub run_cmds: Vec<Value>,
    /// Whether it is to ask for an IPv6 address from DHCP even where the network does not tell it to.
    pub dhcp6: bool,
    /// More user-data, as a person wrote it: its mappings are merged in, its lists are added to, its other values win.
    /// `network` in it is the whole network configuration.
    pub more: Option<Map>,
}

#[derive(Debug, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "these are cloud-init's own switches")]
struct UserData<'a> {
    hostname: &'a str,
    fqdn: &'a str,
    manage_etc_hosts: bool,
    user: User<'a>,
    disable_root: bool,
    ssh_authorized_keys: &'a [String],
    // Only the key that quaylab made: it is the one that the first login expects.
    ssh_deletekeys: bool,
    ssh_genkeytypes: [&'static str; 0],
    ssh_keys: SshKeys<'a>,
    ssh_pwauth: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    chpasswd: Option<ChPasswd>,
    package_update: bool,
    package_upgrade: bool,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    packages: &'a [String],
    #[serde(skip_serializing_if = "<[Value]>::is_empty")]
    runcmd: &'a [Value],
}

#[derive(Debug, Serialize)]
struct User<'a> {
    name: &'a str,
    lock_passwd: bool,
    sudo: &'static str,
    shell: &'static str,
}

#[derive(Debug, Serialize)]
struct SshKeys<'a> {
    ed25519_private: &'a str,
    ed25519_public: &'a str,
}

#[derive(Debug, Serialize)]
struct ChPasswd {
    expire: bool,
    /// `user:hash` lines: the form that every cloud-init understands.
    list: String,
}

#[derive(Debug, Serialize)]
struct MetaData<'a> {
    #[serde(rename = "instance-id")]
    instance_id: String,
    #[serde(rename = "local-hostname")]
    local_hostname: &'a str,
}

#[derive(Debug, Serialize)]
struct NetworkConfig {
    version: u8,
    ethernets: Ethernets,
}

#[derive(Debug, Serialize)]
struct Ethernets {
    lab0: Ethernet,
}

#[derive(Debug, Serialize)]
struct Ethernet {
    r#match: MacMatch,
    dhcp4: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dhcp6: bool,
    // The lease is looked up by MAC, whatever machine-id the image has.
    #[serde(rename = "dhcp-identifier")]
    dhcp_identifier: &'static str,
}

#[derive(Debug, Serialize)]
struct MacMatch {
    macaddress: String,
}

/// The three documents of a `NoCloud` seed.
#[derive(Clone, PartialEq, Eq)]
pub struct Seed {
    pub user_data: String,
    pub meta_data: String,
    pub network_config: String,
}

impl Seed {
    /// Writes the documents. Equal inputs give equal documents, so a second run changes nothing.
    pub fn new(
        setup: &GuestSetup,
        lab: &str,
        mac: &str,
        host_key: &KeyPair,
        state_dir: &Path,
    ) -> Result<Self, LabError> {
        let root = setup.user == "root";
        let chpasswd = match &setup.password {
            Some(password) => {
                let hash = password_hash(password, &salt(state_dir, &setup.name)?)?;
                Some(ChPasswd { expire: false, list: format!("{}:{hash}\n", setup.user) })
            }
            None => None,
        };
        let (hostname, fqdn) = (guest_hostname(&setup.hostname), guest_hostname(&setup.fqdn));
        let asked_shell =
            setup.more.as_ref().is_some_and(|m| m.get("user").is_some_and(|u| u.get("shell").is_some()));
        let mut run_cmds = setup.run_cmds.clone();
        if !root && !asked_shell {
            run_cmds.insert(0, prefer_usual_shell(&setup.user));
        }
        let user_data = UserData {
            hostname: &hostname,
            fqdn: &fqdn,
            manage_etc_hosts: true,
            // root is not a user to make; the image's own user stays beside it.
            user: User {
                name: if root { "quaylab" } else { &setup.user },
                lock_passwd: root || setup.password.is_none(),
                sudo: "ALL=(ALL) NOPASSWD:ALL",
                // The one that every image has; who logs in first gets in with it.
                shell: "/bin/sh",
            },
            disable_root: !root,
            ssh_authorized_keys: &setup.authorized_keys,
            ssh_deletekeys: true,
            ssh_genkeytypes: [],
            ssh_keys: SshKeys { ed25519_private: &host_key.private, ed25519_public: &host_key.public },
            ssh_pwauth: setup.password.is_some(),
            chpasswd,
            package_update: setup.update || !setup.packages.is_empty(),
            package_upgrade: setup.update,
            packages: &setup.packages,
            runcmd: &run_cmds,
        };
        // The instance is the VM, not the seed: a changed seed does not make cloud-init start over.
        let meta_data =
            MetaData { instance_id: format!("quaylab-{lab}-{}", setup.fqdn), local_hostname: &fqdn };
        let network_config = NetworkConfig {
            version: 2,
            ethernets: Ethernets {
                lab0: Ethernet {
                    r#match: MacMatch { macaddress: mac.to_owned() },
                    dhcp4: true,
                    dhcp6: setup.dhcp6,
                    dhcp_identifier: "mac",
                },
            },
        };
        let mut more = setup.more.clone();
        let own_network = more.as_mut().and_then(|more| more.shift_remove(NETWORK));
        Ok(Self {
            user_data: format!("#cloud-config\n{}", with_more(&user_data, more.as_ref())?),
            meta_data: yaml(&meta_data)?,
            network_config: own_network.map_or_else(|| yaml(&network_config), |own| yaml(&own))?,
        })
    }

    /// Tells seeds apart without showing what is in them.
    pub fn digest(&self) -> String {
        let mut hasher = Sha256::new();
        for document in [&self.user_data, &self.meta_data, &self.network_config] {
            hasher.update(document.len().to_le_bytes());
            hasher.update(document);
        }
        format!("sha256:{}", hex::encode(hasher.finalize()))
    }

    /// A FAT image with the documents, as `NoCloud` looks for it.
    pub fn image(&self) -> Result<Vec<u8>, LabError> {
        const SIZE: usize = 1 << 20;
        let making = || "making the cloud-init seed".to_owned();
        let mut bytes = vec![0; SIZE.max((self.user_data.len() * 2).next_multiple_of(SIZE))];
        let options = fatfs::FormatVolumeOptions::new().volume_label(*b"CIDATA     ").volume_id(0x5155_4159);
        fatfs::format_volume(Cursor::new(&mut bytes[..]), options).map_err(LabError::io(making()))?;
        {
            let disk = fatfs::FileSystem::new(Cursor::new(&mut bytes[..]), fatfs::FsOptions::new())
                .map_err(LabError::io(making()))?;
            let files = [
                ("user-data", &self.user_data),
                ("meta-data", &self.meta_data),
                ("network-config", &self.network_config),
            ];
            for (name, text) in files {
                let mut file = disk.root_dir().create_file(name).map_err(LabError::io(making()))?;
                file.truncate().map_err(LabError::io(making()))?;
                file.write_all(text.as_bytes()).map_err(LabError::io(making()))?;
                file.flush().map_err(LabError::io(making()))?;
            }
            disk.unmount().map_err(LabError::io(making()))?;
        }
        Ok(bytes)
    }
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The documents hold a private key and a password's hash.
        f.debug_tuple("Seed").field(&self.digest()).finish()
    }
}

/// The user-data with a person's own merged in.
fn with_more(own: &UserData<'_>, more: Option<&Map>) -> Result<String, LabError> {
    let Some(more) = more else { return yaml(own) };
    let mut whole = serde_json::to_value(own)
        .map_err(|e| LabError::failed("writing the cloud-init seed", e.to_string()))?;
    merge(&mut whole, &Value::Object(more.clone()));
    yaml(&whole)
}

fn merge(into: &mut Value, more: &Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (name, value) in more {
                match into.get_mut(name) {
                    Some(there) => merge(there, value),
                    None => {
                        into.insert(name.clone(), value.clone());
                    }
                }
            }
        }
        (Value::Array(into), Value::Array(more)) => into.extend(more.iter().cloned()),
        (into, more) => *into = more.clone(),
    }
}

fn yaml(document: &impl Serialize) -> Result<String, LabError> {
    serde_yaml::to_string(document)
        .map_err(|e| LabError::failed("writing the cloud-init seed", e.to_string()))
}

/// The host's salt, made on first use: the same password gives the same hash on every run.
fn salt(state_dir: &Path, host: &str) -> Result<Vec<u8>, LabError> {
    let file = host_dir(state_dir, host).join("password_salt");
    read_or_make(&file, || Ok(rand::rng().random::<[u8; 12]>().to_vec()))
}

fn password_hash(password: &Secret, salt: &[u8]) -> Result<String, LabError> {
    ShaCrypt::SHA512
        .hash_password_with_salt(password.0.as_bytes(), salt)
        .map(|hash| hash.as_str().to_owned())
        .map_err(|e| LabError::failed("hashing cloud_user_passwd", e.to_string()))
}

/// The MAC of a host's network card: the same in every run, another in every lab.
pub fn mac_address(lab: &str, host: &str) -> String {
    let digest = Sha256::digest(format!("{lab}\n{host}"));
    format!("52:54:00:{:02x}:{:02x}:{:02x}", digest[0], digest[1], digest[2])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn setup() -> GuestSetup {
        GuestSetup {
            name: "quay".into(),
            hostname: "quay".into(),
            fqdn: "quay.quaylab.lan".into(),
            user: "cloud-user".into(),
            password: Some(Secret("red: 'hat'".into())),
            authorized_keys: vec!["ssh-ed25519 AAAA me".into()],
            packages: vec!["vim".into()],
            update: false,
            run_cmds: vec![Value::from("echo 'a: b'"), serde_json::json!(["ls", "-l"])],
            dhcp6: false,
            more: None,
        }
    }

    fn key() -> KeyPair {
        KeyPair {
            file: "/k".into(),
            private: "-----BEGIN\nx\n-----END\n".into(),
            public: "ssh-ed25519 BBBB quay".into(),
        }
    }

    fn seed(setup: &GuestSetup, dir: &Path) -> Seed {
        Seed::new(setup, "lab", "52:54:00:00:00:01", &key(), dir).expect("made")
    }

    #[test]
    fn the_seed_as_the_guest_reads_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut plain = setup();
        plain.password = None;
        let seed = seed(&plain, dir.path());
        insta::assert_snapshot!(seed.user_data, @r#"
        #cloud-config
        hostname: quay
        fqdn: quay.quaylab.lan
        manage_etc_hosts: true
        user:
          name: cloud-user
          lock_passwd: true
          sudo: ALL=(ALL) NOPASSWD:ALL
          shell: /bin/sh
        disable_root: true
        ssh_authorized_keys:
        - ssh-ed25519 AAAA me
        ssh_deletekeys: true
        ssh_genkeytypes: []
        ssh_keys:
          ed25519_private: |
            -----BEGIN
            x
            -----END
          ed25519_public: ssh-ed25519 BBBB quay
        ssh_pwauth: false
        package_update: true
        package_upgrade: false
        packages:
        - vim
        runcmd:
        - - sh
          - -c
          - '[ ! -x /bin/bash ] || usermod -s /bin/bash "$0" || :'
          - cloud-user
        - 'echo ''a: b'''
        - - ls
          - -l
        "#);
        insta::assert_snapshot!(seed.meta_data, @r"
        instance-id: quaylab-lab-quay.quaylab.lan
        local-hostname: quay.quaylab.lan
        ");
        insta::assert_snapshot!(seed.network_config, @r"
        version: 2
        ethernets:
          lab0:
            match:
              macaddress: 52:54:00:00:00:01
            dhcp4: true
            dhcp-identifier: mac
        ");
    }

    #[test]
    fn what_a_person_adds_is_merged_in() {
        let dir = tempfile::tempdir().expect("a folder");
        let more = serde_json::json!({
            "network": {"version": 2, "ethernets": {"eth0": {"addresses": ["10.9.9.5/24"]}}},
            "timezone": "Europe/Berlin", "packages": ["git"], "user": {"shell": "/bin/sh"}, "package_upgrade": true
        });
        let Value::Object(more) = more else { panic!("an object") };
        let seed = seed(&GuestSetup { password: None, more: Some(more), ..setup() }, dir.path());
        assert!(seed.user_data.starts_with("#cloud-config\nhostname: quay\n"), "{}", seed.user_data);
        for part in [
            "timezone: Europe/Berlin\n",
            "- vim\n- git\n",
            "  shell: /bin/sh\n",
            "package_upgrade: true\n",
            "  name: cloud-user\n",
        ] {
            assert!(seed.user_data.contains(part), "{part}: {}", seed.user_data);
        }
        assert!(!seed.user_data.contains("usermod"), "the shell is the one that was asked for");
        // cloud-init reads no network in user-data.
        assert!(!seed.user_data.contains("network"), "{}", seed.user_data);
        assert!(
            seed.network_config.contains("addresses:\n") && !seed.network_config.contains("lab0"),
            "{}",
            seed.network_config
        );
    }

    #[test]
    fn a_guest_has_a_name_that_machines_can_have_and_asks_for_ipv6_where_it_must() {
        let dir = tempfile::tempdir().expect("a folder");
        let odd = GuestSetup {
            hostname: "my_quay".into(),
            fqdn: "my_quay.lab.lan".into(),
            dhcp6: true,
            password: None,
            ..setup()
        };
        let seed = seed(&odd, dir.path());
        assert!(seed.user_data.contains("hostname: my-quay\nfqdn: my-quay.lab.lan\n"), "{}", seed.user_data);
        // The instance stays the one that it was.
        assert_eq!(
            seed.meta_data,
            "instance-id: quaylab-lab-my_quay.lab.lan\nlocal-hostname: my-quay.lab.lan\n"
        );
        assert!(seed.network_config.contains("dhcp6: true"), "{}", seed.network_config);
    }

    #[test]
    fn a_second_run_gives_the_same_seed() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = seed(&setup(), dir.path());
        assert_eq!(first, seed(&setup(), dir.path()));
        assert!(first.user_data.contains("cloud-user:$6$"), "the password is hashed");
        assert!(!first.user_data.contains("red: 'hat'"));
        assert!(!format!("{first:?}").contains("BEGIN"));
        let mut changed = setup();
        changed.password = Some(Secret("other".into()));
        assert_ne!(first.digest(), seed(&changed, dir.path()).digest());
    }

    #[test]
    fn the_image_is_a_fat_volume_called_cidata() {
        let dir = tempfile::tempdir().expect("a folder");
        let seed = seed(&setup(), dir.path());
        let bytes = seed.image().expect("made");
        assert_eq!(bytes, seed.image().expect("made"), "equal seeds are equal images");
        let disk =
            fatfs::FileSystem::new(Cursor::new(bytes), fatfs::FsOptions::new()).expect("a file system");
        assert_eq!(disk.volume_label(), "CIDATA");
        let mut text = String::new();
        disk.root_dir().open_file("user-data").expect("there").read_to_string(&mut text).expect("read");
        assert_eq!(text, seed.user_data);
    }

    #[test]
    fn macs_are_stable_and_local_to_qemu() {
        assert_eq!(mac_address("a", "b"), mac_address("a", "b"));
        assert_ne!(mac_address("a", "b"), mac_address("c", "b"));
        assert!(mac_address("a", "b").starts_with("52:54:00:"));
    }
}
