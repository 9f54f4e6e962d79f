//! Lookups of variables.

use minijinja::{Error, ErrorKind, Value};

use super::super::convert;
use super::super::regex::{Flags, compile};
use super::Ask;

pub(super) fn vars(ask: &Ask<'_>) -> Result<Vec<Value>, Error> {
    let mut found = Vec::new();
    for name in ask.texts()? {
        let value =
            ask.context.lookup(&name).map(convert::checked).transpose()?.filter(|v| !v.is_undefined());
        if let Some(value) = value.or_else(|| ask.named.get("default").cloned()) {
            found.push(value);
        } else {
            if ask.context.scope.get(&name).is_none() {
                ask.context.note_undefined(&name);
            }
            return Err(Error::from(ErrorKind::UndefinedError));
        }
    }
    Ok(found)
}

pub(super) fn varnames(ask: &Ask<'_>) -> Result<Vec<Value>, Error> {
    let names = ask.context.scope.names();
    let mut found = Vec::new();
    for pattern in ask.texts()? {
        let regex = compile(&pattern, Flags::default())?;
        found.extend(
            names.iter().filter(|n| regex.is_match(n).unwrap_or(false)).map(|n| Value::from(n.as_str())),
        );
    }
    Ok(found)
}
