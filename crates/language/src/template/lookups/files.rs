//! Lookups of files on the machine that runs the playbook.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use minijinja::{Error, Value};

use super::super::context::Context;
use super::super::convert;
use super::super::python;
use super::super::templar::render_file;
use super::{Ask, wrong};
use crate::content::Folder;
use crate::diag::SourceFile;
use crate::store::expanded;
use crate::vars::{Scope, TASK_FOLDER, Var};

/// The first file of that name in the search paths (and their usual folder), then in the playbook's folder.
fn find(context: &Context, name: &str, folder: &str) -> Option<PathBuf> {
    let given = expanded(name);
    if given.is_absolute() {
        return given.exists().then_some(given);
    }
    let own = own_places(context);
    let options = &context.machine.options;
    let search = own.iter().chain(&options.search_paths).chain([&options.working_dir]);
    search.flat_map(|dir| [dir.join(folder).join(&given), dir.join(&given)]).find(|p| p.exists())
}

/// Where the task looks before the playbook's folder: the role that it is in, and the folder of its file.
fn own_places(context: &Context) -> Vec<PathBuf> {
    ["role_path", TASK_FOLDER]
        .iter()
        .filter_map(|name| match context.scope.get(name) {
            // What is inside the program is no name for a disk: below the current folder there may be one like it.
            Some(Var::Known(path)) => {
                path.as_str().filter(|path| Folder::embedded(path).is_none()).map(PathBuf::from)
            }
            _ => None,
        })
        .collect()
}

/// A file of an embedded role, which comes before all on disk for a task of that role.
fn embedded(context: &Context, name: &str, folder: &str) -> Option<(PathBuf, std::io::Result<Vec<u8>>)> {
    let Some(Var::Known(role)) = context.scope.get("role_path") else {
        return None;
    };
    let role = Folder::embedded(role.as_str()?).filter(|_| !expanded(name).is_absolute())?;
    [role.join(folder), role]
        .iter()
        .find_map(|place| Some((PathBuf::from(place.describe(name)), place.read(name)?)))
}

fn searched(context: &Context) -> String {
    let options = &context.machine.options;
    let own = own_places(context);
    let places = own.iter().chain(&options.search_paths).chain([&options.working_dir]);
    let paths: Vec<String> = places.map(|p| p.display().to_string()).collect();
    format!("searched in: {}", paths.join(", "))
}

pub(super) fn read(
    ask: &Ask<'_>,
    lookup: &str,
    name: &str,
    folder: &str,
) -> Result<(PathBuf, String), Error> {
    let on_disk = || find(ask.context, name, folder).map(|path| (path.clone(), std::fs::read(path)));
    let found = embedded(ask.context, name, folder).or_else(on_disk);
    let (path, bytes) = found.ok_or_else(|| {
        super::hinted(
            format!("the lookup '{lookup}' could not find the file '{name}'"),
            Some(searched(ask.context)),
        )
    })?;
    let bytes = bytes.map_err(|e| wrong(lookup, format!("{} cannot be read: {e}", path.display())))?;
    let bytes = ask
        .context
        .machine
        .options
        .vault
        .open_bytes(bytes)
        .map_err(|e| super::hinted(format!("{}: {e}", path.display()), e.hint().map(str::to_owned)))?;
    Ok((path, String::from_utf8_lossy(&bytes).into_owned()))
}

pub(super) fn file(ask: &Ask<'_>) -> Result<Vec<Value>, Error> {
    let (left, right) = (ask.flag("lstrip", false), ask.flag("rstrip", true));
    let mut found = Vec::new();
    for name in ask.texts()? {
        let (_, text) = read(ask, "file", &name, "files")?;
        let text = if left { text.trim_start() } else { &text };
        found.push(Value::from(if right { text.trim_end() } else { text }));
    }
    Ok(found)
}

/// A scope with a lookup's own variables in front.
#[derive(Debug)]
struct Front {
    own: Vec<(String, crate::value::Value)>,
    rest: Arc<dyn Scope>,
}

impl Scope for Front {
    fn get(&self, name: &str) -> Option<Var> {
        let own = self.own.iter().find(|(n, _)| n == name).map(|(_, v)| Var::known(v.clone()));
        own.or_else(|| self.rest.get(name))
    }

    fn names(&self) -> Vec<String> {
        let mut names = self.rest.names();
        names.extend(
            self.own.iter().map(|(n, _)| n.clone()).filter(|n| !names.contains(n)).collect::<Vec<_>>(),
        );
        names
    }

    fn host(&self, name: &str) -> Option<Arc<dyn Scope>> {
        self.rest.host(name)
    }

    fn host_names(&self) -> Vec<String> {
        self.rest.host_names()
    }

    fn is_guess(&self) -> bool {
        self.rest.is_guess()
    }
}

pub(super) fn template(ask: &Ask<'_>) -> Result<Vec<Value>, Error> {
    let mut context = Arc::clone(ask.context);
    if let Some(own) = ask.option("template_vars") {
        let own = convert::checked_pairs(own)?
            .into_iter()
            .map(|(k, v)| Ok((python::py_str(&k), convert::to_value(&v)?)))
            .collect::<Result<Vec<_>, Error>>()?;
        context = context.with_scope(Arc::new(Front { own, rest: Arc::clone(&ask.context.scope) }));
    }
    let mut found = Vec::new();
    for name in ask.texts()? {
        let (path, text) = read(ask, "template", &name, "templates")?;
        let beside = path.parent().filter(|folder| folder.is_absolute());
        let mut search: Vec<PathBuf> = beside.map(Path::to_path_buf).into_iter().collect();
        search.extend(
            context.machine.options.search_paths.iter().flat_map(|p| [p.join("templates"), p.clone()]),
        );
        let file = SourceFile::new(path.display().to_string(), text);
        let rendered = render_file(&context, &file, &search);
        found.push(Value::from(rendered.map_err(super::super::failure::Failure::into_error)?));
    }
    Ok(found)
}

/// Whether a file name fits a shell pattern of `*`, `?` and `[...]`.
pub(super) fn fits(pattern: &[char], name: &[char]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some(('*', rest)) => (0..=name.len()).any(|skip| fits(rest, name.get(skip..).unwrap_or_default())),
        Some(('?', rest)) => name.split_first().is_some_and(|(_, after)| fits(rest, after)),
        Some(('[', rest)) => {
            let (Some(end), Some((first, after))) = (rest.iter().position(|c| *c == ']'), name.split_first())
            else {
                return name.split_first().is_some_and(|(c, after)| *c == '[' && fits(rest, after));
            };
            let set = rest.get(..end).unwrap_or_default();
            let (negated, set) = match set.split_first() {
                Some(('!' | '^', set)) => (true, set),
                _ => (false, set),
            };
            let mut within = set.contains(first);
            for range in set.windows(3) {
                if let [low, '-', high] = range {
                    within |= low <= first && first <= high;
                }
            }
            within != negated && fits(rest.get(end + 1..).unwrap_or_default(), after)
        }
        Some((c, rest)) => name.split_first().is_some_and(|(n, after)| n == c && fits(rest, after)),
    }
}

pub(super) fn fileglob(ask: &Ask<'_>) -> Result<Vec<Value>, Error> {
    let mut found = Vec::new();
    for term in ask.texts()? {
        let path = expanded(&term);
        let pattern: Vec<char> =
            path.file_name().map(|n| n.to_string_lossy().chars().collect()).unwrap_or_default();
        let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        let folders = if folder.is_absolute() {
            vec![folder]
        } else {
            let options = &ask.context.machine.options;
            let own = own_places(ask.context);
            let search = own.iter().chain(&options.search_paths).chain([&options.working_dir]);
            search.flat_map(|dir| [dir.join("files").join(&folder), dir.join(&folder)]).collect()
        };
        for folder in folders {
            let Ok(entries) = std::fs::read_dir(&folder) else { continue };
            let mut names: Vec<String> = entries
                .filter_map(Result::ok)
                .filter(|e| e.path().is_file())
                .map(|e| e.file_name().to_string_lossy().into_owned())
                .filter(|n| {
                    fits(&pattern, &n.chars().collect::<Vec<_>>())
                        && (!n.starts_with('.') || pattern.first() == Some(&'.'))
                })
                .collect();
            names.sort();
            let any = !names.is_empty();
            found.extend(names.iter().map(|n| Value::from(folder.join(n).display().to_string())));
            if any {
                break;
            }
        }
    }
    Ok(found)
}

pub(super) fn first_found(ask: &Ask<'_>) -> Result<Vec<Value>, Error> {
    let mut candidates: Vec<PathBuf> = Vec::new();
    let mut skip = ask.flag("skip", false);
    let texts = |value: Option<Value>| -> Result<Vec<String>, Error> {
        match value.filter(|v| !v.is_none() && !v.is_undefined()) {
            None => Ok(Vec::new()),
            Some(v) if convert::is_list(&v) => Ok(convert::items(&v)?.iter().map(python::py_str).collect()),
            Some(v) => Ok(python::py_str(&v).split([',', ';']).map(|s| s.trim().to_owned()).collect()),
        }
    };
    let mut add = |files: Vec<String>, paths: Vec<String>| {
        for file in files {
            if paths.is_empty() {
                candidates.push(expanded(&file));
            }
            candidates.extend(paths.iter().map(|p| expanded(p).join(&file)));
        }
    };
    let named_paths = texts(ask.option("paths").cloned())?;
    add(texts(ask.option("files").cloned())?, named_paths.clone());
    let mut terms: Vec<Value> = Vec::new();
    for term in &ask.terms {
        if convert::is_list(term) { terms.extend(convert::items(term)?) } else { terms.push(term.clone()) }
    }
    for term in terms {
        if convert::is_mapping(&term) {
            let part = |name: &str| convert::checked(super::super::access::item(&term, &Value::from(name)));
            skip |= super::super::call::boolean(&part("skip")?);
            add(texts(Some(part("files")?))?, texts(Some(part("paths")?))?);
        } else {
            add(vec![python::py_str(&term)], named_paths.clone());
        }
    }
    for candidate in &candidates {
        let name = candidate.to_string_lossy();
        let found = ["files", "templates", "vars", "tasks"]
            .iter()
            .find_map(|folder| find(ask.context, &name, folder));
        if let Some(found) = found {
            return Ok(vec![Value::from(found.display().to_string())]);
        }
    }
    if skip {
        return Ok(Vec::new());
    }
    let tried: Vec<String> = candidates.iter().map(|c| c.display().to_string()).collect();
    Err(super::hinted(
        format!("the lookup 'first_found' found none of: {}", tried.join(", ")),
        Some(format!("{}; `skip=true` makes it give nothing instead", searched(ask.context))),
    ))
}

pub(super) fn ini(ask: &Ask<'_>) -> Result<Vec<Value>, Error> {
    let name = ask.text_option("file").unwrap_or_else(|| "ansible.ini".into());
    let section = ask.text_option("section").unwrap_or_else(|| "global".into());
    let default = ask.option("default").cloned().unwrap_or_else(|| Value::from(""));
    let properties = ask.text_option("type").as_deref() == Some("properties");
    let fold = !ask.flag("case_sensitive", false);
    let (_, text) = read(ask, "ini", &name, "files")?;
    let same = |a: &str, b: &str| if fold { a.eq_ignore_ascii_case(b) } else { a == b };
    let mut found = Vec::new();
    for key in ask.texts()? {
        let mut inside = properties;
        let mut value = None;
        for line in text.lines().map(str::trim).filter(|l| !l.starts_with(['#', ';'])) {
            if let Some(title) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                inside = !properties && title == section;
            } else if let Some((k, v)) = line.split_once(['=', ':']).filter(|_| inside)
                && same(k.trim(), &key)
            {
                value = Some(Value::from(v.trim()));
            }
        }
        found.push(value.unwrap_or_else(|| default.clone()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_in_a_shell() {
        let fit = |p: &str, n: &str| fits(&p.chars().collect::<Vec<_>>(), &n.chars().collect::<Vec<_>>());
        for (pattern, name, expected) in [
            ("*.conf", "a.conf", true),
            ("*.conf", "a.cfg", false),
            ("a?c", "abc", true),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("", "", true),
        ] {
            assert_eq!(fit(pattern, name), expected, "{pattern} {name}");
        }
    }
}
