//! Which tasks run: tags.

use std::collections::BTreeSet;

/// Whether a task with these tags runs under `--tags` and `--skip-tags`, as Ansible decides it.
pub fn selected(tags: &BTreeSet<String>, only: &[String], skip: &[String]) -> bool {
    let has = |name: &str| tags.contains(name);
    let tagged = !tags.is_empty() && tags.iter().any(|t| t != "always" && t != "untagged");
    let wanted = if only.is_empty() || only.iter().any(|t| t == "all") {
        !has("never") || only.iter().any(|t| has(t))
    } else {
        has("always")
            || only.iter().any(|t| match t.as_str() {
                "tagged" => tagged && !has("never"),
                "untagged" => tags.is_empty(),
                t => has(t),
            })
    };
    let skipped = skip.iter().any(|t| match t.as_str() {
        "all" => !has("always") || skip.iter().any(|s| s == "always"),
        "tagged" => tagged,
        "untagged" => tags.is_empty(),
        t => has(t),
    });
    wanted && !skipped
}

/// Whether a name fits a pattern of `*` and `?`.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    let mut pattern_rest = pattern.chars();
    match pattern_rest.next() {
        None => name.is_empty(),
        Some('*') => {
            let starts = name.char_indices().map(|(at, _)| at).chain([name.len()]);
            starts.into_iter().any(|at| fits(pattern_rest.as_str(), &name[at..]))
        }
        Some(c) => {
            let mut name_rest = name.chars();
            name_rest.next().is_some_and(|n| c == '?' || c == n)
                && fits(pattern_rest.as_str(), name_rest.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_patterns() {
        for (pattern, name, expected) in [
            ("inst*", "install é", true),
            ("*é", "install é", true),
            ("in?", "install", false),
            ("", "", true),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn tags_choose_as_in_ansible() {
        for (tags, only, skip, expected) in [
            ("", "", "", true),
            ("a", "", "", true),
            ("never", "", "", false),
            ("never,a", "a", "", true),
            ("a", "b", "", false),
            ("always", "b", "", true),
            ("always", "b", "always", false),
            ("a", "tagged", "", true),
            ("", "tagged", "", false),
            ("", "untagged", "", true),
            ("a,b", "a", "b", false),
            ("a", "", "tagged", false),
        ] {
            let split =
                |s: &str| s.split(',').filter(|p| !p.is_empty()).map(str::to_owned).collect::<Vec<_>>();
            let set = split(tags).into_iter().collect();
            assert_eq!(
                selected(&set, &split(only), &split(skip)),
                expected,
                "{tags:?} -t {only:?} --skip-tags {skip:?}"
            );
        }
    }
}
