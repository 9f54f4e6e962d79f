//! How a host is reached, from variables, keywords and options, strongest first.

use std::sync::Arc;
use std::time::Duration;

use super::keyword::Reader;
use super::play::PlayRun;
use super::scope::{Context, HostScope};
use crate::diag::Diagnostic;
use crate::host::{
    BecomeMethod, BecomeSpec, ConnectionKind, ConnectionSpec, HostKeyCheck, Secret, SshArguments,
};
use crate::template::Templated;
use crate::value::{plain, truth};
use crate::vars::Scope;

struct Lookup<'a> {
    play: &'a PlayRun,
    scope: &'a Arc<dyn Scope>,
}

impl Lookup<'_> {
    /// The first of these variables that is set.
    fn var(&self, names: &[&str]) -> Result<Option<String>, Diagnostic> {
        for name in names {
            let value = self.play.run.templar.lookup(name, self.scope)?;
            if let Some(value) = value.filter(|value| !value.is_null()) {
                return Ok(Some(plain(&value)));
            }
        }
        Ok(None)
    }

    /// The first of these variables that is set, as true or false.
    fn switch(&self, names: &[&str]) -> Result<Option<bool>, Diagnostic> {
        let Some(text) = self.var(names)? else { return Ok(None) };
        match truth(&text.as_str().into()) {
            Some(switch) => Ok(Some(switch)),
            None => {
                Err(Diagnostic::new(format!("{} must be true or false, not {text:?}", names.join(" or "))))
            }
        }
    }

    fn keyword(&self, keyword: Option<&Templated<String>>) -> Result<Option<String>, Diagnostic> {
        let reader = Reader { templar: &self.play.run.templar, scope: self.scope };
        Ok(reader.get(keyword)?.filter(|text| !text.is_empty()))
    }
}

/// Which kind of connection leads to a host.
fn kind_of(look: &Lookup<'_>, host: &str, context: &Context) -> Result<ConnectionKind, Diagnostic> {
    let play = look.play;
    let kind = match look.var(&["ansible_connection"])? {
        Some(kind) => Some(kind),
        None => look.keyword(context.nearest(|k| k.connection.as_ref()))?,
    };
    let kind = kind.or_else(|| play.run.options.course.connection.clone());
    let implicit_local = host == "localhost" && {
        let inventory = play.run.inventory.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        !inventory.has_host(host)
    };
    match kind.as_deref().map(|k| k.rsplit('.').next().unwrap_or(k)) {
        Some("local") => Ok(ConnectionKind::Local),
        None if implicit_local => Ok(ConnectionKind::Local),
        None | Some("ssh" | "smart" | "paramiko" | "paramiko_ssh" | "libssh") => Ok(ConnectionKind::Ssh),
        Some(other) => Err(Diagnostic::new(format!("the connection {other:?} of {host} is not supported"))
            .hint("use ssh or local")),
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
    let kind = kind_of(&look, host, context)?;
    let user = match look.var(&["ansible_user", "ansible_ssh_user"])? {
        Some(user) => Some(user),
        None => look.keyword(context.nearest(|k| k.remote_user.as_ref()))?,
    };
    let port = match look.var(&["ansible_port", "ansible_ssh_port"])? {
        Some(port) => Some(port),
        None => look.keyword(context.nearest(|k| k.port.as_ref()))?,
    };
    let port = port.map(|p| {
        p.parse::<u16>()
            .map_err(|_| Diagnostic::new(format!("the port {p:?} of {host} is not a number from 1 to 65535")))
    });
    let port = port.transpose()?.or(options.course.port);
    let arguments = match kind {
        ConnectionKind::Ssh => ssh_arguments(&look, host)?,
        ConnectionKind::Local => SshArguments::default(),
    };
    let user = agreed(host, "user", user.or_else(|| options.remote_user.clone()), arguments.user.clone())?;
    let port = agreed(host, "port", port, arguments.port)?;
    let given_key = look.var(&["quaylab_ssh_host_key"])?.filter(|k| !k.is_empty());
    let checking = look.switch(&["ansible_host_key_checking", "ansible_ssh_host_key_checking"])?;
    let checking = checking.unwrap_or(options.host_key_checking);
    let host_key = match given_key {
        Some(key) => HostKeyCheck::Exactly(key),
        None => arguments.host_key(checking),
    };
    // A guest that only its hypervisor reaches: the hypervisor's own connection, whatever it is, comes first.
    let proxy_jump = match look.var(&["quaylab_ssh_via"])?.filter(|via| !via.is_empty() && via != host) {
        Some(via) => {
            let keywords = Context { keywords: context.keywords.clone(), ..Context::default() };
            let hypervisor = spec(play, &via, &keywords, &HostScope::new(play, &via, &keywords).shared())?;
            match hypervisor.kind {
                ConnectionKind::Ssh => hypervisor.as_way(),
                ConnectionKind::Local => arguments.jumps(),
            }
        }
        None => arguments.jumps(),
    };
    let password = look.var(&["ansible_password", "ansible_ssh_password", "ansible_ssh_pass"])?.map(Secret);
    let private_key = look
        .var(&["ansible_ssh_private_key_file", "ansible_private_key_file"])?
        .map(|p| crate::store::expanded(&p));
    let seconds = |text: Option<String>| text.and_then(|t| t.parse().ok()).map(Duration::from_secs);
    let timeout = seconds(look.var(&["ansible_timeout", "ansible_ssh_timeout"])?);
    let timeout = agreed(host, "time limit", timeout, arguments.connect_timeout)?;
    let mut ssh = arguments.options.clone();
    ssh.login_timeout = seconds(look.var(&["quaylab_ssh_login_timeout"])?);
    let address = look.var(&["ansible_host", "ansible_ssh_host"])?.unwrap_or_else(|| host.to_owned());
    Ok(ConnectionSpec {
        name: host.to_owned(),
        kind,
        address: arguments.address(address),
        port: port.unwrap_or(22),
        user: user.unwrap_or_else(current_user),
        password: password.or_else(|| options.ssh_password.clone()),
        private_key_file: private_key.or_else(|| options.private_key_file.clone()),
        host_key,
        proxy_jump,
        timeout: timeout.unwrap_or(options.timeout),
        limits: options.limits,
        ssh,
    })
}

/// What OpenSSH's arguments say, those of variables before those of settings and options: of two the first counts.
fn ssh_arguments(look: &Lookup<'_>, host: &str) -> Result<SshArguments, Diagnostic> {
    let mut all = Vec::new();
    for name in ["ansible_ssh_common_args", "ansible_ssh_extra_args", "ansible_ssh_args"] {
        all.extend(look.var(&[name])?);
    }
    all.push(look.play.run.options.course.ssh_arguments.clone());
    SshArguments::parse(&all.join(" "))
        .map_err(|e| Diagnostic::new(format!("the SSH arguments of {host}: {e}")).hint(e.hint))
}

/// Refuses what cannot be obeyed in the SSH arguments of a host, as far as its variables are known; what among them makes no difference, and why.
pub(super) fn check(play: &Arc<PlayRun>, host: &str, context: &Context) -> Result<Vec<String>, Diagnostic> {
    let scope = HostScope::new(play, host, context).shared();
    let look = Lookup { play, scope: &scope };
    let is_ssh = matches!(kind_of(&look, host, context), Ok(ConnectionKind::Ssh));
    // What cannot be rendered yet is judged before the host is connected to.
    let is_known = ["ansible_ssh_common_args", "ansible_ssh_extra_args", "ansible_ssh_args"]
        .iter()
        .all(|name| look.var(&[name]).is_ok());
    if !is_ssh || !is_known {
        return Ok(Vec::new());
    }
    let idle = ssh_arguments(&look, host)?.idle;
    Ok(idle.into_iter().map(|why| format!("this argument of SSH makes no difference: {why}")).collect())
}

/// What a variable and an argument of SSH say of the same thing: one of them, or both the same.
fn agreed<T: PartialEq + std::fmt::Debug>(
    host: &str,
    what: &str,
    variable: Option<T>,
    argument: Option<T>,
) -> Result<Option<T>, Diagnostic> {
    match (variable, argument) {
        (Some(variable), Some(argument)) if variable != argument => Err(Diagnostic::new(format!(
            "the {what} of {host} is {variable:?} by its variables or options and {argument:?} by its SSH arguments"
        ))
        .hint("say it in one place")),
        (variable, argument) => Ok(variable.or(argument)),
    }
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
    let wanted = match look.switch(&["ansible_become"])? {
        Some(wanted) => Some(wanted),
        None => Reader { templar: &play.run.templar, scope }.get(context.nearest(|k| k.r#become.as_ref()))?,
    };
    let wanted = wanted.unwrap_or(options.r#become && !delegated);
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

fn current_user() -> String {
    ["LOGNAME", "USER"]
        .iter()
        .find_map(|n| std::env::var(n).ok())
        .filter(|u| !u.is_empty())
        .unwrap_or_else(|| "root".into())
}
