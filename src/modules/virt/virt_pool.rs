use std::path::PathBuf;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::common::{check_name, connect, default_uri, native_plan, yes};
use crate::lab::{
    BUILT_FOLDER, BUILT_VOLUME_GROUP, Element, Made, MadeKind, PoolKind, PoolNow, PoolSpec, PoolState, PoolStep, Registry,
    plan_pool,
};
use crate::modules::{ModuleError, NativePlan, NativeResource, TaskContext};
use crate::value::{Map, Value};

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
    #[serde(default = "yes")]
    autostart: bool,
    /// The libvirt connection.
    #[serde(default = "default_uri")]
    uri: String,
    /// A whole definition instead of `type` and `path`.
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

impl VirtPool {
    fn spec(&self) -> Result<PoolSpec, ModuleError> {
        if let Some(xml) = &self.xml {
            let spec = PoolSpec::from_element(&Element::parse(xml)?)
                .ok_or_else(|| ModuleError::Arguments("xml defines no pool of type dir or logical".into()))?;
            return if spec.name == self.name {
                Ok(spec)
            } else {
                Err(ModuleError::Arguments(format!(
                    "xml defines the pool {:?}, not {:?}",
                    spec.name, self.name
                )))
            };
        }
        let (Some(kind), Some(path)) = (self.kind, &self.path) else {
            return Err(ModuleError::Arguments("a pool needs `type` and `path`".into()));
        };
        let path = match path.strip_prefix("~/") {
            Some(rest) => {
                let home = std::env::var("HOME").map_err(|_| {
                    ModuleError::Arguments(format!("{path}: there is no HOME to stand for ~"))
                })?;
                format!("{home}/{rest}")
            }
            None => path.clone(),
        };
        if !path.starts_with('/') {
            return Err(ModuleError::Arguments(format!("path {path:?} is not absolute")));
        }
        let kind = if kind == Kind::Dir { PoolKind::Dir } else { PoolKind::Logical };
        Ok(PoolSpec { name: self.name.clone(), kind, path })
    }

    /// The folder of a pool of that type.
    fn folder(&self) -> PathBuf {
        self.spec().map(|s| PathBuf::from(s.path)).unwrap_or_default()
    }
}

#[async_trait]
impl NativeResource for VirtPool {
    const NAME: &'static str = "virt_pool";
    const FQCN: &'static [&'static str] = &["community.libvirt.virt_pool"];
    type Observed = PoolNow;
    type Step = PoolStep;

    fn validate(&self) -> Result<(), ModuleError> {
        check_name("pool", &self.name)?;
        if self.state == State::Absent { Ok(()) } else { self.spec().map(drop) }
    }

    async fn observe(&self, cx: &TaskContext) -> Result<PoolNow, ModuleError> {
        let logical = self.spec().is_ok_and(|s| s.kind == PoolKind::Logical);
        let ours =
            Registry::new(cx.controller.state_dir()).get(&self.uri, MadeKind::Pool, &self.name)?.is_some();
        let name = self.name.clone();
        let now = connect(&self.uri)
            .await?
            .call(move |d| {
                let defined = d.pool(&name)?;
                // Looking for volume groups scans the hypervisor's disks, so only where it decides something.
                let decides = defined.as_ref().is_none_or(|d| !d.active);
                let volume_group = logical && decides && d.volume_groups()?.contains(&name);
                Ok(PoolNow { ours: ours && defined.is_some(), defined, volume_group })
            })
            .await?;
        Ok(now)
    }

    fn plan(&self, now: &PoolNow) -> Result<NativePlan<PoolStep>, ModuleError> {
        let state = match self.state {
            State::Active => PoolState::Active,
            State::Present if now.defined.as_ref().is_some_and(|d| d.active) => PoolState::Active,
            State::Present | State::Inactive => PoolState::Inactive,
            State::Absent => PoolState::Absent,
        };
        let spec = match self.spec() {
            Ok(spec) => spec,
            Err(_) if state == PoolState::Absent => {
                PoolSpec { name: self.name.clone(), kind: PoolKind::Dir, path: String::new() }
            }
            Err(e) => return Err(e),
        };
        native_plan(plan_pool(&spec, state, self.autostart, now))
    }

    async fn apply(&self, step: &PoolStep, cx: &TaskContext) -> Result<(), ModuleError> {
        let registry = Registry::new(cx.controller.state_dir());
        let remember = |source: Option<&str>| {
            registry.put(Made {
                uri: self.uri.clone(),
                kind: MadeKind::Pool,
                name: self.name.clone(),
                source: source.map(str::to_owned),
            })
        };
        let hypervisor = connect(&self.uri).await?;
        // Remembered before it is done, so that a run that breaks off can be gone on with and cleaned up after.
        match step {
            PoolStep::Define(_) => remember(None)?,
            PoolStep::BuildVolumeGroup { .. } => remember(Some(BUILT_VOLUME_GROUP))?,
            PoolStep::BuildFolder if hypervisor.is_local() && !self.folder().exists() => {
                remember(Some(BUILT_FOLDER))?;
            }
            _ => {}
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
        if matches!(
            (step, &done),
            (PoolStep::Undefine, Ok(())) | (PoolStep::Define(_) | PoolStep::BuildVolumeGroup { .. }, Err(_))
        ) {
            registry.remove(&self.uri, MadeKind::Pool, &self.name)?;
        }
        Ok(done?)
    }

    fn result(&self, after: &PoolNow) -> Map {
        let state = match &after.defined {
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
    use crate::modules::from_args;
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
        for args in [json!({"name": "p"}), json!({"name": "p", "type": "dir", "path": "x"})] {
            let Value::Object(map) = args else { panic!("an object") };
            assert!(from_args::<VirtPool>(map).expect("readable").validate().is_err());
        }
    }
}
