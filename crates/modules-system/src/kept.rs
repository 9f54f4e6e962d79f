use std::marker::PhantomData;

use async_trait::async_trait;

use crate::host::{Script, Step};
use crate::value::Map;
use crate::{
    Ahead, Effect, Module, ModuleError, ModuleSpec, Outcome, Resource, TaskContext, from_args, guessed,
    resource,
};

/// A resource that needs more than probe, plan and apply: upkeep before it is judged, or a look at what came out.
pub(super) trait Kept: Resource {
    /// Steps that are no change of their own: refreshing a package list, reloading unit files.
    fn upkeep(&self, _now: &Self::Observed) -> Vec<Step> {
        Vec::new()
    }
    /// What `register` sees besides `result`, given whether the upkeep was done.
    fn upkeep_result(&self, _done: bool) -> Map {
        Map::new()
    }
    /// What becomes host variables.
    fn facts(&self) -> Map {
        Map::new()
    }
    /// Whether upkeep counts as a change when nothing else was asked for.
    fn upkeep_is_all(&self) -> bool {
        false
    }
}

struct KeptModule<R>(ModuleSpec, PhantomData<fn() -> R>);

/// A kept resource as a module.
pub(super) fn kept<R: Kept>() -> Box<dyn Module> {
    Box::new(KeptModule::<R>(resource::<R>().spec().clone(), PhantomData))
}

/// Adds the task's `environment` to a step that takes one.
fn within(step: &Step, cx: &TaskContext) -> Step {
    let mut step = step.clone();
    if let Step::Run { environment, .. } = &mut step {
        environment.extend(cx.environment.iter().cloned());
    }
    step
}

fn probe_of<R: Resource>(declared: &R, cx: &TaskContext) -> Script {
    let mut script = declared.probe();
    script.environment.extend(cx.environment.iter().cloned());
    script
}

#[async_trait]
impl<R: Kept> Module for KeptModule<R> {
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
        let mut now = declared.read(&cx.shell.probe(&probe_of(&declared, cx)).await?)?;
        let upkeep = declared.upkeep(&now);
        let kept_up = !upkeep.is_empty();
        if kept_up && !cx.check {
            for step in &upkeep {
                cx.shell.apply(&within(step, cx)).await?;
            }
            now = declared.read(&cx.shell.probe(&probe_of(&declared, cx)).await?)?;
        }
        let plan = declared.plan(&now)?;
        let changed = !plan.steps.is_empty();
        if changed && !cx.check {
            for step in &plan.steps {
                cx.shell.apply(&within(step, cx)).await?;
            }
            now = declared.read(&cx.shell.probe(&probe_of(&declared, cx)).await?)?;
        }
        let mut result = declared.result(&now, &plan);
        result.extend(declared.upkeep_result(kept_up));
        Ok(Outcome {
            changed: changed || kept_up && declared.upkeep_is_all(),
            result,
            facts: declared.facts(),
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
