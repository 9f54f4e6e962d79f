use crate::Diff;

/// Contents above this size are not shown.
pub(super) const LIMIT: usize = 64 * 1024;

/// The difference between two contents, for a person; `None` is no file.
pub(super) fn contents(path: &str, before: Option<&[u8]>, after: Option<&[u8]>) -> Diff {
    if let (Ok(old), Ok(new)) = (text(before), text(after)) {
        return Diff::new(path, old, new);
    }
    Diff::new(path, summary(before), summary(after))
}

fn text(content: Option<&[u8]>) -> Result<&str, &'static str> {
    let bytes = content.unwrap_or_default();
    if bytes.len() > LIMIT {
        return Err("too large to show");
    }
    std::str::from_utf8(bytes).ok().filter(|t| !t.contains('\0')).ok_or("not text")
}

fn summary(content: Option<&[u8]>) -> String {
    match (content, text(content)) {
        (None, _) => String::new(),
        (Some(bytes), Ok(_)) => format!("(text, {} bytes)\n", bytes.len()),
        (Some(bytes), Err(why)) => format!("({} bytes, {why})\n", bytes.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_described() {
        let shown = |a: Option<&[u8]>, b: Option<&[u8]>| {
            let d = contents("/f", a, b);
            (d.before, d.after)
        };
        assert_eq!(shown(None, Some(b"x\n")), (String::new(), "x\n".into()));
        assert_eq!(
            shown(Some(b"x"), Some(b"\0")),
            ("(text, 1 bytes)\n".into(), "(1 bytes, not text)\n".into())
        );
        let large = vec![b'a'; LIMIT + 1];
        assert_eq!(shown(None, Some(&large)).1, "(65537 bytes, too large to show)\n");
    }
}
