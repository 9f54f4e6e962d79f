/// What to write instead, for the mistakes that everyone makes once.
pub(super) fn classic(line: &str, info: &str) -> Option<&'static str> {
    let indent = line.len() - line.trim_start().len();
    if line.get(..indent).is_some_and(|blank| blank.contains('\t')) {
        return Some("indent with spaces: YAML takes no tabs there");
    }
    let value = value_of(line);
    if value.starts_with("{{") || value.starts_with("{%") {
        return Some("quote a value that starts with a template: key: \"{{ name }}\"");
    }
    match value.chars().next() {
        Some('%' | '@' | '`') => return Some("quote a value that starts with %, @ or `"),
        Some('*') if !value.contains(' ') => {
            return Some("quote a value that starts with *: it is an alias otherwise");
        }
        Some(quote @ ('"' | '\'')) => {
            let rest = value.get(1..).unwrap_or_default();
            let closed = rest.find(quote).and_then(|at| rest.get(at + 1..)).map(str::trim_start);
            return match closed {
                None => Some("the quote is not closed"),
                Some(after) if !after.is_empty() && !after.starts_with('#') => {
                    Some("quote the whole value, not a part of it: key: '\"first\" second'")
                }
                Some(_) => None,
            };
        }
        _ => {}
    }
    if info.contains("mapping values are not allowed") || value.contains(": ") {
        return Some(
            "quote a value that holds a colon and a space, and give keys of one mapping one indentation",
        );
    }
    None
}

/// What stands after the first `key: ` or `- ` of a line.
fn value_of(line: &str) -> &str {
    let mut rest = line.trim();
    while let Some(item) = rest.strip_prefix("- ") {
        rest = item.trim_start();
    }
    rest.split_once(": ").map_or(rest, |(_, value)| value.trim_start())
}
