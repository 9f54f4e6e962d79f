use std::borrow::Cow;

use async_trait::async_trait;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{self, DeserializeOwned};
use serde::{Deserialize, Deserializer};

use super::unit::{Unit, UnitFile};
use crate::engine_kind::EngineKind;
use crate::value::{Map, Value};
use crate::{ModuleError, Plan, Recorded, Resource, RunMode, TaskContext, from_args, state_of};

/// A module of podman's that has a twin among Docker's.
pub(super) trait Twin: DeserializeOwned + JsonSchema + Send + Sync + 'static {
    const NAME: &'static str;
    const FQCN: &'static [&'static str];
    type Docker: Resource;

    /// Says the same in the twin's words, or as a unit.
    fn declare(self) -> Result<Declared, String>;
}

/// What a module of podman's declares.
pub(super) enum Declared {
    /// The twin's arguments; the engine's address, if it is not the usual one.
    Engine(Map, Option<String>),
    Unit(Unit),
}

impl Declared {
    /// The twin's arguments, as `json!` makes them.
    pub(super) fn engine(args: Value, host: Option<String>) -> Result<Self, String> {
        match args {
            Value::Object(args) => Ok(Self::Engine(args, host)),
            other => Err(format!("arguments are a mapping, not {other}")),
        }
    }
}

/// A module of podman's, as a native resource.
pub(super) enum Podman<T: Twin> {
    Engine(T::Docker),
    Unit(Unit),
}

/// What there is now.
pub(super) enum Seen<S> {
    Engine(S),
    Unit(Option<UnitFile>),
}

#[derive(Debug)]
pub(super) enum Step<S> {
    Engine(S),
    WriteUnit,
}

impl<'de, T: Twin> Deserialize<'de> for Podman<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match T::deserialize(deserializer)?.declare().map_err(de::Error::custom)? {
            Declared::Engine(mut args, host) => {
                let host = host.unwrap_or_else(|| EngineKind::Podman.host());
                args.insert("docker_host".to_owned(), Value::String(host));
                from_args(args).map(Self::Engine).map_err(de::Error::custom)
            }
            Declared::Unit(unit) => Ok(Self::Unit(unit)),
        }
    }
}

impl<T: Twin> JsonSchema for Podman<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

#[async_trait]
impl<T: Twin> Resource for Podman<T> {
    const NAME: &'static str = T::NAME;
    const FQCN: &'static [&'static str] = T::FQCN;
    const PREPARE_CHANGES: bool = T::Docker::PREPARE_CHANGES;
    type Observed = Seen<<T::Docker as Resource>::Observed>;
    type Step = Step<<T::Docker as Resource>::Step>;

    fn validate(&self) -> Result<(), ModuleError> {
        match self {
            Self::Engine(twin) => twin.validate(),
            Self::Unit(unit) => unit.validate(),
        }
    }

    async fn prepare(&mut self, cx: &TaskContext) -> Result<(), ModuleError> {
        match self {
            Self::Engine(twin) => twin.prepare(cx).await,
            Self::Unit(unit) => {
                unit.mark(cx.controller.lab());
                Ok(())
            }
        }
    }

    async fn observe(&self, cx: &TaskContext) -> Result<Self::Observed, ModuleError> {
        match self {
            Self::Engine(twin) => twin.observe(cx).await.map(Seen::Engine),
            Self::Unit(unit) => unit.observe(cx).await.map(Seen::Unit),
        }
    }

    fn plan(&self, now: &Self::Observed, mode: RunMode) -> Result<Plan<Self::Step>, ModuleError> {
        Ok(match (self, now) {
            (Self::Engine(twin), Seen::Engine(now)) => {
                let plan = twin.plan(now, mode)?;
                Plan::new(plan.steps.into_iter().map(Step::Engine).collect(), plan.diff)
            }
            (Self::Unit(unit), Seen::Unit(now)) => match unit.difference(now.as_ref()) {
                Some(diff) => Plan::new(vec![Step::WriteUnit], vec![diff]),
                None => Plan::default(),
            },
            _ => Plan::default(),
        })
    }

    async fn apply(&self, step: &Self::Step, cx: &TaskContext) -> Result<(), ModuleError> {
        match (self, step) {
            (Self::Engine(twin), Step::Engine(step)) => twin.apply(step, cx).await,
            (Self::Unit(unit), Step::WriteUnit) => unit.write(cx).await,
            _ => Ok(()),
        }
    }

    fn recorded(&self, recorded: &Recorded) -> Option<Result<Self::Observed, ModuleError>> {
        match (self, recorded) {
            (Self::Engine(twin), _) => Some(twin.recorded(recorded)?.map(Seen::Engine)),
            (Self::Unit(_), Recorded::Value(_)) => Some(state_of(recorded)?.map(Seen::Unit)),
            (Self::Unit(_), Recorded::Reply(_)) => None,
        }
    }

    fn warnings(&self, now: &Self::Observed, mode: RunMode) -> Vec<String> {
        match (self, now) {
            (Self::Engine(twin), Seen::Engine(now)) => twin.warnings(now, mode),
            _ => Vec::new(),
        }
    }

    fn result(&self, after: &Self::Observed) -> Map {
        match (self, after) {
            (Self::Engine(twin), Seen::Engine(after)) => twin.result(after),
            (Self::Unit(unit), _) => {
                Map::from_iter([("podman_quadlet".to_owned(), Value::String(unit.shown()))])
            }
            _ => Map::new(),
        }
    }
}
