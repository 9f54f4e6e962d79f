//! Becoming another user: the command lines and what their refusals mean.

use super::shell_protocol::single_quoted;
use super::{BecomeMethod, BecomeSpec, ConnectionKind, ConnectionSpec, HostError, quote};

/// The command line that runs `inner` as the user; `prompt` is what a password prompt shall read.
///
/// The login shell parses it, which may be any: plain words and single quotes only.
pub(super) fn command_line(r#become: Option<&BecomeSpec>, inner: &str, prompt: &str) -> String {
    let inner = single_quoted(inner);
    let Some(spec) = r#become else { return format!("exec /bin/sh -c {inner}") };
    let user = quote(&spec.user);
    let program = start(spec);
    match (spec.method, &spec.password) {
        (BecomeMethod::Sudo, None) | (BecomeMethod::Doas, _) => {
            format!("exec {program} -n -u {user} /bin/sh -c {inner}")
        }
        (BecomeMethod::Sudo, Some(_)) => {
            format!("exec {program} -S -p {prompt} -u {user} /bin/sh -c {inner}")
        }
        (BecomeMethod::Su, _) => format!("exec {program} -s /bin/sh -c {inner} {user}"),
    }
}

/// The method's program and its options, but those that say how a password is asked for.
fn start(spec: &BecomeSpec) -> String {
    let default: &[&str] = if spec.method == BecomeMethod::Sudo { &["-H"] } else { &[] };
    let program = spec.program.iter().map(|word| quote(word));
    let flags: Vec<String> = match &spec.flags {
        Some(flags) => {
            flags.iter().filter(|f| !matches!(f.as_str(), "-n" | "-S")).map(|word| quote(word)).collect()
        }
        None => default.iter().map(|&word| word.to_owned()).collect(),
    };
    let name = spec.program.is_empty().then(|| spec.method.name().to_owned());
    name.into_iter().chain(program).chain(flags).collect::<Vec<_>>().join(" ")
}

/// Whether a program's standard error ends with a request for a password.
pub(super) fn asks_password(r#become: &BecomeSpec, stderr: &[u8], prompt: &str) -> bool {
    let text = String::from_utf8_lossy(stderr);
    match r#become.method {
        BecomeMethod::Sudo => text.ends_with(prompt),
        // su's prompt is translated; every translation ends with a colon.
        BecomeMethod::Su => text.trim_end().ends_with([':', '：']),
        BecomeMethod::Doas => false,
    }
}

/// Leaves out the step to another user where the login user is that user already.
pub(super) fn needed(spec: &ConnectionSpec, r#become: Option<&BecomeSpec>) -> Option<BecomeSpec> {
    let wanted = r#become?;
    let login = match spec.kind {
        ConnectionKind::Ssh => Some(spec.user.clone()),
        ConnectionKind::Local => current_user(),
    };
    (login.as_deref() != Some(&wanted.user)).then(|| wanted.clone())
}

fn current_user() -> Option<String> {
    let id = rustix::process::geteuid().as_raw();
    if id == 0 {
        return Some("root".to_owned());
    }
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    })
}

/// Why the program that should become the user ended instead.
pub(super) fn refusal(host: &str, spec: &BecomeSpec, status: i32, stderr: &str, prompted: bool) -> HostError {
    let method = spec.program.first().map_or(spec.method.name(), String::as_str);
    let said = stderr.trim();
    let lower = said.to_lowercase();
    let has = |texts: &[&str]| texts.iter().any(|t| lower.contains(t));
    let (reason, hint) = if status == 127 || has(&["command not found", "sudo: not found", "doas: not found"])
    {
        (format!("{method} is not installed there"), "install it, or choose another `become_method`")
    } else if has(&["unknown user", "does not exist", "no passwd entry", "unknown login"]) {
        (format!("there is no user `{}`", spec.user), "create the user first, or correct `become_user`")
    } else if has(&["not in the sudoers", "not allowed to"]) {
        (
            format!("{method} does not let the login user do this: {said}"),
            "allow the login user in /etc/sudoers.d, or log in as another",
        )
    } else if prompted || has(&["incorrect password", "authentication failure"]) {
        if spec.password.is_some() {
            (
                "the password was refused".to_owned(),
                "correct `ansible_become_password` or what `-K` was given",
            )
        } else {
            (format!("{method} asks for a password"), "set `ansible_become_password`, or give `-K`")
        }
    } else if has(&["password is required", "authentication required", "a tty is required"]) {
        match spec.method {
            BecomeMethod::Doas => (
                "doas asks for a password, which it reads from a terminal only".to_owned(),
                "allow the login user `nopass` in /etc/doas.conf, or use `become_method: sudo`",
            ),
            _ => (format!("{method} asks for a password"), "set `ansible_become_password`, or give `-K`"),
        }
    } else if has(&["operation not permitted"]) && spec.method == BecomeMethod::Doas {
        (
            format!("doas does not let the login user do this: {said}"),
            "allow the login user in /etc/doas.conf",
        )
    } else if said.is_empty() {
        (format!("{method} ended with status {status}"), "try the same command by hand on the host")
    } else {
        (said.to_owned(), "try the same command by hand on the host")
    };
    HostError::Become { host: host.to_owned(), user: spec.user.clone(), reason, hint: Some(hint.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;

    #[test]
    fn the_users_program_and_flags_stand_in_the_command_line() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let plain = |method| BecomeSpec::new("quay", method);
        let secret = |spec: BecomeSpec| BecomeSpec { password: Some(Secret("s3cret".into())), ..spec };
        let line = |spec: &BecomeSpec| command_line(Some(spec), "x", "P");
        assert_eq!(line(&plain(BecomeMethod::Sudo)), "exec sudo -H -n -u quay /bin/sh -c 'x'");
        assert_eq!(line(&secret(plain(BecomeMethod::Sudo))), "exec sudo -H -S -p P -u quay /bin/sh -c 'x'");
        assert_eq!(line(&plain(BecomeMethod::Su)), "exec su -s /bin/sh -c 'x' quay");
        assert_eq!(line(&plain(BecomeMethod::Doas)), "exec doas -n -u quay /bin/sh -c 'x'");
        let own = BecomeSpec {
            program: words("/opt/bin/sudo"),
            flags: Some(words("-H -S -n -E a;b")),
            ..plain(BecomeMethod::Sudo)
        };
        assert_eq!(line(&own), "exec /opt/bin/sudo -H -E 'a;b' -n -u quay /bin/sh -c 'x'");
        assert_eq!(line(&secret(own)), "exec /opt/bin/sudo -H -E 'a;b' -S -p P -u quay /bin/sh -c 'x'");
        let login = BecomeSpec { flags: Some(words("-l")), ..plain(BecomeMethod::Su) };
        assert_eq!(line(&login), "exec su -l -s /bin/sh -c 'x' quay");
    }
}
