//! Filters that encode, decode and digest.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use minijinja::{Error, Value};

use super::super::call::{Call, Native};
use super::super::convert;
use super::super::failure::error;
use super::super::hashing;
use super::super::python;
use super::json::{Layout, write};
use crate::diag::SourceFile;
use crate::value::Value as Known;

pub(super) const FILTERS: &[(&str, Native)] = &[
    ("b64encode", b64encode),
    ("b64decode", b64decode),
    ("to_json", to_json),
    ("tojson", to_json),
    ("to_nice_json", to_nice_json),
    ("from_json", from_json),
    ("to_yaml", to_yaml),
    ("to_nice_yaml", to_nice_yaml),
    ("from_yaml", from_yaml),
    ("from_yaml_all", from_yaml_all),
    ("hash", |c| {
        let kind = c.text_or(1, "hashtype", "sha1");
        digest(c, &kind)
    }),
    ("checksum", |c| digest(c, "sha1")),
    ("sha1", |c| digest(c, "sha1")),
    ("md5", |c| digest(c, "md5")),
    ("password_hash", password_hash),
    ("to_uuid", to_uuid),
    ("urlencode", urlencode),
    ("pprint", |c| python::whole_repr(c.input()).map(Value::from)),
];

fn b64encode(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let text = call.input_text()?;
    let safe = call.flag(2, "urlsafe", false);
    Ok(Value::from(if safe { URL_SAFE.encode(text) } else { STANDARD.encode(text) }))
}

fn b64decode(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    // What Python's decoder skips: line ends and the like.
    let text: String = call.input_text()?.chars().filter(|c| !c.is_whitespace()).collect();
    let safe = call.flag(2, "urlsafe", false);
    let bytes = if safe { URL_SAFE.decode(&text) } else { STANDARD.decode(&text) };
    let bytes = bytes.map_err(|e| error(format!("the text is not base64: {e}")))?;
    let text =
        String::from_utf8(bytes).map_err(|_| error("what is encoded in base64 is not a text in UTF-8"))?;
    Ok(Value::from(text))
}

fn known(call: &Call<'_, '_, '_>) -> Result<Known, Error> {
    convert::to_value(call.input())
}

fn layout(call: &Call<'_, '_, '_>, indent: Option<usize>, sort: bool) -> Result<Layout, Error> {
    let indent = match call.named.get("indent") {
        Some(value) if value.is_none() => None,
        Some(_) => Some(call.size_or(usize::MAX, "indent", 0)?),
        None => indent,
    };
    let mut layout = Layout {
        indent,
        sort: call.flag(usize::MAX, "sort_keys", sort),
        ascii: call.flag(usize::MAX, "ensure_ascii", true),
        item: if indent.is_some() { ",".into() } else { ", ".into() },
        key: ": ".into(),
    };
    if let Some(separators) = call.named.get("separators").filter(|v| !v.is_none())
        && let [item, key] = convert::items(separators)?.as_slice()
    {
        layout.item = python::py_str(item);
        layout.key = python::py_str(key);
    }
    Ok(layout)
}

fn to_json(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    write(&known(call)?, &layout(call, None, false)?).map(Value::from)
}

fn to_nice_json(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let indent = call.size_or(1, "indent", 4)?;
    write(&known(call)?, &layout(call, Some(indent), true)?).map(Value::from)
}

fn from_json(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let text = call.input_text()?;
    let found: Known =
        serde_json::from_str(&text).map_err(|e| error(format!("the text is not JSON: {e}")))?;
    Ok(convert::to_jinja(&found))
}

fn yaml_style(
    call: &Call<'_, '_, '_>,
    indent: usize,
    flow_leaves: bool,
) -> Result<super::yaml::Style, Error> {
    let flow = call.named.get("default_flow_style").filter(|v| !v.is_none());
    Ok(super::yaml::Style {
        indent: call.size_or(1, "indent", indent)?.clamp(2, 9),
        sort: call.flag(usize::MAX, "sort_keys", true),
        flow_leaves: flow.map_or(flow_leaves, |_| false),
        flow: flow.is_some_and(Value::is_true),
        width: call.size_or(usize::MAX, "width", 80)?.max(1),
    })
}

fn to_yaml(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    Ok(Value::from(super::yaml::write(&known(call)?, &yaml_style(call, 2, true)?)))
}

fn to_nice_yaml(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    Ok(Value::from(super::yaml::write(&known(call)?, &yaml_style(call, 4, false)?)))
}

/// The documents of a YAML 1.1 text, read as playbooks are.
fn documents(call: &Call<'_, '_, '_>) -> Result<Vec<Value>, Error> {
    let file = SourceFile::new("<from_yaml>", call.input_text()?);
    let loaded = crate::yaml::load(&file).map_err(|e| error(format!("the text is not YAML: {e}")))?;
    Ok(loaded.documents.iter().map(|node| convert::to_jinja(&node.to_value())).collect())
}

fn from_yaml(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    if call.input().as_str().is_none() {
        return Ok(call.input().clone());
    }
    let mut found = documents(call)?.into_iter();
    let first = found.next().unwrap_or_else(|| Value::from(()));
    match found.next() {
        None => Ok(first),
        Some(_) => Err(error("the text has more than one document: use from_yaml_all")),
    }
}

fn from_yaml_all(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    Ok(Value::from(documents(call)?))
}

fn digest(call: &Call<'_, '_, '_>, kind: &str) -> Result<Value, Error> {
    hashing::digest(kind, call.input_text()?.as_bytes()).map(Value::from)
}

fn password_hash(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let scheme = call.text_or(1, "hashtype", "sha512");
    let salt = call.text(2, "salt");
    let rounds = call.int(4, "rounds")?.map(|n| u32::try_from(n).unwrap_or(if n < 0 { 0 } else { u32::MAX }));
    hashing::crypt(&call.input_text()?, &scheme, salt.as_deref(), rounds).map(Value::from)
}

/// A version 5 UUID in Ansible's name space, unless another is named.
fn to_uuid(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    use sha1::Digest;
    let space = call.text_or(1, "namespace", "361E6D51-FAEC-444A-9079-341386DA8E2E").replace('-', "");
    let space = hex::decode(&space)
        .ok()
        .filter(|b| b.len() == 16)
        .ok_or_else(|| error("the namespace is not a UUID"))?;
    let mut hasher = sha1::Sha1::new();
    hasher.update(&space);
    hasher.update(call.input_text()?.as_bytes());
    let mut bytes: Vec<u8> = hasher.finalize().iter().copied().take(16).collect();
    if let Some(version) = bytes.get_mut(6) {
        *version = (*version & 0x0f) | 0x50;
    }
    if let Some(variant) = bytes.get_mut(8) {
        *variant = (*variant & 0x3f) | 0x80;
    }
    let text = hex::encode(bytes);
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    Ok(Value::from([part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")))
}

fn percent_encoded(text: &str, slash: bool) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"_.-~".contains(&byte) || (slash && byte == b'/') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&hex::encode_upper([byte]));
        }
    }
    out
}

fn urlencode(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let input = call.input();
    let pairs = if convert::is_mapping(input) {
        convert::checked_pairs(input)?
    } else if convert::is_list(input) {
        let mut pairs = Vec::new();
        for pair in convert::items(input)? {
            match convert::items(&pair)?.as_slice() {
                [k, v] => pairs.push((k.clone(), v.clone())),
                _ => return Err(error("urlencode takes a text, a mapping or a list of pairs")),
            }
        }
        pairs
    } else {
        return Ok(Value::from(percent_encoded(&call.input_text()?, true)));
    };
    let encoded = |v: &Value| percent_encoded(&python::py_str(v), false).replace("%20", "+");
    let joined: Vec<String> = pairs.iter().map(|(k, v)| format!("{}={}", encoded(k), encoded(v))).collect();
    Ok(Value::from(joined.join("&")))
}
