//! Lookups of the environment and of commands, on the machine that runs the playbook.

use std::process::{Command, Stdio};

use minijinja::{Error, ErrorKind, Value};

use super::{Ask, wrong};

pub(super) fn env(ask: &Ask<'_>) -> Result<Vec<Value>, Error> {
    let mut found = Vec::new();
    for name in ask.texts()? {
        let value = match std::env::var(&name) {
            Ok(text) => Value::from(text),
            Err(_) => match ask.named.get("default") {
                Some(default) if default.is_undefined() => {
                    ask.context.note_hint(&format!("the environment variable '{name}' is not set"));
                    return Err(Error::from(ErrorKind::UndefinedError));
                }
                Some(default) => default.clone(),
                None => Value::from(""),
            },
        };
        found.push(value);
    }
    Ok(found)
}

fn output(ask: &Ask<'_>, lookup: &str, command: &str) -> Result<String, Error> {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(command).stdin(Stdio::null()).stderr(Stdio::inherit());
    let dir = &ask.context.machine.options.working_dir;
    if !dir.as_os_str().is_empty() {
        shell.current_dir(dir);
    }
    let done = crate::children::output(&mut shell)
        .map_err(|e| wrong(lookup, format!("{command} cannot be run: {e}")))?;
    if !done.status.success() {
        return Err(wrong(lookup, format!("`{command}` failed: {}", done.status)));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

pub(super) fn pipe(ask: &Ask<'_>) -> Result<Vec<Value>, Error> {
    ask.texts()?.iter().map(|command| Ok(Value::from(output(ask, "pipe", command)?.trim_end()))).collect()
}

pub(super) fn lines(ask: &Ask<'_>) -> Result<Vec<Value>, Error> {
    let mut found = Vec::new();
    for command in ask.texts()? {
        found.extend(output(ask, "lines", &command)?.lines().map(Value::from));
    }
    Ok(found)
}
