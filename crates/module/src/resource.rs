use std::marker::PhantomData;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::args::{argument_names, from_args};
use super::{Ahead, Diff, Effect, Module, ModuleError, ModuleSpec, Outcome, TaskContext};
use crate::host::{Reply, Script, Step};
use crate::value::Map;

/// What would have to be done, and how that looks to a person. No steps: nothing to change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub steps: Vec<Step>,
    pub diff: Vec<Diff>,
}

/// Whether a probe may be sent before its task has its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guess {
    /// It reads a few files.
    Cheap,
    /// It reads, and takes a while: only where guesses have proved right.
    Dear,
    /// It asks others than the host, or leaves traces.
    Never,
}

/// A declared state that is observed by `sh` and changed by steps.
///
/// `probe`, `read`, `plan` and `result` are pure, so that tables test them without a host.
#[async_trait]
pub trait Resource: DeserializeOwned + JsonSchema + Send + Sync + 'static {
    const NAME: &'static str;
    const FQCN: &'static [&'static str];
    const FREE_FORM: bool = false;
    const GUESS: Guess = Guess::Cheap;
    type Observed: Send + Sync;

    /// What serde cannot say about the arguments (exclusive ones, ranges).
    fn validate(&self) -> Result<(), ModuleError> {
        Ok(())
    }
    /// Fetches from the controller what the declaration refers to (a file's content, a rendered template). Where the controller is
    /// guessing, it asks no host and takes no long.
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
    /// Whether `prepare` may already change something, as pulling an image does.
    const PREPARE_CHANGES: bool = false;
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

/// What an action may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    /// Nothing: it asks by `Shell::probe`, and waits for nothing.
    Nothing,
    /// The host, by what it runs in the task's shell.
    Shell,
    Anything,
}

/// What is not a state: a command, an assertion, a wait.
#[async_trait]
pub trait Action: DeserializeOwned + JsonSchema + Send + Sync + 'static {
    const NAME: &'static str;
    const FQCN: &'static [&'static str];
    const FREE_FORM: bool = false;
    const CHECK: CheckMode;
    const TOUCH: Touch = Touch::Anything;

    fn validate(&self) -> Result<(), ModuleError> {
        Ok(())
    }
    /// The read-only script that `run` asks first by `Shell::probe`.
    fn ahead(&self, _cx: &TaskContext) -> Option<Script> {
        None
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
        let reply = cx.shell.probe(&cx.within(declared.probe())).await?;
        let now = declared.read(&reply)?;
        let plan = declared.plan(&now)?;
        let changed = !plan.steps.is_empty();
        if !cx.check {
            for step in &plan.steps {
                cx.shell.apply_watched(&cx.step_within(step), &|text| cx.controller.progress(text)).await?;
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

    fn effect(&self) -> Effect {
        Effect::Keeps
    }

    async fn ahead(&self, args: Map, cx: &TaskContext) -> Option<Ahead> {
        guessed::<R>(args, cx).await
    }
}

/// The probe of a resource, before its task has its turn.
pub async fn guessed<R: Resource>(args: Map, cx: &TaskContext) -> Option<Ahead> {
    if R::GUESS == Guess::Never {
        return None;
    }
    let mut declared: R = from_args(args).ok()?;
    declared.validate().ok()?;
    declared.prepare(cx).await.ok()?;
    Some(Ahead { script: cx.within(declared.probe()), dear: R::GUESS == Guess::Dear })
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
        let preparing = R::PREPARE_CHANGES.then(|| cx.shell.changing());
        declared.prepare(cx).await?;
        drop(preparing);
        let mut now = declared.observe(cx).await?;
        let plan = declared.plan(&now)?;
        let changed = !plan.steps.is_empty();
        if changed && !cx.check {
            let change = cx.shell.changing();
            for step in &plan.steps {
                declared.apply(step, cx).await?;
            }
            drop(change);
            now = declared.observe(cx).await?;
        }
        let diff = if cx.diff { plan.diff } else { Vec::new() };
        let warnings = declared.warnings(&now);
        Ok(Outcome { changed, result: declared.result(&now), diff, warnings, ..Outcome::default() })
    }

    fn effect(&self) -> Effect {
        Effect::Keeps
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
        let _change = (A::TOUCH == Touch::Anything).then(|| cx.shell.changing());
        action.run(cx).await
    }

    fn effect(&self) -> Effect {
        if A::TOUCH == Touch::Nothing { Effect::Reads } else { Effect::Acts }
    }

    async fn ahead(&self, args: Map, cx: &TaskContext) -> Option<Ahead> {
        let action: A = from_args(args).ok()?;
        action.validate().ok()?;
        if cx.check && A::CHECK == CheckMode::Skips {
            return None;
        }
        Some(Ahead { script: action.ahead(cx)?, dear: false })
    }
}
