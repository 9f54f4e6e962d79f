use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::common::{check_name, connect, default_uri, ledger, mark, plan_of};
use crate::host::{Script, quote};
use crate::lab::{
    BUILT_FOLDER, BUILT_VOLUME_GROUP, Element, Hypervisor, MadeKind, PoolKind, PoolNow, PoolSpec, PoolState,
    PoolStep, PoolWanted, Tags, WrittenPool, plan_pool,
};
use crate::value::{Map, Value};
use crate::{ModuleError, Plan, Resource, RunMode, TaskContext};

/// A libvirt storage pool: a folder, or an LVM volume group that is made on a device which holds nothing.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VirtPool {
    /// The pool's name; a volume group gets the same.
    name: String,
    /// `active` also starts it; `present` defines it and leaves it as it is.
    #[serde(default)]
    state: State,
    /// Whether it starts with the hypervisor.
    #[serde(default = "crate::args::yes")]
    autostart: bool,
    /// The libvirt connection.
    #[serde(default = "default_uri")]
    uri: String,
    /// A whole definition instead of `type` and `path`, of any kind that libvirt has: it gets it as it stands, and all of it is compared.
    xml: Option<String>,
    /// `dir`, `lvm` or `logical` (the same as `lvm`).
    #[serde(rename = "type")]
    kind: Option<Kind>,
    /// The folder, or the device for the volume group.
    path: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Dir,
    Lvm,
    Logical,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum State {
    #[default]
    Active,
    Present,
    Inactive,
    Absent,
}

/// A pool as libvirt has it.
#[derive(Debug)]
pub(super) struct Observed {
    now: PoolNow,
    /// Where the definition was given as XML.
    written: Option<WrittenPool>,
}

impl VirtPool {
    /// That a definition given as XML is of this pool, and that nothing is said beside it.
    fn check_xml(&self, xml: &str) -> Result<(), ModuleError> {
        let pool = Element::parse(xml)?;
        let named = pool.path_text("name").unwrap_or_default();
        if pool.name != "pool" || named != self.name {
            return Err(ModuleError::Arguments(format!(
                "xml defines the {} {named:?}, not the pool {:?}",
                pool.name, self.name
            )));
        }
        if self.kind.is_some() || self.path.is_some() {
            return Err(ModuleError::Arguments(
                "type and path have no place beside xml, which is the whole definition".into(),
            ));
        }
        Ok(())
    }

    fn spec(&self) -> Result<PoolSpec, ModuleError> {
        let (Some(kind), Some(path)) = (self.kind, &self.path) else {
            return Err(ModuleError::Arguments("a pool needs `type` and `path`".into()));
        };
        let path = crate::store::expanded(path).to_string_lossy().into_owned();
        if path.starts_with("~/") {
            return Err(ModuleError::Arguments(format!("{path}: there is no HOME to stand for ~")));
        }
        if !path.starts_with('/') {
            return Err(ModuleError::Arguments(format!("path {path:?} is not absolute")));
        }
        let kind = if kind == Kind::Dir { PoolKind::Dir } else { PoolKind::Logical };
        Ok(PoolSpec { name: self.name.clone(), kind, path })
    }

    /// The folder of a pool that is one.
    fn folder(&self) -> Option<String> {
        match &self.xml {
            Some(xml) => Some(Element::parse(xml).ok()?.path_text("target/path")?.to_owned()),
            None => self.spec().ok().map(|spec| spec.path),
        }
    }

    /// Whether that folder is there; one that cannot be looked at counts as somebody else's.
    async fn folder_exists(&self, hypervisor: &Hypervisor) -> bool {
        let Some(folder) = self.folder() else { return true };
        let Some(shell) = hypervisor.shell() else { return false };
        let look = Script::new(format!("[ -e {} ]", quote(&folder)));
        shell.run(&look).await.map_or(true, |reply| reply.ok())
    }
}

#[async_trait]
impl Resource for VirtPool {
    const NAME: &'static str = "virt_pool";
    const FQCN: &'static [&'static str] = &["community.libvirt.virt_pool"];
    type Observed = Observed;
    type Step = PoolStep;

    fn validate(&self) -> Result<(), ModuleError> {
        check_name("pool", &self.name)?;
        match &self.xml {
            _ if self.state == State::Absent => Ok(()),
            Some(xml) => self.check_xml(xml),
            None => self.spec().map(drop),
        }
    }

    async fn observe(&self, cx: &TaskContext) -> Result<Observed, ModuleError> {
        let hypervisor = connect(&self.uri, cx).await?;
        let ours = ledger(&hypervisor, cx).get(MadeKind::Pool, &self.name).await?.is_some();
        let name = self.name.clone();
        let xml = self.xml.clone().filter(|_| self.state != State::Absent);
        let (defined, written) = hypervisor
            .call(move |d| {
                let defined = d.pool(&name)?;
                let written = xml.map(|xml| WrittenPool::observe(&name, &xml, defined.as_ref()));
                Ok((defined, written.transpose()?))
            })
            .await?;
        let logical = match &written {
            Some(written) => written.kind() == "logical",
            None => self.spec().is_ok_and(|s| s.kind == PoolKind::Logical),
        };
        // Looking for volume groups scans the hypervisor's disks, so only where it decides something.
        let decides = logical && defined.as_ref().is_none_or(|d| !d.active);
        let volume_group = match hypervisor.lvm().await {
            _ if !decides => false,
            Some(lvm) => lvm.groups().await?.iter().any(|(group, _)| *group == self.name),
            None => hypervisor.call(|d| d.volume_groups()).await?.contains(&self.name),
        };
        Ok(Observed { now: PoolNow { ours: ours && defined.is_some(), defined, volume_group }, written })
    }

    fn plan(&self, Observed { now, written }: &Observed, _: RunMode) -> Result<Plan<PoolStep>, ModuleError> {
        let state = match self.state {
            State::Active => PoolState::Active,
            State::Present if now.defined.as_ref().is_some_and(|d| d.active) => PoolState::Active,
            State::Present | State::Inactive => PoolState::Inactive,
            State::Absent => PoolState::Absent,
        };
        if let Some(written) = written {
            return plan_of(plan_pool(PoolWanted::Whole(written), state, self.autostart, now));
        }
        let spec = match self.spec() {
            Ok(spec) => spec,
            Err(_) if state == PoolState::Absent => {
                PoolSpec { name: self.name.clone(), kind: PoolKind::Dir, path: String::new() }
            }
            Err(e) => return Err(e),
        };
        plan_of(plan_pool(PoolWanted::Parts(&spec), state, self.autostart, now))
    }

    fn warnings(&self, now: &Observed, _: RunMode) -> Vec<String> {
        now.written.as_ref().map(WrittenPool::warnings).unwrap_or_default()
    }

    async fn apply(&self, step: &PoolStep, cx: &TaskContext) -> Result<(), ModuleError> {
        let hypervisor = connect(&self.uri, cx).await?;
        let ledger = ledger(&hypervisor, cx);
        // Remembered before it is done, so that a run that breaks off can be gone on with and cleaned up after. What is
        // defined anew stays remembered as it was.
        let known = ledger.get(MadeKind::Pool, &self.name).await?.is_some();
        match step {
            PoolStep::Define(_) if !known => ledger.put(MadeKind::Pool, &self.name, None).await?,
            PoolStep::BuildVolumeGroup { .. } => {
                ledger.put(MadeKind::Pool, &self.name, Some(BUILT_VOLUME_GROUP)).await?;
            }
            PoolStep::BuildFolder if !self.folder_exists(&hypervisor).await => {
                ledger.put(MadeKind::Pool, &self.name, Some(BUILT_FOLDER)).await?;
            }
            _ => {}
        }
        if let (PoolStep::BuildVolumeGroup { device }, Some(lvm)) = (step, hypervisor.lvm().await) {
            let made = lvm.create_group(&self.name, device, &Tags::of(&mark(cx), None)).await;
            if made.is_err() {
                // Nothing stands on the definition yet; without it the next run starts from the beginning.
                let name = self.name.clone();
                hypervisor.call(move |d| d.undefine_pool(&name)).await?;
                ledger.remove(MadeKind::Pool, &self.name).await?;
            }
            return Ok(made?);
        }
        let (name, doing) = (self.name.clone(), step.clone());
        let done = hypervisor
            .call(move |d| match doing {
                PoolStep::Define(xml) => d.define_pool(&xml),
                PoolStep::BuildFolder => d.build_pool(&name, false),
                PoolStep::BuildVolumeGroup { device } => d.build_pool(&name, true).map_err(|e| {
                    // Nothing stands on the definition yet; without it the next run starts from the beginning.
                    let _ = d.undefine_pool(&name);
                    e.with_hint(format!(
                        "a volume group is only made on a device that holds nothing: look with `lsblk -f {device}`, and if what is there may go, `wipefs -a {device}`"
                    ))
                }),
                PoolStep::Start => d.set_pool_active(&name, true),
                PoolStep::Stop => d.set_pool_active(&name, false),
                PoolStep::Autostart(on) => d.set_pool_autostart(&name, on),
                PoolStep::Undefine => d.undefine_pool(&name),
            })
            .await;
        let forgotten = match (step, &done) {
            (PoolStep::Undefine, Ok(())) | (PoolStep::BuildVolumeGroup { .. }, Err(_)) => true,
            (PoolStep::Define(_), Err(_)) => !known,
            _ => false,
        };
        if forgotten {
            ledger.remove(MadeKind::Pool, &self.name).await?;
        }
        Ok(done?)
    }

    fn result(&self, after: &Observed) -> Map {
        let state = match &after.now.defined {
            None => "absent",
            Some(d) if d.active => "active",
            Some(_) => "inactive",
        };
        Map::from_iter([("name".into(), Value::from(self.name.clone())), ("state".into(), state.into())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_args;
    use serde_json::json;

    #[test]
    fn lvm_is_another_word_for_logical() {
        for (kind, expected) in
            [("lvm", PoolKind::Logical), ("logical", PoolKind::Logical), ("dir", PoolKind::Dir)]
        {
            let Value::Object(map) = json!({"name": "p", "type": kind, "path": "/x"}) else {
                panic!("an object")
            };
            let pool: VirtPool = from_args(map).expect("valid");
            assert_eq!(pool.spec().expect("valid").kind, expected);
        }
    }

    #[test]
    fn a_pool_needs_to_stand_on_something() {
        for args in [
            json!({"name": "p"}),
            json!({"name": "p", "type": "dir", "path": "x"}),
            json!({"name": "p", "xml": "<pool type='dir'><name>q</name></pool>"}),
            json!({"name": "p", "path": "/x", "xml": "<pool type='dir'><name>p</name></pool>"}),
        ] {
            let Value::Object(map) = args else { panic!("an object") };
            assert!(from_args::<VirtPool>(map).expect("readable").validate().is_err());
        }
    }
}
