//! Every option of OpenSSH's client, and what becomes of it here.

/// What becomes of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is done.
    Obeyed,
    /// It makes no difference here, for this reason.
    Nothing(&'static str),
    /// There is nothing here that could do it, so that only its being switched off can be obeyed; what to do instead.
    Absent(&'static str),
}

use Fate::{Absent, Nothing, Obeyed};

const ONE_CONNECTION: &str = "one connection a host is kept and shared in any case";
const NO_TERMINAL: &str = "programs are given no terminal";
const NOTHING_ASKED: &str = "nobody is asked anything";
const OWN_MESSAGES: &str = "messages are quaylab's own: -v shows more";
const NO_FORWARDS: &str = "nothing is forwarded";
const KEPT_AS_THEY_ARE: &str = "known_hosts is added to as it is";
const NO_GSSAPI: &str = "GSSAPI is not tried";
const CHOSEN: &str = "leave it out: what is safe and both sides know is chosen";
const FORWARDS: &str = "leave it out: tasks reach what their host reaches";
const ADDRESS: &str = "set ansible_host to an address of that kind";
const SOURCE: &str = "leave it out: the system's routes choose where connections come from";
const AUTHORITIES: &str = "list the host's key itself in known_hosts";
const ENVIRONMENT: &str = "set `environment:` in the play or the task";
const AGENT: &str = "set SSH_AUTH_SOCK, or name a key with ansible_ssh_private_key_file";
const KEY: &str = "name a plain key with ansible_ssh_private_key_file, or have an agent hold it";

/// Lower-case names with what becomes of them.
const OPTIONS: [(&str, Fate); 92] = [
    ("addkeystoagent", Nothing("no key is opened with a passphrase")),
    ("addressfamily", Absent(ADDRESS)),
    ("batchmode", Nothing(NOTHING_ASKED)),
    ("bindaddress", Absent(SOURCE)),
    ("bindinterface", Absent(SOURCE)),
    ("canonicalizehostname", Absent("write the host's whole name")),
    ("casignaturealgorithms", Absent(AUTHORITIES)),
    ("certificatefile", Absent(KEY)),
    ("challengeresponseauthentication", Obeyed),
    ("checkhostip", Nothing("keys are known by the host's name")),
    ("ciphers", Absent(CHOSEN)),
    ("clearallforwardings", Nothing(NO_FORWARDS)),
    ("compression", Nothing("what is sent is the same without")),
    ("compressionlevel", Nothing("what is sent is the same without")),
    ("connectionattempts", Absent("use the module wait_for_connection")),
    ("connecttimeout", Obeyed),
    ("controlmaster", Nothing(ONE_CONNECTION)),
    ("controlpath", Nothing(ONE_CONNECTION)),
    ("controlpersist", Nothing(ONE_CONNECTION)),
    ("dynamicforward", Absent(FORWARDS)),
    ("enableescapecommandline", Nothing(NO_TERMINAL)),
    ("enablesshkeysign", Absent(KEY)),
    ("escapechar", Nothing(NO_TERMINAL)),
    ("exitonforwardfailure", Nothing(NO_FORWARDS)),
    ("fingerprinthash", Nothing("fingerprints are shown as SHA256")),
    ("forkafterauthentication", Absent("leave it out")),
    ("forwardagent", Absent("keys stay here: let the host have a key of its own for what it must reach")),
    ("forwardx11", Absent("leave it out")),
    ("forwardx11timeout", Nothing(NO_FORWARDS)),
    ("forwardx11trusted", Nothing(NO_FORWARDS)),
    ("gatewayports", Nothing(NO_FORWARDS)),
    ("globalknownhostsfile", Obeyed),
    ("gssapiauthentication", Absent("log in with a key or a password")),
    ("gssapidelegatecredentials", Nothing(NO_GSSAPI)),
    ("hashknownhosts", Nothing(KEPT_AS_THEY_ARE)),
    ("hostbasedacceptedalgorithms", Absent(KEY)),
    ("hostbasedauthentication", Absent(KEY)),
    (
        "hostkeyalgorithms",
        Absent("leave it out: kinds of keys that are known for the host are asked for first"),
    ),
    ("hostkeyalias", Obeyed),
    ("hostname", Obeyed),
    ("identitiesonly", Obeyed),
    ("identityagent", Absent(AGENT)),
    ("identityfile", Obeyed),
    ("ignoreunknown", Nothing("unknown options are refused in any case")),
    ("ipqos", Nothing("the system's own is used")),
    ("kbdinteractiveauthentication", Obeyed),
    ("kbdinteractivedevices", Nothing("the server chooses")),
    ("kexalgorithms", Absent(CHOSEN)),
    ("knownhostscommand", Absent("write what it prints to a file, and name that with UserKnownHostsFile")),
    ("localcommand", Absent("use a task with delegate_to: localhost")),
    ("localforward", Absent(FORWARDS)),
    ("loglevel", Nothing(OWN_MESSAGES)),
    ("logverbose", Nothing(OWN_MESSAGES)),
    ("macs", Absent(CHOSEN)),
    (
        "nohostauthenticationforlocalhost",
        Absent("set ansible_connection: local, or have the key in known_hosts"),
    ),
    ("numberofpasswordprompts", Nothing("a password is tried once")),
    ("obscurekeystroketiming", Nothing(NO_TERMINAL)),
    ("passwordauthentication", Obeyed),
    ("permitlocalcommand", Nothing("no local command is run")),
    ("permitremoteopen", Nothing(NO_FORWARDS)),
    ("pkcs11provider", Absent(KEY)),
    ("port", Obeyed),
    ("preferredauthentications", Obeyed),
    ("proxycommand", Absent("go through hosts with `-J HOST` or ProxyJump")),
    ("proxyjump", Obeyed),
    ("proxyusefdpass", Absent("go through hosts with `-J HOST` or ProxyJump")),
    ("pubkeyacceptedalgorithms", Absent(CHOSEN)),
    ("pubkeyacceptedkeytypes", Absent(CHOSEN)),
    ("pubkeyauthentication", Obeyed),
    ("rekeylimit", Nothing("keys are changed every GiB")),
    ("remotecommand", Absent("use a task")),
    ("remoteforward", Absent(FORWARDS)),
    ("requesttty", Nothing(NO_TERMINAL)),
    ("requiredrsasize", Absent("remove short keys")),
    ("revokedhostkeys", Absent("mark the keys with @revoked in known_hosts")),
    ("securitykeyprovider", Absent(KEY)),
    ("sendenv", Absent(ENVIRONMENT)),
    ("serveralivecountmax", Obeyed),
    ("serveraliveinterval", Obeyed),
    ("sessiontype", Absent("leave it out")),
    ("setenv", Absent(ENVIRONMENT)),
    ("stdinnull", Absent("leave it out")),
    ("streamlocalbindmask", Nothing(NO_FORWARDS)),
    ("streamlocalbindunlink", Nothing(NO_FORWARDS)),
    ("stricthostkeychecking", Obeyed),
    ("tcpkeepalive", Nothing("the connection is kept alive inside SSH")),
    ("tunnel", Absent("leave it out")),
    ("updatehostkeys", Nothing(KEPT_AS_THEY_ARE)),
    ("user", Obeyed),
    ("userknownhostsfile", Obeyed),
    ("verifyhostkeydns", Absent("have the key in known_hosts")),
    ("visualhostkey", Nothing(OWN_MESSAGES)),
];

/// What becomes of an option, by its lower-case name; `None`: OpenSSH has none of that name.
pub(super) fn fate(name: &str) -> Option<Fate> {
    // Written so by those who mean the file that is read instead of the usual one.
    if name == "-f" {
        return Some(Absent("write what it says into ansible's variables, or into the arguments"));
    }
    OPTIONS.iter().find(|(option, _)| *option == name).map(|(_, fate)| *fate)
}

/// The option that a letter of the command line stands for, and its value where the letter takes none.
pub(super) fn letter(letter: char) -> Option<(&'static str, Option<&'static str>)> {
    Some(match letter {
        '4' => ("AddressFamily", Some("inet")),
        '6' => ("AddressFamily", Some("inet6")),
        'A' => ("ForwardAgent", Some("yes")),
        'a' => ("ForwardAgent", Some("no")),
        'B' => ("BindInterface", None),
        'b' => ("BindAddress", None),
        'C' => ("Compression", Some("yes")),
        'c' => ("Ciphers", None),
        'D' => ("DynamicForward", None),
        'E' => ("LogLevel", None),
        'e' => ("EscapeChar", None),
        'F' => ("-F", None),
        'f' => ("ForkAfterAuthentication", Some("yes")),
        'g' => ("GatewayPorts", Some("yes")),
        'I' => ("PKCS11Provider", None),
        'i' => ("IdentityFile", None),
        'J' => ("ProxyJump", None),
        'K' => ("GSSAPIAuthentication", Some("yes")),
        'k' => ("GSSAPIDelegateCredentials", Some("no")),
        'L' => ("LocalForward", None),
        'l' => ("User", None),
        'M' => ("ControlMaster", Some("yes")),
        'm' => ("MACs", None),
        'N' => ("SessionType", Some("no-command")),
        'n' => ("StdinNull", Some("yes")),
        'y' => ("LogVerbose", Some("yes")),
        'p' => ("Port", None),
        'q' | 'v' => ("LogLevel", Some("QUIET")),
        'R' => ("RemoteForward", None),
        'S' => ("ControlPath", None),
        's' => ("SessionType", Some("subsystem")),
        'T' => ("RequestTTY", Some("no")),
        't' => ("RequestTTY", Some("yes")),
        'W' => ("RemoteCommand", None),
        'w' => ("Tunnel", None),
        'X' | 'Y' => ("ForwardX11", Some("yes")),
        'x' => ("ForwardX11", Some("no")),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_option_stands_once_and_each_letter_means_one() {
        let names: Vec<&str> = OPTIONS.iter().map(|(name, _)| *name).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(names, sorted);
        for c in (' '..='~').filter(|c| *c != 'o') {
            if let Some((option, _)) = letter(c) {
                assert!(fate(&option.to_ascii_lowercase()).is_some(), "-{c}: {option}");
            }
        }
    }
}
