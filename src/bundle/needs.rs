use std::collections::BTreeSet;

use super::Hosts;
use super::manifest::is_archive_variable;
use crate::diag::Diagnostic;
use crate::value::{Map, plain};

/// A host's variables that may lead to files of this machine, templates rendered.
#[derive(Debug, Clone, Default)]
pub struct HostSays {
    pub host: String,
    pub variables: Map,
    /// A hypervisor only: it need not agree with the lab's hosts.
    pub aside: bool,
}

impl HostSays {
    /// Whether a variable of this name may lead to a file.
    pub fn is_wanted(name: &str) -> bool {
        is_archive_variable(name) || ["image_uri", "image_checksum", "quay_images"].contains(&name)
    }
}

/// Something that the lab uses, and which hosts do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// A container image's archive.
    Archive { variable: String, file: String, hosts: Hosts },
    /// A guest image.
    Guest { uri: String, checksum: Option<String>, hosts: Hosts },
    /// Images to push, each with what is said of it.
    Pushes { images: Vec<Map>, hosts: Hosts },
}

/// What a lab needs, from what its hosts' variables say: each once, by variable and first host.
pub fn needs(hosts: &[HostSays]) -> Result<Vec<Need>, Diagnostic> {
    let names: BTreeSet<&str> = hosts
        .iter()
        .flat_map(|says| says.variables.keys())
        .map(String::as_str)
        .filter(|name| is_archive_variable(name))
        .collect();
    let mut all = Vec::new();
    for variable in names {
        let file = |says: &HostSays| says.variables.get(variable).map(plain).filter(|file| !file.is_empty());
        for (file, hosts) in grouped(hosts, file) {
            all.push(Need::Archive { variable: variable.to_owned(), file, hosts });
        }
    }
    let guest = |says: &HostSays| {
        let text = |name: &str| says.variables.get(name).map(plain).filter(|text| !text.is_empty());
        Some((text("image_uri")?, text("image_checksum")))
    };
    for ((uri, checksum), hosts) in grouped(hosts, guest) {
        all.push(Need::Guest { uri, checksum, hosts });
    }
    let pushes = |says: &HostSays| {
        says.variables
            .get("quay_images")
            .filter(|list| list.as_array().is_none_or(|l| !l.is_empty()))
            .cloned()
    };
    for (list, of) in grouped(hosts, pushes) {
        let images: Option<Vec<Map>> =
            list.as_array().and_then(|list| list.iter().map(|image| image.as_object().cloned()).collect());
        let images = images.ok_or_else(|| {
            Diagnostic::new("quay_images is not a list of images")
                .hint("each is {name: …, source: …, archive: …, visibility: …}")
        })?;
        // A list that brings no archive along needs nothing.
        if images.iter().any(|image| image.get("archive").is_some_and(|file| !plain(file).is_empty())) {
            all.push(Need::Pushes { images, hosts: of });
        }
    }
    Ok(all)
}

/// The values that hosts have, each with its hosts: all of them where no other host has another or none.
fn grouped<T: PartialEq>(hosts: &[HostSays], value: impl Fn(&HostSays) -> Option<T>) -> Vec<(T, Hosts)> {
    let mut groups: Vec<(T, Vec<String>)> = Vec::new();
    for says in hosts {
        let Some(value) = value(says) else { continue };
        match groups.iter_mut().find(|(known, _)| *known == value) {
            Some((_, names)) => names.push(says.host.clone()),
            None => groups.push((value, vec![says.host.clone()])),
        }
    }
    let agreed = groups.len() == 1 && hosts.iter().all(|says| says.aside || value(says).is_some());
    groups
        .into_iter()
        .map(|(value, names)| (value, if agreed { Hosts::All } else { Hosts::Named(names) }))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::value::Value;

    fn says(host: &str, variables: Value) -> HostSays {
        let Value::Object(variables) = variables else { panic!("a mapping") };
        HostSays { host: host.into(), variables, aside: host.starts_with("hv") }
    }

    fn archive(file: &str, hosts: Hosts) -> Need {
        Need::Archive { variable: "redis_image_archive".into(), file: file.into(), hosts }
    }

    fn named(hosts: &[&str]) -> Hosts {
        Hosts::Named(hosts.iter().map(|h| (*h).to_owned()).collect())
    }

    #[test]
    fn a_lab_needs_what_its_hosts_name() {
        let r = |file: &str| json!({"redis_image_archive": file});
        for (hosts, expected) in [
            (vec![says("a", json!({}))], vec![]),
            (vec![says("a", r(""))], vec![]),
            (vec![says("a", r("/r")), says("b", r("/r"))], vec![archive("/r", Hosts::All)]),
            (vec![says("a", r("/r")), says("hv", json!({}))], vec![archive("/r", Hosts::All)]),
            (
                vec![says("a", r("/r")), says("hv", r("/s"))],
                vec![archive("/r", named(&["a"])), archive("/s", named(&["hv"]))],
            ),
            (vec![says("a", r("/r")), says("b", r(""))], vec![archive("/r", named(&["a"]))]),
            (
                vec![says("a", r("/r")), says("b", r("/s")), says("c", r("/r"))],
                vec![archive("/r", named(&["a", "c"])), archive("/s", named(&["b"]))],
            ),
            (
                vec![says("a", json!({"image_uri": "/i", "image_checksum": "sha256:0"}))],
                vec![Need::Guest { uri: "/i".into(), checksum: Some("sha256:0".into()), hosts: Hosts::All }],
            ),
            (vec![says("a", json!({"quay_images": [{"name": "x", "source": "y"}]}))], vec![]),
            (vec![says("a", json!({"quay_images": []}))], vec![]),
        ] {
            assert_eq!(needs(&hosts).expect("read"), expected, "{hosts:?}");
        }
        let pushes = needs(&[says("a", json!({"quay_images": [{"name": "x", "archive": "/y"}]}))]);
        assert!(matches!(pushes.as_deref(), Ok([Need::Pushes { images, .. }]) if images.len() == 1));
        needs(&[says("a", json!({"quay_images": "x"}))]).expect_err("no list");
    }
}
