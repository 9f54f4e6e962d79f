//! What a person wrote as libvirt's XML, beside the form that libvirt itself gives it.

use super::LabError;
use super::xml::Element;

/// A definition that a person wrote, and the same in libvirt's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    /// As it was written: this is what libvirt gets.
    pub(super) written: Element,
    /// As libvirt writes it: this is what is compared.
    pub(super) normal: Element,
}

/// Attributes that libvirt prints of what it runs, and that `virsh ...-dumpxml` therefore brings along.
const TOLD_BY_LIBVIRT: [&str; 1] = ["connections"];

impl Written {
    /// Refuses what libvirt would pass over without a word.
    pub(super) fn new(what: &str, written: Element, normal: Element) -> Result<Self, LabError> {
        let mut unknown = Vec::new();
        compare(&written, Some(&normal), "", &mut |path, _, there| {
            if there.is_none() {
                unknown.push(format!("<{path}>"));
            }
        });
        if unknown.is_empty() {
            return Ok(Self { written, normal });
        }
        Err(LabError::failed(what, format!("libvirt knows nothing of {} in its xml", unknown.join(", "))).with_hint(
            "is it misspelt, or in the wrong place? libvirt passes over what it does not know where it stands",
        ))
    }

    /// What a person wrote into an attribute that libvirt makes nothing of.
    pub(super) fn passed_over(&self) -> Vec<String> {
        let mut all = Vec::new();
        compare(&self.written, Some(&self.normal), "", &mut |path, written, there| {
            let Some(there) = there else { return };
            for (name, value) in &written.attributes {
                let usual =
                    matches!(value.as_str(), "no" | "off") || TOLD_BY_LIBVIRT.contains(&name.as_str());
                if there.get(name).is_none() && !usual && !name.starts_with("xmlns") {
                    all.push(format!("{name}={value:?} of <{path}>"));
                }
            }
        });
        all
    }
}

/// Visits each element that was written with its like in libvirt's form. What is below one that is not there is not visited.
fn compare(
    written: &Element,
    normal: Option<&Element>,
    above: &str,
    visit: &mut dyn FnMut(&str, &Element, Option<&Element>),
) {
    let path = if above.is_empty() { written.name.clone() } else { format!("{above}/{}", written.name) };
    visit(&path, written, normal);
    let Some(normal) = normal.filter(|_| written.name != "metadata") else { return };
    let mut taken = vec![false; normal.children.len()];
    for child in &written.children {
        // The first that nobody had yet: libvirt keeps the order of those of one name.
        let like = normal.children.iter().enumerate().find(|(i, c)| !taken[*i] && c.name == child.name);
        if let Some((index, _)) = like {
            taken[index] = true;
        }
        compare(child, like.map(|(_, c)| c), &path, visit);
    }
}

/// The same whatever the order of attributes and of elements side by side.
pub(super) fn in_order(element: &Element) -> Element {
    let mut sorted = element.clone();
    sorted.attributes.sort();
    sorted.children = element.children.iter().map(in_order).collect();
    sorted.children.sort_by_cached_key(ToString::to_string);
    sorted
}

/// Whether both say the same.
pub(super) fn same(a: &Element, b: &Element) -> bool {
    in_order(a) == in_order(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(xml: &str) -> Element {
        Element::parse(xml).expect("xml")
    }

    #[test]
    fn what_libvirt_does_not_know_is_refused() {
        let normal = read("<network><name>n</name><uuid>u</uuid><ip address='a'><dhcp/></ip></network>");
        let written = |xml: &str| Written::new("network n", read(xml), normal.clone());
        assert!(written("<network><name>n</name><ip address='a'/></network>").is_ok());
        for (xml, part) in [
            ("<network><name>n</name><mtuu size='9'/></network>", "nothing of <network/mtuu> in"),
            (
                "<network><ip><dhcp/><rnage start='a'/></ip><ip/></network>",
                "<network/ip/rnage>, <network/ip> in",
            ),
        ] {
            let error = written(xml).expect_err("refused").to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn attributes_that_mean_nothing_are_told() {
        let normal = read("<network><name>n</name><bridge name='b'/><metadata/></network>");
        let written = read(
            "<network connections='1'><bridge name='b' spt='off' stpp='on'/><metadata><x:y xmlns:x='z'/></metadata></network>",
        );
        let written = Written::new("network n", written, normal).expect("known");
        assert_eq!(written.passed_over(), ["stpp=\"on\" of <network/bridge>"]);
    }

    #[test]
    fn order_does_not_matter() {
        let a = read("<a><b x='1' y='2'/><c><d/><d n='1'/></c></a>");
        assert!(same(&a, &read("<a><c><d n='1'/><d/></c><b y='2' x='1'/></a>")));
        assert!(!same(&a, &read("<a><c><d n='1'/></c><b y='2' x='1'/></a>")));
    }
}
