use std::marker::PhantomData;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::args::{argument_names, from_args};
use super::{Diff, Module, ModuleError, ModuleSpec, Outcome, TaskContext};
use crate::host::{Reply, Script, Step};
use crate::value::Map;

/// What would have to be done, and how that looks to a person. No steps: nothing to change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub steps: Vec<Step>,
    pub diff: Vec<Diff>,
}

/// A declared state that is observed by `sh` and changed by steps.
///
/// `probe`, `read`, `plan` and `result` are pure, so that tables test them without a host.
#[async_trait]
pub trait Resource: DeserializeOwned + JsonSchema + Send + Sync + 'static {
    const NAME: &'static str;
    const FQCN: &'static [&'static str];
    const FREE_FORM: bool = false;
    type Observed: Send + Sync;

    /// What serde cannot say about the arguments (exclusive ones, ranges).
    fn validate(&self) -> Result<(), ModuleError> {
        Ok(())
    }
    /// Fetches from the controller what the declaration refers to (a file's content, a rendered template).
    async fn prepare(&mut self, _cx: &TaskContext) -> Result<(), ModuleError> {
        Ok(())
    }
    /// A read-only script.
    fn probe(&self) -> Script;
    fn read(&self, reply: &Reply) -> Result<Self::Observed, ModuleError>;
    fn plan(&self, now: &Self::Observed) -> Result<Plan, ModuleError>;
    /// What `register` sees.
    fn result(&self, now: &Self::Observed, plan: &Plan) -> Map;
}

/// What a native resource would do: its own kind of step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NativePlan<S> {
    pub steps: Vec<S>,
    pub diff: Vec<Diff>,
}

impl<S> Default for NativePlan<S> {
    fn default() -> Self {
        Self { steps: Vec::new(), diff: Vec::new() }
    }
}

/// A declared state that is observed and changed through a client of its own (libvirt, Docker, PostgreSQL, ...).
#[async_trait]
pub trait NativeResource: DeserializeOwned + JsonSchema + Send + Sync + 'static {
    const NAME: &'static str;
    const FQCN: &'static [&'static str];
    type Observed: Send + Sync;
    type Step: Send + Sync;

    fn validate(&self) -> Result<(), ModuleError> {
        Ok(())
    }
    async fn prepare(&mut self, _cx: &TaskContext) -> Result<(), ModuleError> {
        Ok(())
    }
    /// Read-only.
    async fn observe(&self, cx: &TaskContext) -> Result<Self::Observed, ModuleError>;
    fn plan(&self, now: &Self::Observed) -> Result<NativePlan<Self::Step>, ModuleError>;
    async fn apply(&self, step: &Self::Step, cx: &TaskContext) -> Result<(), ModuleError>;
    /// What a person should know besides the changes; `now` is what `result` gets.
    fn warnings(&self, _now: &Self::Observed) -> Vec<String> {
        Vec::new()
    }
    /// What `register` sees; `after` is observed anew when something was changed, and equals what was observed otherwise.
    fn result(&self, after: &Self::Observed) -> Map;
}

/// Whether an action does anything in check mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckMode {
    /// It only reads, or it honours `cx.check` itself.
    Runs,
    /// It is skipped, as Ansible does with `command`.
    Skips,
}

/// What is not a state: a command, an assertion, a wait.
#[async_trait]
pub trait Action: DeserializeOwned + JsonSchema + Send + Sync + 'static {
    const NAME: &'static str;
    const FQCN: &'static [&'static str];
    const FREE_FORM: bool = false;
    const CHECK: CheckMode;

    fn validate(&self) -> Result<(), ModuleError> {
        Ok(())
    }
    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError>;
}

struct ResourceModule<R>(ModuleSpec, PhantomData<fn() -> R>);
struct NativeModule<R>(ModuleSpec, PhantomData<fn() -> R>);
struct ActionModule<A>(ModuleSpec, PhantomData<fn() -> A>);

fn spec<A: DeserializeOwned + JsonSchema>(
    name: &'static str,
    fqcn: &'static [&'static str],
    free_form: bool,
) -> ModuleSpec {
    ModuleSpec {
        name,
        fqcn,
        free_form,
        arguments: argument_names::<A>(),
        schema: || schemars::schema_for!(A),
    }
}

/// A resource as a module.
pub fn resource<R: Resource>() -> Box<dyn Module> {
    Box::new(ResourceModule::<R>(spec::<R>(R::NAME, R::FQCN, R::FREE_FORM), PhantomData))
}

/// A native resource as a module.
pub fn native<R: NativeResource>() -> Box<dyn Module> {
    Box::new(NativeModule::<R>(spec::<R>(R::NAME, R::FQCN, false), PhantomData))
}

/// An action as a module.
pub fn action<A: Action>() -> Box<dyn Module> {
    Box::new(ActionModule::<A>(spec::<A>(A::NAME, A::FQCN, A::FREE_FORM), PhantomData))
}

#[async_trait]
impl<R: Resource> Module for ResourceModule<R> {
    fn spec(&self) -> &ModuleSpec {
        &self.0
    }

    fn check(&self, args: &Map) -> Result<(), ModuleError> {
        from_args::<R>(args.clone())?.validate()
    }

    async fn run(&self, args: Map, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let mut declared: R = from_args(args)?;
        declared.validate()?;
        declared.prepare(cx).await?;
        let reply = cx.shell.run(&cx.within(declared.probe())).await?;
        let now = declared.read(&reply)?;
        let plan = declared.plan(&now)?;
        let changed = !plan.steps.is_empty();
        if !cx.check {
            for step in &plan.steps {
                cx.shell.apply(&cx.step_within(step)).await?;
            }
        }
        let result = declared.result(&now, &plan);
        Ok(Outcome {
            changed,
            result,
            diff: if cx.diff { plan.diff } else { Vec::new() },
            ..Outcome::default()
        })
    }
}

#[async_trait]
impl<R: NativeResource> Module for NativeModule<R> {
    fn spec(&self) -> &ModuleSpec {
        &self.0
    }

    fn check(&self, args: &Map) -> Result<(), ModuleError> {
        from_args::<R>(args.clone())?.validate()
    }

    async fn run(&self, args: Map, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let mut declared: R = from_args(args)?;
        declared.validate()?;
        declared.prepare(cx).await?;
        let mut now = declared.observe(cx).await?;
        let plan = declared.plan(&now)?;
        let changed = !plan.steps.is_empty();
        if changed && !cx.check {
            for step in &plan.steps {
                declared.apply(step, cx).await?;
            }
            now = declared.observe(cx).await?;
        }
        let diff = if cx.diff { plan.diff } else { Vec::new() };
        let warnings = declared.warnings(&now);
        Ok(Outcome { changed, result: declared.result(&now), diff, warnings, ..Outcome::default() })
    }
}

#[async_trait]
impl<A: Action> Module for ActionModule<A> {
    fn spec(&self) -> &ModuleSpec {
        &self.0
    }

    fn check(&self, args: &Map) -> Result<(), ModuleError> {
        from_args::<A>(args.clone())?.validate()
    }

    async fn run(&self, args: Map, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let action: A = from_args(args)?;
        action.validate()?;
        if cx.check && A::CHECK == CheckMode::Skips {
            return Ok(Outcome::skipped("remote module does not support check mode"));
        }
        action.run(cx).await
    }
}
