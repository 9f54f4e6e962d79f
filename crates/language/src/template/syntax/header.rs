//! The `#jinja2:` header of a template file, which changes how the file is read.

/// What a header may change.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Overrides {
    pub(crate) block: (String, String),
    pub(crate) variable: (String, String),
    pub(crate) comment: (String, String),
    pub(crate) trim_blocks: bool,
    pub(crate) lstrip_blocks: bool,
    pub(crate) line_statement: Option<String>,
    pub(crate) line_comment: Option<String>,
}

impl Default for Overrides {
    fn default() -> Self {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        Self {
            block: pair("{%", "%}"),
            variable: pair("{{", "}}"),
            comment: pair("{#", "#}"),
            trim_blocks: true,
            lstrip_blocks: false,
            line_statement: None,
            line_comment: None,
        }
    }
}

const PREFIX: &str = "#jinja2:";

/// Reads a header, if the text starts with one, and gives the text after it.
pub(crate) fn header(text: &str) -> Result<(Overrides, &str), String> {
    let mut overrides = Overrides::default();
    let Some(rest) = text.strip_prefix(PREFIX) else { return Ok((overrides, text)) };
    let (line, body) = rest.split_once('\n').unwrap_or((rest, ""));
    for pair in split_pairs(line) {
        let (key, value) = pair.split_once(':').ok_or_else(|| format!("'{pair}' is not `key: value`"))?;
        set(&mut overrides, key.trim(), value.trim())?;
    }
    Ok((overrides, body))
}

/// Splits at the commas that stand outside quotes.
fn split_pairs(line: &str) -> Vec<String> {
    let mut pairs = vec![String::new()];
    let mut quote = None;
    for c in line.chars() {
        match quote {
            Some(q) if c == q => quote = None,
            None if c == '\'' || c == '"' => quote = Some(c),
            None if c == ',' => {
                pairs.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = pairs.last_mut() {
            last.push(c);
        }
    }
    pairs.retain(|p| !p.trim().is_empty());
    pairs
}

fn set(overrides: &mut Overrides, key: &str, value: &str) -> Result<(), String> {
    let text = value.trim_matches(|c| c == '\'' || c == '"').to_owned();
    let flag = || match value {
        "True" | "true" => Ok(true),
        "False" | "false" => Ok(false),
        _ => Err(format!("{key} must be True or False, not {value}")),
    };
    match key {
        "trim_blocks" => overrides.trim_blocks = flag()?,
        "lstrip_blocks" => overrides.lstrip_blocks = flag()?,
        "block_start_string" => overrides.block.0 = text,
        "block_end_string" => overrides.block.1 = text,
        "variable_start_string" => overrides.variable.0 = text,
        "variable_end_string" => overrides.variable.1 = text,
        "comment_start_string" => overrides.comment.0 = text,
        "comment_end_string" => overrides.comment.1 = text,
        "line_statement_prefix" => overrides.line_statement = Some(text),
        "line_comment_prefix" => overrides.line_comment = Some(text),
        // Line ends of the result are as they were written.
        "newline_sequence" | "keep_trailing_newline" => {}
        _ => return Err(format!("'{key}' is not a setting that a #jinja2: header takes")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_settings_and_keeps_the_rest() {
        let (overrides, body) =
            header("#jinja2: lstrip_blocks: True, trim_blocks:False, variable_start_string:'[%'\nrest\n")
                .expect("header");
        assert!(overrides.lstrip_blocks);
        assert!(!overrides.trim_blocks);
        assert_eq!(overrides.variable.0, "[%");
        assert_eq!(body, "rest\n");
        assert_eq!(header("plain"), Ok((Overrides::default(), "plain")));
        assert!(header("#jinja2: wrong: True\n").is_err());
    }
}
