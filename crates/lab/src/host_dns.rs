//! Names of the lab's guests on the machine itself, for good: in whichever resolver the machine has.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::LabError;
use crate::store::{Turn, write_open};

/// Who answers this machine's questions for names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolver {
    /// `NetworkManager` with a dnsmasq of its own.
    NetworkManager,
    /// `systemd-resolved`.
    Resolved,
    /// Nobody who can be told: names go into `/etc/hosts`.
    Hosts,
}

impl Resolver {
    pub fn word(self) -> &'static str {
        match self {
            Self::NetworkManager => "NetworkManager's dnsmasq",
            Self::Resolved => "systemd-resolved",
            Self::Hosts => "/etc/hosts",
        }
    }
}

/// A network of the lab that answers for a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    pub domain: String,
    pub bridge: String,
    pub server: IpAddr,
}

/// A guest by its full name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestName {
    pub host: String,
    pub address: IpAddr,
}

/// The machine's resolver, as far as quaylab writes to it.
#[derive(Debug, Clone)]
pub struct HostDns {
    root: PathBuf,
}

impl Default for HostDns {
    fn default() -> Self {
        Self { root: "/".into() }
    }
}

const HOSTS: &str = "etc/hosts";

impl HostDns {
    /// The machine whose file system is at this path.
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Which resolver the machine has.
    pub fn resolver(&self) -> Resolver {
        let managed = self.root.join("run/NetworkManager").is_dir()
            && self.manager_settings().iter().any(|text| {
                text.lines().any(|l| {
                    l.split_once('=').is_some_and(|(k, v)| k.trim() == "dns" && v.trim() == "dnsmasq")
                })
            });
        if managed {
            return Resolver::NetworkManager;
        }
        let asks_stub = std::fs::read_to_string(self.root.join("etc/resolv.conf"))
            .is_ok_and(|text| text.lines().any(|l| l.trim() == "nameserver 127.0.0.53"));
        if self.root.join("run/systemd/resolve").is_dir() && asks_stub {
            return Resolver::Resolved;
        }
        Resolver::Hosts
    }

    fn manager_settings(&self) -> Vec<String> {
        let folder = self.root.join("etc/NetworkManager");
        let extra =
            std::fs::read_dir(folder.join("conf.d")).into_iter().flatten().flatten().map(|e| e.path());
        std::iter::once(folder.join("NetworkManager.conf"))
            .chain(extra)
            .filter_map(|path| std::fs::read_to_string(path).ok())
            .collect()
    }

    fn file(&self, resolver: Resolver, lab: &str) -> PathBuf {
        match resolver {
            Resolver::NetworkManager => {
                self.root.join(format!("etc/NetworkManager/dnsmasq.d/quaylab-{lab}.conf"))
            }
            Resolver::Resolved => self.root.join(format!("etc/systemd/resolved.conf.d/quaylab-{lab}.conf")),
            Resolver::Hosts => self.root.join(HOSTS),
        }
    }

    /// Lets the machine find the guests; says what it wrote to. What is there already is not written again.
    pub fn keep(&self, lab: &str, zones: &[Zone], guests: &[GuestName]) -> Result<Vec<PathBuf>, LabError> {
        let _turn = self.turn()?;
        let resolver = self.resolver();
        let inside = |guest: &&GuestName| {
            zones.iter().any(|z| guest.host.strip_suffix(&z.domain).is_some_and(|rest| rest.ends_with('.')))
        };
        let mut written = Vec::new();
        let told = match resolver {
            Resolver::NetworkManager => Some(for_manager(lab, zones)),
            Resolver::Resolved => Some(for_resolved(lab, zones)),
            Resolver::Hosts => None,
        };
        if let Some(text) = told.filter(|_| !zones.is_empty()) {
            let file = self.file(resolver, lab);
            if put(&file, &text)? {
                self.reload(resolver);
                written.push(file);
            }
        }
        // Names outside the networks' domains are nobody's to answer.
        let by_hand: Vec<&GuestName> = match resolver {
            Resolver::Hosts => guests.iter().collect(),
            _ => guests.iter().filter(|g| !inside(g)).collect(),
        };
        let file = self.root.join(HOSTS);
        let now = read(&file)?;
        let text = with_block(&now, lab, &by_hand)?;
        if text != now {
            put(&file, &text)?;
            written.push(file);
        }
        Ok(written)
    }

    /// What of the lab stands in the machine's resolver.
    pub fn marked(&self, lab: &str) -> Vec<PathBuf> {
        let mut found: Vec<PathBuf> = [Resolver::NetworkManager, Resolver::Resolved]
            .into_iter()
            .map(|r| self.file(r, lab))
            .filter(|f| f.is_file())
            .collect();
        let hosts = self.root.join(HOSTS);
        if read(&hosts).is_ok_and(|text| text.lines().any(|l| l == begin(lab))) {
            found.push(hosts);
        }
        found
    }

    /// Takes the lab out of the machine's resolver; says from what.
    pub fn remove(&self, lab: &str) -> Result<Vec<PathBuf>, LabError> {
        let marked = self.marked(lab);
        if marked.is_empty() {
            return Ok(marked);
        }
        let _turn = self.turn()?;
        for file in &marked {
            if file.ends_with(HOSTS) {
                put(file, &with_block(&read(file)?, lab, &[])?)?;
                continue;
            }
            std::fs::remove_file(file).map_err(LabError::io(format!("removing {}", file.display())))?;
            let manager = file.components().any(|c| c.as_os_str() == "NetworkManager");
            self.reload(if manager { Resolver::NetworkManager } else { Resolver::Resolved });
        }
        Ok(marked)
    }

    /// Labs, of any user, share files here.
    fn turn(&self) -> Result<Turn, LabError> {
        Turn::in_folder(&self.root.join("run")).map_err(LabError::io("locking /run"))
    }

    /// A resolver that cannot be told now reads its files when it starts.
    fn reload(&self, resolver: Resolver) {
        if self.root != Path::new("/") {
            return;
        }
        let tell = |program: &str, args: &[&str]| {
            let quiet = Command::new(program)
                .args(args)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            quiet.is_ok_and(|s| s.success())
        };
        match resolver {
            Resolver::NetworkManager => {
                let _told =
                    tell("nmcli", &["general", "reload"]) || tell("systemctl", &["reload", "NetworkManager"]);
            }
            Resolver::Resolved => {
                let _told = tell("systemctl", &["reload-or-restart", "systemd-resolved"]);
            }
            Resolver::Hosts => {}
        }
    }
}

fn for_manager(lab: &str, zones: &[Zone]) -> String {
    let mut text = format!("# The lab {lab}, by quaylab. `quaylab destroy` removes this file.\n");
    for zone in zones {
        let _ = writeln!(text, "server=/{}/{}", zone.domain, zone.server);
    }
    text
}

fn for_resolved(lab: &str, zones: &[Zone]) -> String {
    let join = |part: &dyn Fn(&Zone) -> String| zones.iter().map(part).collect::<Vec<_>>().join(" ");
    format!(
        "# The lab {lab}, by quaylab. `quaylab destroy` removes this file.\n[Resolve]\nDNS={}\nDomains={}\n",
        join(&|z| format!("{}%{}", z.server, z.bridge)),
        join(&|z| format!("~{}", z.domain)),
    )
}

fn begin(lab: &str) -> String {
    format!("# BEGIN quaylab {lab}")
}

fn end(lab: &str) -> String {
    format!("# END quaylab {lab}")
}

/// The text of `/etc/hosts` with the lab's block as it should be; no guests, no block.
fn with_block(text: &str, lab: &str, guests: &[&GuestName]) -> Result<String, LabError> {
    let (begin, end) = (begin(lab), end(lab));
    let mut kept = String::new();
    let mut inside = false;
    for line in text.split_inclusive('\n') {
        match line.trim_end() {
            bare if bare == begin => inside = true,
            bare if bare == end && inside => inside = false,
            _ if inside => {}
            _ => kept += line,
        }
    }
    if inside {
        return Err(LabError::failed(
            "/etc/hosts",
            format!("the line {begin:?} has no {end:?} after it, so what is the lab's in it is not known"),
        )
        .with_hint("somebody edited the block: remove its lines by hand and run again"));
    }
    if guests.is_empty() {
        return Ok(kept);
    }
    if !kept.is_empty() && !kept.ends_with('\n') {
        kept.push('\n');
    }
    let _ = writeln!(kept, "{begin}");
    for guest in guests {
        let short = guest.host.split('.').next().unwrap_or(&guest.host);
        let alias = if short == guest.host { String::new() } else { format!(" {short}") };
        let _ = writeln!(kept, "{} {}{alias}", guest.address, guest.host);
    }
    let _ = writeln!(kept, "{end}");
    Ok(kept)
}

fn read(file: &Path) -> Result<String, LabError> {
    match std::fs::read_to_string(file) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        other => other.map_err(LabError::io(format!("reading {}", file.display()))),
    }
}

/// Writes a file that everybody may read; `false` where it is like that already.
fn put(file: &Path, text: &str) -> Result<bool, LabError> {
    if file.is_file() && read(file)? == text {
        return Ok(false);
    }
    let folder = file.parent().unwrap_or(Path::new("/"));
    let write = || {
        std::fs::create_dir_all(folder)?;
        match write_open(file, text.as_bytes()) {
            // A file that is mounted by itself, as in containers, can only be written to.
            Err(refused) if refused.kind() == std::io::ErrorKind::ResourceBusy => std::fs::write(file, text),
            other => other,
        }
    };
    write().map_err(LabError::io(format!("writing {}", file.display())))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(host: &str, last: u8) -> GuestName {
        GuestName { host: host.into(), address: IpAddr::from([192, 168, 254, last]) }
    }

    fn zone() -> Zone {
        Zone {
            domain: "quaylab.lan".into(),
            bridge: "virbr-900".into(),
            server: IpAddr::from([192, 168, 254, 254]),
        }
    }

    fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, HostDns) {
        let root = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let file = root.path().join(name);
            std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
            std::fs::write(file, text).expect("written");
        }
        let dns = HostDns::at(root.path());
        (root, dns)
    }

    const PLAIN: (&str, &str) = ("etc/hosts", "127.0.0.1 localhost");

    #[test]
    fn a_machine_without_a_resolver_gets_a_block_in_its_hosts_file() {
        let (root, dns) = machine(&[PLAIN]);
        assert_eq!(dns.resolver(), Resolver::Hosts);
        let guests = [guest("quay.quaylab.lan", 12), guest("db", 13)];
        assert_eq!(dns.keep("quay", &[zone()], &guests).expect("kept"), [root.path().join("etc/hosts")]);
        let text = || std::fs::read_to_string(root.path().join("etc/hosts")).expect("read");
        insta::assert_snapshot!(text(), @r"
        127.0.0.1 localhost
        # BEGIN quaylab quay
        192.168.254.12 quay.quaylab.lan quay
        192.168.254.13 db
        # END quaylab quay
        ");
        assert_eq!(dns.keep("quay", &[zone()], &guests).expect("kept"), Vec::<PathBuf>::new(), "it rests");
        dns.keep("other", &[], &[guest("x", 9)]).expect("kept");
        dns.keep("quay", &[zone()], &guests[..1]).expect("kept");
        assert!(!text().contains("db") && text().contains("BEGIN quaylab other"), "{}", text());
        dns.remove("quay").expect("removed");
        dns.remove("other").expect("removed");
        assert_eq!(text(), "127.0.0.1 localhost\n");
        assert_eq!(dns.marked("quay"), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_block_that_somebody_broke_is_left_alone() {
        let (_root, dns) = machine(&[("etc/hosts", "# BEGIN quaylab quay\n1.1.1.1 a\n2.2.2.2 mine\n")]);
        let error = dns.keep("quay", &[], &[guest("a", 1)]).expect_err("refused");
        assert!(error.to_string().contains("is not known"), "{error}");
    }

    #[test]
    fn networkmanager_is_told_which_network_answers() {
        let (root, dns) = machine(&[
            PLAIN,
            ("run/NetworkManager/x", ""),
            ("etc/NetworkManager/conf.d/dns.conf", "[main]\ndns = dnsmasq\n"),
        ]);
        assert_eq!(dns.resolver(), Resolver::NetworkManager);
        let written = dns.keep("quay", &[zone()], &[guest("quay.quaylab.lan", 12)]).expect("kept");
        let file = root.path().join("etc/NetworkManager/dnsmasq.d/quaylab-quay.conf");
        assert_eq!(written, std::slice::from_ref(&file));
        insta::assert_snapshot!(std::fs::read_to_string(&file).expect("read"), @r"
        # The lab quay, by quaylab. `quaylab destroy` removes this file.
        server=/quaylab.lan/192.168.254.254
        ");
        assert_eq!(dns.remove("quay").expect("removed"), std::slice::from_ref(&file));
        assert!(!file.exists());
    }

    #[test]
    fn resolved_is_told_and_the_rest_goes_into_the_hosts_file() {
        let (root, dns) = machine(&[
            PLAIN,
            ("run/systemd/resolve/stub-resolv.conf", ""),
            ("etc/resolv.conf", "nameserver 127.0.0.53\noptions edns0\n"),
        ]);
        assert_eq!(dns.resolver(), Resolver::Resolved);
        let guests = [guest("quay.quaylab.lan", 12), guest("quay.example.org", 14)];
        assert_eq!(dns.keep("quay", &[zone()], &guests).expect("kept").len(), 2);
        let read = |name: &str| std::fs::read_to_string(root.path().join(name)).expect("read");
        insta::assert_snapshot!(read("etc/systemd/resolved.conf.d/quaylab-quay.conf"), @r"
        # The lab quay, by quaylab. `quaylab destroy` removes this file.
        [Resolve]
        DNS=192.168.254.254%virbr-900
        Domains=~quaylab.lan
        ");
        assert!(!read("etc/hosts").contains("quaylab.lan"), "{}", read("etc/hosts"));
        assert_eq!(dns.remove("quay").expect("removed").len(), 2);
        assert_eq!(read("etc/hosts"), "127.0.0.1 localhost\n");
    }
}
