//! How a host is reached, from variables, keywords and options, strongest first.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::play::PlayRun;
use super::scope::{Context, HostScope};
use crate::diag::Diagnostic;
use crate::host::{
    BecomeMethod, BecomeSpec, ConnectionKind, ConnectionSpec, HostKeyCheck, KnownHosts, ProxyJump, Secret,
};
use crate::template::OMIT;
use crate::value::{plain, truth};
use crate::vars::Scope;
use crate::yaml::Node;

struct Lookup<'a> {
    play: &'a PlayRun,
    scope: &'a Arc<dyn Scope>,
}

impl Lookup<'_> {
    /// The first of these variables that is set.
    fn var(&self, names: &[&str]) -> Result<Option<String>, Diagnostic> {
        for name in names {
            if let Some(value) = self.play.run.templar.lookup(name, self.scope)? {
                let text = plain(&value);
                if !value.is_null() && text != OMIT {
                    return Ok(Some(text));
                }
            }
        }
        Ok(None)
    }

    fn keyword(&self, node: Option<&Node>) -> Result<Option<String>, Diagnostic> {
        let Some(node) = node else { return Ok(None) };
        let text = plain(&self.play.run.templar.render(node, self.scope)?);
        Ok((text != OMIT && !text.is_empty()).then_some(text))
    }
}

/// The connection to a host. `scope` is that host's, also where the task is another host's.
pub(super) fn spec(
    play: &Arc<PlayRun>,
    host: &str,
    context: &Context,
    scope: &Arc<dyn Scope>,
) -> Result<ConnectionSpec, Diagnostic> {
    let options = &play.run.options;
    let look = Lookup { play, scope };
    let kind = match look.var(&["ansible_connection"])? {
        Some(kind) => Some(kind),
        None => look.keyword(context.nearest(|k| k.connection.as_ref()))?,
    };
    let kind = kind.or_else(|| options.course.connection.clone());
    let implicit_local = host == "localhost" && {
        let inventory = play.run.inventory.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        !inventory.has_host(host)
    };
    let kind = match kind.as_deref().map(|k| k.rsplit('.').next().unwrap_or(k)) {
        Some("local") => ConnectionKind::Local,
        None if implicit_local => ConnectionKind::Local,
        None | Some("ssh" | "smart" | "paramiko" | "paramiko_ssh" | "libssh") => ConnectionKind::Ssh,
        Some(other) => {
            return Err(Diagnostic::new(format!("the connection {other:?} of {host} is not supported"))
                .hint("use ssh or local"));
        }
    };
    let user = match look.var(&["ansible_user", "ansible_ssh_user"])? {
        Some(user) => Some(user),
        None => look.keyword(context.nearest(|k| k.remote_user.as_ref()))?,
    };
    let port = match look.var(&["ansible_port", "ansible_ssh_port"])? {
        Some(port) => Some(port),
        None => look.keyword(context.nearest(|k| k.port.as_ref()))?,
    };
    let port = port.map_or(Ok(options.course.port.unwrap_or(22)), |p| {
        p.parse()
            .map_err(|_| Diagnostic::new(format!("the port {p:?} of {host} is not a number from 1 to 65535")))
    })?;
    let arguments = ["ansible_ssh_common_args", "ansible_ssh_extra_args", "ansible_ssh_args"];
    let arguments =
        arguments.iter().filter_map(|n| look.var(&[n]).transpose()).collect::<Result<Vec<_>, _>>()?.join(" ");
    // What variables say comes first, and the first of two counts.
    let arguments = format!("{arguments} {}", options.course.ssh_arguments);
    let given_key = look.var(&["quaylab_ssh_host_key"])?.filter(|k| !k.is_empty());
    let checking = look.var(&["ansible_host_key_checking", "ansible_ssh_host_key_checking"])?;
    let checking = checking.and_then(|c| truth(&c.into())).unwrap_or(options.host_key_checking);
    let host_key = match given_key {
        Some(key) => HostKeyCheck::Exactly(key),
        None if !checking
            || ssh_option(&arguments, "StrictHostKeyChecking").is_some_and(|v| v == "no" || v == "off") =>
        {
            HostKeyCheck::Off
        }
        None if ssh_option(&arguments, "StrictHostKeyChecking").is_some_and(|v| v == "accept-new") => {
            HostKeyCheck::AcceptNew(known_hosts(&arguments))
        }
        None => HostKeyCheck::KnownHosts(known_hosts(&arguments)),
    };
    // A guest that only its hypervisor reaches: the hypervisor's own connection, whatever it is, comes first.
    let proxy_jump = match look.var(&["quaylab_ssh_via"])?.filter(|via| !via.is_empty() && via != host) {
        Some(via) => {
            let keywords = Context { keywords: context.keywords.clone(), ..Context::default() };
            let hypervisor = spec(play, &via, &keywords, &HostScope::new(play, &via, &keywords).shared())?;
            match hypervisor.kind {
                ConnectionKind::Ssh => hypervisor.as_way(),
                ConnectionKind::Local => jumps(&arguments),
            }
        }
        None => jumps(&arguments),
    };
    let password = look.var(&["ansible_password", "ansible_ssh_password", "ansible_ssh_pass"])?.map(Secret);
    let private_key =
        look.var(&["ansible_ssh_private_key_file", "ansible_private_key_file"])?.map(|p| expand_home(&p));
    Ok(ConnectionSpec {
        name: host.to_owned(),
        kind,
        address: look.var(&["ansible_host", "ansible_ssh_host"])?.unwrap_or_else(|| host.to_owned()),
        port,
        user: user.or_else(|| options.remote_user.clone()).unwrap_or_else(current_user),
        password: password.or_else(|| options.ssh_password.clone()),
        private_key_file: private_key.or_else(|| options.private_key_file.clone()),
        host_key,
        proxy_jump,
        timeout: look
            .var(&["ansible_timeout", "ansible_ssh_timeout"])?
            .and_then(|t| t.parse().ok())
            .map_or(options.timeout, Duration::from_secs),
    })
}

/// Who the task's commands run as. For a delegated task the keywords of the task still count, its host's variables do not.
pub(super) fn r#become(
    play: &PlayRun,
    context: &Context,
    scope: &Arc<dyn Scope>,
    delegated: bool,
) -> Result<Option<BecomeSpec>, Diagnostic> {
    let options = &play.run.options;
    let look = Lookup { play, scope };
    let wanted = match look.var(&["ansible_become"])? {
        Some(wanted) => Some(wanted),
        None => look.keyword(context.nearest(|k| k.r#become.as_ref()))?,
    };
    let wanted = wanted.map_or(options.r#become && !delegated, |w| truth(&w.into()).unwrap_or(false));
    if !wanted {
        return Ok(None);
    }
    let user = match look.var(&["ansible_become_user"])? {
        Some(user) => Some(user),
        None => look.keyword(context.nearest(|k| k.become_user.as_ref()))?,
    };
    let method = match look.var(&["ansible_become_method"])? {
        Some(method) => Some(method),
        None => look.keyword(context.nearest(|k| k.become_method.as_ref()))?,
    };
    let method = match method.as_deref().map(|m| m.rsplit('.').next().unwrap_or(m)) {
        None => options.become_method,
        Some("sudo") => BecomeMethod::Sudo,
        Some("su") => BecomeMethod::Su,
        Some("doas") => BecomeMethod::Doas,
        Some(other) => {
            return Err(Diagnostic::new(format!("become_method {other:?} is not supported"))
                .hint("use sudo, su or doas"));
        }
    };
    let password =
        look.var(&["ansible_become_password", "ansible_become_pass", "ansible_sudo_pass"])?.map(Secret);
    let words = |text: Option<String>, name: &str| -> Result<Option<Vec<String>>, Diagnostic> {
        let split = |text: &String| {
            shlex::split(text)
                .ok_or_else(|| Diagnostic::new(format!("{name} has a quote that is not closed: {text}")))
        };
        text.as_ref().map(split).transpose()
    };
    let exe = match look.var(&["ansible_become_exe", &format!("ansible_{}_exe", method.name())])? {
        Some(exe) => Some(exe),
        None => look.keyword(context.nearest(|k| k.become_exe.as_ref()))?,
    };
    let flags = match look.var(&["ansible_become_flags", &format!("ansible_{}_flags", method.name())])? {
        Some(flags) => Some(flags),
        None => look.keyword(context.nearest(|k| k.become_flags.as_ref()))?,
    };
    Ok(Some(BecomeSpec {
        program: words(exe.or_else(|| options.become_exe.clone()), "become_exe")?.unwrap_or_default(),
        flags: words(flags.or_else(|| options.become_flags.clone()), "become_flags")?,
        user: user.or_else(|| options.become_user.clone()).unwrap_or_else(|| "root".into()),
        method,
        password: password.or_else(|| options.become_password.clone()),
    }))
}

/// The value of `-o NAME=VALUE` in OpenSSH's arguments.
fn ssh_option(arguments: &str, name: &str) -> Option<String> {
    let words: Vec<&str> = arguments.split_whitespace().map(|w| w.trim_matches(['"', '\''])).collect();
    words.iter().enumerate().find_map(|(i, word)| {
        let option = match *word {
            "-o" => *words.get(i + 1)?,
            word => word.strip_prefix("-o")?,
        };
        let (key, value) = option.split_once('=')?;
        key.eq_ignore_ascii_case(name).then(|| value.to_owned())
    })
}

fn known_hosts(arguments: &str) -> KnownHosts {
    KnownHosts::of_option(ssh_option(arguments, "UserKnownHostsFile").as_deref())
}

fn jumps(arguments: &str) -> Vec<ProxyJump> {
    let words: Vec<&str> = arguments.split_whitespace().collect();
    let short = words.iter().position(|w| *w == "-J").and_then(|i| words.get(i + 1)).map(|w| (*w).to_owned());
    let Some(list) = ssh_option(arguments, "ProxyJump").or(short) else { return Vec::new() };
    list.split(',')
        .map(|hop| {
            let hop = hop.trim_start_matches("ssh://");
            let (user, place) = hop.rsplit_once('@').map_or((None, hop), |(u, p)| (Some(u.to_owned()), p));
            let (address, port) = match place.rsplit_once(':') {
                Some((address, port)) if !address.contains(':') => (address, port.parse().unwrap_or(22)),
                _ => (place, 22),
            };
            ProxyJump { user, address: address.to_owned(), port, login: None }
        })
        .collect()
}

fn expand_home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(path),
    }
}

fn current_user() -> String {
    ["LOGNAME", "USER"]
        .iter()
        .find_map(|n| std::env::var(n).ok())
        .filter(|u| !u.is_empty())
        .unwrap_or_else(|| "root".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openssh_arguments_are_understood() {
        let arguments = "-o StrictHostKeyChecking=accept-new -oProxyJump=me@a:2222,b -C";
        assert_eq!(ssh_option(arguments, "stricthostkeychecking").as_deref(), Some("accept-new"));
        assert_eq!(
            jumps(arguments),
            [
                ProxyJump { user: Some("me".into()), address: "a".into(), port: 2222, login: None },
                ProxyJump { user: None, address: "b".into(), port: 22, login: None },
            ]
        );
        assert_eq!(jumps("-J root@gw").len(), 1);
        assert!(jumps("-o ControlMaster=auto").is_empty());
        assert_eq!(known_hosts(arguments), KnownHosts::OfUser);
        for (written, meant) in [("/k", "/k"), ("\"/k\"", "/k"), ("none", "/dev/null")] {
            let arguments = format!("-o UserKnownHostsFile={written}");
            assert_eq!(known_hosts(&arguments), KnownHosts::File(meant.into()), "{written}");
        }
    }
}
