use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::private_file::{read_private, turn};
use super::xml::Element;
use super::{LabError, VolumeFormat, write_private};

/// The namespace of quaylab's own elements in libvirt's `<metadata>`.
pub const NAMESPACE: &str = "https://quaylab.dev/xmlns/1";

/// What a marked definition says of itself: which lab made it, with which version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    pub lab: String,
}

impl Mark {
    pub fn new(lab: &str) -> Self {
        Self { lab: lab.to_owned() }
    }

    /// The `<metadata>` element that carries the mark.
    pub fn element(&self) -> Element {
        Element::new("metadata").child(
            Element::new("quaylab:lab")
                .attr("xmlns:quaylab", NAMESPACE)
                .attr("name", &self.lab)
                .attr("made-by", concat!("quaylab ", env!("CARGO_PKG_VERSION"))),
        )
    }

    /// The mark in a definition, whatever prefix the namespace has there.
    pub fn read(definition: &Element) -> Option<Self> {
        let ours = definition.find("metadata")?.children.iter().find(|e| Self::is_element(e))?;
        Some(Self { lab: ours.get("name")?.to_owned() })
    }

    /// Whether an element of a definition's metadata is quaylab's.
    pub fn is_element(element: &Element) -> bool {
        let (prefix, local) = element.name.split_once(':').unwrap_or(("", &element.name));
        let declaration = if prefix.is_empty() { "xmlns".to_owned() } else { format!("xmlns:{prefix}") };
        local == "lab" && element.get(&declaration) == Some(NAMESPACE)
    }
}

/// What kind of thing was made that cannot carry a mark in libvirt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MadeKind {
    Pool,
    Volume,
}

/// One made thing; `source` tells what a volume was filled from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    pub uri: String,
    pub kind: MadeKind,
    /// `POOL` or `POOL/VOLUME`.
    pub name: String,
    /// The digest of the image or seed that it holds, once all of it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// How a volume was made. What libvirt says of it later is what it finds at its start, where its guest writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<VolumeFormat>,
}

/// The list of what this lab made where libvirt has no room for a mark: pools and volumes.
///
/// Kept in the lab's state folder; a change is on disk before the call returns.
#[derive(Debug, Clone)]
pub struct Registry {
    file: PathBuf,
}

impl Registry {
    pub fn new(state_dir: &Path) -> Self {
        Self { file: state_dir.join("made.json") }
    }

    pub fn all(&self) -> Result<Vec<Made>, LabError> {
        Ok(self.load()?.into_values().collect())
    }

    pub fn get(&self, uri: &str, kind: MadeKind, name: &str) -> Result<Option<Made>, LabError> {
        Ok(self.load()?.remove(&key(uri, kind, name)))
    }

    pub fn put(&self, made: Made) -> Result<(), LabError> {
        self.change(|all| {
            all.insert(key(&made.uri, made.kind, &made.name), made);
        })
    }

    pub fn remove(&self, uri: &str, kind: MadeKind, name: &str) -> Result<(), LabError> {
        self.change(|all| {
            all.remove(&key(uri, kind, name));
        })
    }

    fn change(&self, edit: impl FnOnce(&mut BTreeMap<String, Made>)) -> Result<(), LabError> {
        // Hosts and programs run side by side, and the file is read, changed and written.
        let _turn = turn(self.file.parent().unwrap_or(Path::new(".")))?;
        let mut all = self.load()?;
        edit(&mut all);
        if all.is_empty() {
            return match std::fs::remove_file(&self.file) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    Err(LabError::io(format!("removing {}", self.file.display()))(e))
                }
                _ => Ok(()),
            };
        }
        let text = serde_json::to_vec_pretty(&all.values().collect::<Vec<_>>())
            .map_err(|e| LabError::failed("writing the list of made things", e.to_string()))?;
        write_private(&self.file, &text)
    }

    fn load(&self) -> Result<BTreeMap<String, Made>, LabError> {
        let Some(text) = read_private(&self.file)? else { return Ok(BTreeMap::new()) };
        let all: Vec<Made> = serde_json::from_slice(&text).map_err(|e| {
            LabError::failed(format!("reading {}", self.file.display()), e.to_string()).with_hint(
                "quaylab wrote this file; restore it, or move it away to let quaylab forget what it made",
            )
        })?;
        Ok(all.into_iter().map(|m| (key(&m.uri, m.kind, &m.name), m)).collect())
    }
}

fn key(uri: &str, kind: MadeKind, name: &str) -> String {
    format!("{uri} {kind:?} {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_found_again_under_any_prefix() {
        let mark = Mark::new("a<b");
        let xml = Element::new("network").child(mark.element()).to_string();
        assert_eq!(Mark::read(&Element::parse(&xml).expect("xml")), Some(mark));
        let other =
            format!("<network><metadata><q:lab xmlns:q='{NAMESPACE}' name='x'/></metadata></network>");
        assert_eq!(Mark::read(&Element::parse(&other).expect("xml")), Some(Mark::new("x")));
        let foreign = "<network><metadata><q:lab xmlns:q='http://other' name='x'/></metadata></network>";
        assert_eq!(Mark::read(&Element::parse(foreign).expect("xml")), None);
    }

    #[test]
    fn the_registry_remembers_and_forgets() {
        let dir = tempfile::tempdir().expect("a folder");
        let registry = Registry::new(dir.path());
        let made = Made {
            uri: "u".into(),
            kind: MadeKind::Volume,
            name: "p/v".into(),
            source: Some("d".into()),
            format: Some(VolumeFormat::Raw),
        };
        registry.put(made.clone()).expect("written");
        assert_eq!(registry.get("u", MadeKind::Volume, "p/v").expect("read"), Some(made));
        assert_eq!(registry.get("u", MadeKind::Pool, "p/v").expect("read"), None);
        registry.remove("u", MadeKind::Volume, "p/v").expect("removed");
        assert_eq!(registry.all().expect("read"), []);
    }
}
