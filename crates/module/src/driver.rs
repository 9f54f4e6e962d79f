//! How a task is done: one way for every declared state, and one for every action.

use std::marker::PhantomData;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::args::{argument_names, from_args};
use super::{
    Action, Ahead, CheckMode, Effect, Module, ModuleError, ModuleSpec, Outcome, Plan, Recorded, Resource,
    TaskContext, Touch,
};
use crate::value::Map;

struct ResourceModule<R>(ModuleSpec, PhantomData<fn() -> R>);
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

/// A declared state as a module.
pub fn resource<R: Resource>() -> Box<dyn Module> {
    Box::new(ResourceModule::<R>(spec::<R>(R::NAME, R::FQCN, R::FREE_FORM), PhantomData))
}

/// An action as a module.
pub fn action<A: Action>() -> Box<dyn Module> {
    Box::new(ActionModule::<A>(spec::<A>(A::NAME, A::FQCN, A::FREE_FORM), PhantomData))
}

fn declared<R: Resource>(args: Map) -> Result<R, ModuleError> {
    let declared: R = from_args(args)?;
    declared.validate()?;
    Ok(declared)
}

fn acting<A: Action>(args: Map) -> Result<A, ModuleError> {
    let action: A = from_args(args)?;
    action.validate()?;
    Ok(action)
}

#[async_trait]
impl<R: Resource> Module for ResourceModule<R> {
    fn spec(&self) -> &ModuleSpec {
        &self.0
    }

    fn check(&self, args: &Map) -> Result<(), ModuleError> {
        declared::<R>(args.clone()).map(drop)
    }

    async fn run(&self, args: Map, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let mut declared: R = declared(args)?;
        // What a shell runs, it tells itself.
        let changing = |it_does: bool| (it_does && R::TOUCH == Touch::Anything).then(|| cx.shell.changing());
        let preparing = changing(R::PREPARE_CHANGES);
        declared.prepare(cx).await?;
        drop(preparing);
        let mut now = declared.observe(cx).await?;
        let upkeep = declared.upkeep(&now);
        if !upkeep.steps.is_empty() && !cx.mode.check {
            let change = changing(true);
            for step in &upkeep.steps {
                declared.apply(step, cx).await?;
            }
            drop(change);
            now = declared.observe(cx).await?;
        }
        let plan = declared.plan(&now, cx.mode)?;
        if !plan.steps.is_empty() && !cx.mode.check {
            let change = changing(true);
            for step in &plan.steps {
                declared.apply(step, cx).await?;
            }
            drop(change);
            if R::LOOKS_AGAIN {
                now = declared.observe(cx).await?;
            }
        }
        let mut result = declared.result(&now);
        result.extend(plan.result);
        result.extend(upkeep.result);
        Ok(Outcome {
            changed: !plan.steps.is_empty() || upkeep.is_change && !upkeep.steps.is_empty(),
            result,
            facts: declared.facts(),
            diff: if cx.mode.diff { plan.diff } else { Vec::new() },
            warnings: declared.warnings(&now, cx.mode),
            ..Outcome::default()
        })
    }

    fn effect(&self) -> Effect {
        Effect::Keeps
    }

    async fn ahead(&self, args: Map, cx: &TaskContext) -> Option<Ahead> {
        let mut declared: R = declared(args).ok()?;
        if R::TOUCH != Touch::Shell {
            return None;
        }
        declared.prepare(cx).await.ok()?;
        let ahead = declared.ahead()?;
        Some(Ahead { script: cx.within(ahead.script), ..ahead })
    }

    async fn rehearse(
        &self,
        args: Map,
        answer: &Recorded,
        cx: &TaskContext,
    ) -> Option<Result<Plan<String>, ModuleError>> {
        let plan = async {
            let mut declared: R = declared(args)?;
            // What others than a shell prepare, they ask of a host.
            if R::TOUCH == Touch::Shell {
                declared.prepare(cx).await?;
            }
            let Some(now) = declared.recorded(answer) else { return Ok(None) };
            let now = now?;
            let upkeep = declared.upkeep(&now);
            let plan = declared.plan(&now, cx.mode)?;
            let steps = upkeep.steps.iter().chain(&plan.steps).map(R::shown).collect();
            let mut result = declared.result(&now);
            result.extend(plan.result);
            result.extend(upkeep.result);
            Ok(Some(Plan { steps, diff: plan.diff, result }))
        };
        plan.await.transpose()
    }
}

#[async_trait]
impl<A: Action> Module for ActionModule<A> {
    fn spec(&self) -> &ModuleSpec {
        &self.0
    }

    fn check(&self, args: &Map) -> Result<(), ModuleError> {
        acting::<A>(args.clone()).map(drop)
    }

    async fn run(&self, args: Map, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let action: A = acting(args)?;
        if cx.mode.check && A::CHECK == CheckMode::Skips {
            return Ok(Outcome::skipped("remote module does not support check mode"));
        }
        let _change = (A::TOUCH == Touch::Anything).then(|| cx.shell.changing());
        action.run(cx).await
    }

    fn effect(&self) -> Effect {
        if A::TOUCH == Touch::Nothing { Effect::Reads } else { Effect::Acts }
    }

    async fn ahead(&self, args: Map, cx: &TaskContext) -> Option<Ahead> {
        let action: A = acting(args).ok()?;
        if cx.mode.check && A::CHECK == CheckMode::Skips {
            return None;
        }
        Some(Ahead { script: action.ahead(cx)?, dear: false })
    }
}
