//! Filters for texts.

use minijinja::{Error, HtmlEscape, Value};

use super::super::bounds::{self, Grown};
use super::super::call::{Call, Native};
use super::super::methods::capitalized;
use super::super::percent;

pub(super) const FILTERS: &[(&str, Native)] = &[
    ("lower", lower),
    ("upper", upper),
    ("capitalize", capitalize),
    ("title", title),
    ("trim", trim),
    ("replace", replace),
    ("split", split),
    ("format", format),
    ("escape", escape),
    ("e", escape),
    ("forceescape", escape),
    ("indent", indent),
    ("center", center),
    ("wordcount", wordcount),
    ("wordwrap", wordwrap),
    ("truncate", truncate),
    ("quote", quote),
    ("comment", comment),
    ("striptags", striptags),
];

fn lower(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    Ok(Value::from(call.input_text()?.to_lowercase()))
}

fn upper(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    Ok(Value::from(call.input_text()?.to_uppercase()))
}

fn capitalize(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    Ok(Value::from(capitalized(&call.input_text()?)))
}

fn title(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    // Jinja's own: a word starts after space, `-` or an opening bracket, not after every sign.
    let text = call.input_text()?;
    let mut out = String::new();
    let mut start = true;
    for c in text.chars() {
        if start {
            out.extend(c.to_uppercase());
        } else {
            out.extend(c.to_lowercase());
        }
        start = c.is_whitespace() || "-({[<".contains(c);
    }
    Ok(Value::from(out))
}

fn trim(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let text = call.input_text()?;
    Ok(Value::from(match call.text(1, "chars") {
        Some(chars) => text.trim_matches(|c| chars.contains(c)).to_owned(),
        None => text.trim().to_owned(),
    }))
}

fn replace(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let (old, new) = (call.need_text(1, "old")?, call.need_text(2, "new")?);
    let text = call.input_text()?;
    let most = call.int(3, "count")?.and_then(|n| usize::try_from(n).ok());
    bounds::replaced("replace", &text, &old, &new, most).map(Value::from)
}

fn split(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let args: Vec<Value> = call.args.iter().skip(1).cloned().collect();
    let text = Value::from(call.input_text()?);
    super::super::methods::call(call.state, &text, "split", &args)
}

fn format(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let template = call.input_text()?;
    let named = Value::from_pairs(call.named.iter().map(|(k, v)| (k.clone(), v.clone())));
    let args: Vec<Value> = call.args.iter().skip(1).cloned().collect();
    percent::format(&template, &args, &named).map(Value::from)
}

fn escape(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let text = call.input_text()?;
    // Jinja writes quotes in decimal and leaves slashes alone.
    let escaped = HtmlEscape(&text).to_string();
    Ok(Value::from(escaped.replace("&#x27;", "&#39;").replace("&quot;", "&#34;").replace("&#x2f;", "/")))
}

fn indent(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let width = call.get(1, "width").unwrap_or_else(|| Value::from(4));
    let unit = match width.as_str() {
        Some(text) => text.to_owned(),
        None => bounds::repeated("indent", " ", call.size_or(1, "width", 4)?)?,
    };
    let first = call.flag(2, "first", false);
    let blank = call.flag(3, "blank", false);
    let text = call.input_text()?;
    let mut out = Grown::new("indent");
    for (number, line) in text.split('\n').enumerate() {
        if number > 0 {
            out.push("\n");
        }
        let wanted = if number == 0 { first } else { blank || !line.is_empty() };
        if wanted {
            out.push(&unit);
        }
        out.push(line);
    }
    out.finish().map(Value::from)
}

fn center(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let width = call.size_or(1, "width", 80)?;
    let text = call.input_text()?;
    centered(&text, width, ' ').map(Value::from)
}

/// Python's `str.center`, with its way of placing the odd one.
pub(in super::super) fn centered(text: &str, width: usize, fill: char) -> Result<String, Error> {
    let length = text.chars().count();
    let room = width.saturating_sub(length);
    let left = room / 2 + (room & width & 1);
    let fill = fill.to_string();
    let mut out = Grown::new("center");
    out.repeat(&fill, left);
    out.push(text);
    out.repeat(&fill, room - left);
    out.finish()
}

fn wordcount(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let text = call.input_text()?;
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty());
    Ok(Value::from(words.count()))
}

fn wordwrap(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let width = call.size_or(1, "width", 79)?.max(1);
    let break_long = call.flag(2, "break_long_words", true);
    let joint = call.text_or(3, "wrapstring", "\n");
    let text = call.input_text()?;
    let mut lines: Vec<String> = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split(' ').filter(|w| !w.is_empty()) {
            // A long word is cut from its front: what is left is looked at where it is, or it would be copied for each line.
            let mut word = word;
            let mut length = word.chars().count();
            loop {
                let used = line.chars().count();
                let gap = usize::from(used > 0);
                if used + gap + length <= width {
                    if gap == 1 {
                        line.push(' ');
                    }
                    line.push_str(word);
                    break;
                }
                if length > width && break_long {
                    let room = width.saturating_sub(used + gap);
                    if room > 0 {
                        if gap == 1 {
                            line.push(' ');
                        }
                        let cut = word.char_indices().nth(room).map_or(word.len(), |(at, _)| at);
                        let (before, after) = word.split_at(cut);
                        line.push_str(before);
                        word = after;
                        length -= room;
                    }
                    lines.push(std::mem::take(&mut line));
                } else if used == 0 {
                    line.push_str(word);
                    break;
                } else {
                    lines.push(std::mem::take(&mut line));
                }
            }
        }
        lines.push(line);
    }
    bounds::joined("wordwrap", &lines, &joint).map(Value::from)
}

fn truncate(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let length = call.size_or(1, "length", 255)?;
    let cut_words = call.flag(2, "killwords", false);
    let end = call.text_or(3, "end", "...");
    let leeway = call.size_or(4, "leeway", 5)?;
    let text = call.input_text()?;
    if text.chars().count() <= length.saturating_add(leeway) {
        return Ok(Value::from(text));
    }
    let kept: String = text.chars().take(length.saturating_sub(end.chars().count())).collect();
    if cut_words {
        return Ok(Value::from(kept + &end));
    }
    let whole = kept.rsplit_once(' ').map_or(kept.as_str(), |(before, _)| before).to_owned();
    Ok(Value::from(whole + &end))
}

fn quote(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let text = if call.input().is_none() { String::new() } else { call.input_text()? };
    let safe = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
    Ok(Value::from(if !text.is_empty() && text.chars().all(safe) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\"'\"'"))
    }))
}

struct Style {
    begin: &'static str,
    decoration: &'static str,
    end: &'static str,
}

fn comment(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let style = call.text_or(1, "style", "plain");
    let style = match style.as_str() {
        "plain" => Style { begin: "", decoration: "# ", end: "" },
        "erlang" => Style { begin: "", decoration: "% ", end: "" },
        "c" => Style { begin: "", decoration: "// ", end: "" },
        "cblock" => Style { begin: "/*", decoration: " * ", end: " */" },
        "xml" => Style { begin: "<!--", decoration: " - ", end: "-->" },
        other => {
            return Err(super::super::failure::error(format!(
                "there is no comment style '{other}': it is plain, erlang, c, cblock or xml"
            )));
        }
    };
    let newline = call.text_or(9, "newline", "\n");
    let named = |call: &Call<'_, '_, '_>, name: &str, default: &str| call.text_or(99, name, default);
    let begin = named(call, "beginning", style.begin);
    let end = named(call, "end", style.end);
    let decoration = named(call, "decoration", style.decoration);
    let edge = decoration.trim_end().to_owned();
    let block = !style.begin.is_empty();
    let default_edge = if block { decoration.trim_end_matches(' ').to_owned() } else { edge };
    let prefix = named(call, "prefix", &default_edge);
    let postfix = named(call, "postfix", &default_edge);
    let count = |call: &Call<'_, '_, '_>, name: &str| call.size_or(99, name, 1);
    let (prefix_count, postfix_count) = (count(call, "prefix_count")?, count(call, "postfix_count")?);
    let text = call.input_text()?;

    let mut out = Grown::new("comment");
    if !begin.is_empty() {
        out.push(&begin);
        out.push(&newline);
    }
    if !prefix.is_empty() {
        out.repeat(&format!("{prefix}{newline}"), prefix_count);
    }
    // What decorates an empty line has no space at its end, unless the line is the last.
    let lines: Vec<&str> = text.split('\n').collect();
    let bare = decoration.trim_end();
    for (at, line) in lines.iter().enumerate() {
        if at > 0 {
            out.push(&newline);
        }
        if line.is_empty() && at + 1 < lines.len() {
            out.push(bare);
        } else {
            out.push(&decoration);
            out.push(line);
        }
    }
    out.repeat(&format!("{newline}{postfix}"), postfix_count);
    if !end.is_empty() {
        out.push(&newline);
        out.push(&end);
    }
    out.finish().map(Value::from)
}

fn striptags(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let mut out = String::new();
    let mut inside = false;
    for c in call.input_text()?.chars() {
        match c {
            '<' => inside = true,
            '>' if inside => inside = false,
            c if !inside => out.push(c),
            _ => {}
        }
    }
    Ok(Value::from(out.split_whitespace().collect::<Vec<_>>().join(" ")))
}
