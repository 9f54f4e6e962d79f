//! libvirt's own way to write a definition, found out by its client library alone: its test driver reads a definition with the
//! same parser as the daemon, and keeps it in the memory of this process.

use super::LabError;
use super::xml::Element;

/// What a definition is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DefinitionOf {
    Network,
    Pool,
}

/// A definition as libvirt writes it; `what` names it in errors.
#[cfg(feature = "libvirt")]
pub(super) fn normal(of: DefinitionOf, what: &str, xml: &str) -> Result<Element, LabError> {
    use std::io::Write as _;

    use virt::connect::Connect;

    let doing = || format!("{what}: reading its xml");
    super::libvirt_library::load()?;
    virt::error::clear_error_callback();
    // A machine of its own with nothing on it: what `test:///default` holds is shared by all of this process.
    let mut machine = tempfile::NamedTempFile::new().map_err(LabError::io(doing()))?;
    machine.write_all(b"<node/>").map_err(LabError::io(doing()))?;
    let uri = format!("test://{}", super::encoded(&machine.path().to_string_lossy()));
    let said = |e: virt::error::Error| LabError::Libvirt { what: doing(), reason: e.message().to_owned() };
    let connect = Connect::open(Some(&uri)).map_err(said)?;
    // It runs nothing, so this is the definition.
    let text = match of {
        DefinitionOf::Network => connect.define_network_xml(xml).and_then(|n| n.xml_desc(0)),
        DefinitionOf::Pool => connect.define_storage_pool_xml(xml, 0).and_then(|p| p.xml_desc(0)),
    };
    Element::parse(&text.map_err(said)?)
}

#[cfg(not(feature = "libvirt"))]
pub(super) fn normal(_: DefinitionOf, _: &str, _: &str) -> Result<Element, LabError> {
    Err(LabError::NotBuilt)
}

#[cfg(all(test, feature = "libvirt"))]
mod tests {
    use super::*;

    #[test]
    fn libvirt_says_the_same_in_its_own_words() {
        let xml = "<network><name>n</name><forward/><ip family='ipv6' address='fd00:007:0::1' prefix='64'/></network>";
        let normal = super::normal(DefinitionOf::Network, "network n", xml).expect("read");
        assert_eq!(normal.path_attr("forward", "mode"), Some("nat"));
        assert_eq!(normal.path_attr("ip", "address"), Some("fd00:7::1"));
        let xml = "<pool type='dir'><name>p</name><target><path>/a//b/</path><permissions><mode>750</mode></permissions></target></pool>";
        let normal = super::normal(DefinitionOf::Pool, "pool p", xml).expect("read");
        assert_eq!(normal.path_text("target/permissions/mode"), Some("0750"));
        let xml = "<network><name>n</name><forward mode='bride'/></network>";
        let error = super::normal(DefinitionOf::Network, "network n", xml).expect_err("refused");
        assert!(error.to_string().starts_with("network n: reading its xml: "), "{error}");
    }
}
