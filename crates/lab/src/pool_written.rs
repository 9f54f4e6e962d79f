//! A storage pool whose whole definition a person wrote.

use super::libvirt_form::{DefinitionOf, normal};
use super::written::{Written, same};
use super::xml::Element;
use super::{Defined, LabError};

/// What libvirt tells of a pool that is not part of what it is made of.
const TOLD: [&str; 4] = ["uuid", "capacity", "allocation", "available"];

/// The definition, and what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenPool {
    definition: Written,
    /// What is there in libvirt's form.
    there: Option<Element>,
}

impl WrittenPool {
    /// Reads the definition against what is there.
    pub fn observe(name: &str, xml: &str, now: Option<&Defined>) -> Result<Self, LabError> {
        let what = format!("pool {name}");
        let read = |xml: &str| normal(DefinitionOf::Pool, &what, xml);
        let definition = Written::new(&what, Element::parse(xml)?, read(xml)?)?;
        Ok(Self { definition, there: now.map(|now| read(&now.xml)).transpose()? })
    }

    pub fn name(&self) -> &str {
        self.definition.normal.path_text("name").unwrap_or_default()
    }

    /// `dir`, `netfs`, ... as libvirt calls it.
    pub fn kind(&self) -> &str {
        self.definition.normal.get("type").unwrap_or_default()
    }

    /// The device that a volume group is made on, where it names one.
    pub(super) fn device(&self) -> Option<&str> {
        self.definition.normal.path_attr("source/device", "path")
    }

    /// What a person should know about the definition.
    pub fn warnings(&self) -> Vec<String> {
        let told = |what| format!("pool {}: libvirt makes nothing of {what}", self.name());
        self.definition.passed_over().into_iter().map(told).collect()
    }

    pub(super) fn to_xml(&self) -> String {
        let mut pool = self.definition.written.clone();
        if pool.find("uuid").is_none() {
            pool.children.extend(self.there.as_ref().and_then(|t| t.find("uuid")).cloned());
        }
        pool.to_string()
    }

    pub(super) fn describe(&self) -> String {
        self.comparable(&self.definition.normal).to_string()
    }

    pub(super) fn describe_there(&self) -> String {
        self.there.as_ref().map(|there| self.comparable(there).to_string()).unwrap_or_default()
    }

    pub(super) fn is_there(&self) -> bool {
        let wanted = self.comparable(&self.definition.normal);
        self.there.as_ref().is_some_and(|there| same(&self.comparable(there), &wanted))
    }

    /// Whether who may use its folder is all that differs.
    pub(super) fn differs_in_permissions(&self) -> bool {
        let without = |pool: &Element| {
            let mut pool = self.comparable(pool);
            for target in pool.children.iter_mut().filter(|c| c.name == "target") {
                target.children.retain(|c| c.name != "permissions");
            }
            pool
        };
        let wanted = &self.definition.normal;
        self.there.as_ref().is_some_and(|there| same(&without(there), &without(wanted)))
    }

    /// A pool in libvirt's form without what libvirt found out by itself.
    fn comparable(&self, pool: &Element) -> Element {
        let wanted = &self.definition.normal;
        let mut rest = pool.clone();
        rest.children.retain(|c| {
            !TOLD.contains(&c.name.as_str())
                || (c.name == "uuid" && self.definition.written.find("uuid").is_some())
        });
        for child in &mut rest.children {
            match child.name.as_str() {
                // A folder's owner and mode are read from the disk once the pool runs.
                "target" => match wanted.path("target/permissions") {
                    None => child.children.retain(|c| c.name != "permissions"),
                    Some(asked) => {
                        for there in child.children.iter_mut().filter(|c| c.name == "permissions") {
                            there.children.retain(|c| asked.find(&c.name).is_some());
                        }
                    }
                },
                // So are the devices of a volume group.
                "source" if wanted.path("source/device").is_none() => {
                    child.children.retain(|c| c.name != "device");
                }
                _ => {}
            }
        }
        rest
    }
}

#[cfg(all(test, feature = "libvirt"))]
mod tests {
    use super::super::{PoolNow, PoolState, PoolStep, PoolWanted, plan_pool};
    use super::*;

    fn dir(path: &str, more: &str) -> String {
        format!("<pool type='dir'><name>px</name><target><path>{path}</path>{more}</target></pool>")
    }

    fn mode(mode: &str) -> String {
        format!("<permissions><mode>{mode}</mode><owner>1000</owner></permissions>")
    }

    fn plan(xml: &str, there: &str, ours: bool) -> Result<Vec<PoolStep>, String> {
        let defined = Defined { xml: there.to_owned(), active: true, autostart: true };
        let written = WrittenPool::observe("px", xml, Some(&defined)).map_err(|e| e.to_string())?;
        let now = PoolNow { defined: Some(defined), ours, volume_group: false };
        plan_pool(PoolWanted::Whole(&written), PoolState::Active, true, &now)
            .map(|p| p.0)
            .map_err(|e| e.to_string())
    }

    #[test]
    fn permissions_are_brought_about_and_all_else_is_refused() {
        let declared = dir("/p", &mode("750"));
        // libvirt tells more of one that runs.
        let running = dir(
            "/p",
            "<permissions><mode>0750</mode><owner>1000</owner><group>5</group><label>x</label></permissions>",
        )
        .replace("<target>", "<capacity unit='bytes'>7</capacity><target>");
        assert_eq!(plan(&declared, &running, true), Ok(vec![]));
        assert_eq!(plan(&dir("/p/", ""), &running, false), Ok(vec![]));
        let steps = plan(&declared, &dir("/p", &mode("0700")), true).expect("planned");
        assert!(
            matches!(
                &steps[..],
                [PoolStep::Stop, PoolStep::Define(_), PoolStep::BuildFolder, PoolStep::Start]
            ),
            "{steps:?}"
        );
        for (there, ours) in [(dir("/p", &mode("0700")), false), (dir("/q", &mode("0750")), true)] {
            let error = plan(&declared, &there, ours).expect_err("refused");
            assert!(error.contains("is left alone"), "{error}");
        }
        let error = plan(&dir("/p", "<permisions/>"), &declared, true).expect_err("refused");
        assert!(error.contains("nothing of <pool/target/permisions>"), "{error}");
    }

    #[test]
    fn every_kind_of_pool_that_libvirt_has_may_be_written() {
        let xml = "<pool type='netfs'><name>nf</name><source><host name='h'/><dir path='/x'/><format type='nfs'/></source><target><path>/mnt/x</path></target></pool>";
        let written = WrittenPool::observe("nf", xml, None).expect("read");
        let now = PoolNow { defined: None, ours: false, volume_group: false };
        let (steps, _) =
            plan_pool(PoolWanted::Whole(&written), PoolState::Active, false, &now).expect("planned");
        assert!(
            matches!(&steps[..], [PoolStep::Define(xml), PoolStep::BuildFolder, PoolStep::Start] if xml.contains("<host name='h'/>"))
        );
    }
}
