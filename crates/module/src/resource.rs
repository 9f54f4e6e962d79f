use std::fmt::Debug;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::{Ahead, Diff, ModuleError, RunMode, TaskContext};
use crate::host::{Reply, Script, Step};
use crate::value::{Map, Value};

/// What would have to be done, and how that looks to a person. No steps: nothing to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan<S = Step> {
    pub steps: Vec<S>,
    pub diff: Vec<Diff>,
    /// What `register` sees of the decision. What is told of the host's state comes from `result`.
    pub result: Map,
}

impl<S> Default for Plan<S> {
    fn default() -> Self {
        Self { steps: Vec::new(), diff: Vec::new(), result: Map::new() }
    }
}

impl<S> Plan<S> {
    pub fn new(steps: Vec<S>, diff: Vec<Diff>) -> Self {
        Self { steps, diff, result: Map::new() }
    }

    /// Adds to what `register` sees; the value is a mapping.
    pub fn tell(&mut self, value: Value) {
        if let Value::Object(map) = value {
            self.result.extend(map);
        }
    }

    /// Adds a step, and what a line about `title` says before and after it.
    pub fn change(&mut self, step: S, title: &str, before: &str, after: &str) {
        self.steps.push(step);
        self.diff.push(Diff::new(title, format!("{before}\n"), format!("{after}\n")));
    }
}

/// What is done before a state is judged: refreshing a package list, reloading unit files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upkeep<S = Step> {
    pub steps: Vec<S>,
    /// The upkeep is all that was asked for, so that it is a change.
    pub is_change: bool,
    /// What `register` sees of it.
    pub result: Map,
}

impl<S> Default for Upkeep<S> {
    fn default() -> Self {
        Self { steps: Vec::new(), is_change: false, result: Map::new() }
    }
}

impl<S> From<Vec<S>> for Upkeep<S> {
    fn from(steps: Vec<S>) -> Self {
        Self { steps, ..Self::default() }
    }
}

/// What a host once answered.
#[derive(Debug, Clone)]
pub enum Recorded {
    /// To the probe of a [`ShellResource`].
    Reply(Reply),
    /// To another client, as the module keeps it.
    Value(Value),
}

/// A state out of a fixture, for [`Resource::recorded`]: of the shape that the module keeps it in.
pub fn state_of<T: DeserializeOwned>(recorded: &Recorded) -> Option<Result<T, ModuleError>> {
    match recorded {
        Recorded::Reply(_) => None,
        Recorded::Value(value) => {
            let state = serde_json::from_value(value.clone());
            Some(state.map_err(|error| ModuleError::failed(format!("the fixture's state: {error}"))))
        }
    }
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

/// What a module may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    /// Nothing: it asks by `Shell::probe`, and waits for nothing.
    Nothing,
    /// The host, by what it runs in the task's shell.
    Shell,
    Anything,
}

/// A declared state: the arguments say what is wanted, it is observed, compared and brought about.
///
/// `plan` and `result` are pure. A state that `sh` can look at is written as a [`ShellResource`], which is one of these.
#[async_trait]
pub trait Resource: DeserializeOwned + JsonSchema + Send + Sync + 'static {
    const NAME: &'static str;
    const FQCN: &'static [&'static str];
    const FREE_FORM: bool = false;
    /// What its steps touch.
    const TOUCH: Touch = Touch::Anything;
    /// Whether `prepare` may already change something, as pulling an image does.
    const PREPARE_CHANGES: bool = false;
    /// Whether the state is observed anew after a change, for `result`.
    const LOOKS_AGAIN: bool = true;
    type Observed: Send + Sync;
    type Step: Debug + Send + Sync;

    /// What serde cannot say about the arguments (exclusive ones, ranges).
    fn validate(&self) -> Result<(), ModuleError> {
        Ok(())
    }
    /// Fetches from the controller what the declaration refers to (a file's content, a rendered template). Where the controller is
    /// guessing, it asks no host and takes no long.
    async fn prepare(&mut self, _cx: &TaskContext) -> Result<(), ModuleError> {
        Ok(())
    }
    /// The script that `observe` asks first, where it may be asked before the task has its turn.
    fn ahead(&self) -> Option<Ahead> {
        None
    }
    /// Read-only.
    async fn observe(&self, cx: &TaskContext) -> Result<Self::Observed, ModuleError>;
    fn upkeep(&self, _now: &Self::Observed) -> Upkeep<Self::Step> {
        Upkeep::default()
    }
    fn plan(&self, now: &Self::Observed, mode: RunMode) -> Result<Plan<Self::Step>, ModuleError>;
    async fn apply(&self, step: &Self::Step, cx: &TaskContext) -> Result<(), ModuleError>;
    /// A step as fixtures write it.
    fn shown(step: &Self::Step) -> String {
        format!("{step:?}")
    }
    /// The state out of a fixture; `None` where a fixture cannot say it.
    fn recorded(&self, _recorded: &Recorded) -> Option<Result<Self::Observed, ModuleError>> {
        None
    }
    /// What a person should know besides the changes; `now` is what `result` gets.
    fn warnings(&self, _now: &Self::Observed, _mode: RunMode) -> Vec<String> {
        Vec::new()
    }
    /// What becomes host variables.
    fn facts(&self) -> Map {
        Map::new()
    }
    /// What `register` sees besides the plan's own result; `now` is what was observed last.
    fn result(&self, _now: &Self::Observed) -> Map {
        Map::new()
    }
}

/// A state that a read-only script looks at and that steps in the task's shell bring about.
///
/// All of it but `prepare` is pure, so that fixtures test it without a host.
#[async_trait]
pub trait ShellResource: DeserializeOwned + JsonSchema + Send + Sync + 'static {
    const NAME: &'static str;
    const FQCN: &'static [&'static str];
    const FREE_FORM: bool = false;
    const GUESS: Guess = Guess::Cheap;
    /// As in [`Resource`]: only those tell the state that came out, for which that is worth a question.
    const LOOKS_AGAIN: bool = false;
    type Observed: Send + Sync;

    /// As in [`Resource`].
    fn validate(&self) -> Result<(), ModuleError> {
        Ok(())
    }
    /// As in [`Resource`].
    async fn prepare(&mut self, _cx: &TaskContext) -> Result<(), ModuleError> {
        Ok(())
    }
    /// A read-only script.
    fn probe(&self) -> Script;
    fn read(&self, reply: &Reply) -> Result<Self::Observed, ModuleError>;
    /// As in [`Resource`].
    fn upkeep(&self, _now: &Self::Observed) -> Upkeep {
        Upkeep::default()
    }
    /// As in [`Resource`].
    fn plan(&self, now: &Self::Observed, mode: RunMode) -> Result<Plan, ModuleError>;
    /// As in [`Resource`].
    fn facts(&self) -> Map {
        Map::new()
    }
    /// As in [`Resource`].
    fn result(&self, _now: &Self::Observed) -> Map {
        Map::new()
    }
}

#[async_trait]
impl<R: ShellResource> Resource for R {
    const NAME: &'static str = R::NAME;
    const FQCN: &'static [&'static str] = R::FQCN;
    const FREE_FORM: bool = R::FREE_FORM;
    const TOUCH: Touch = Touch::Shell;
    const LOOKS_AGAIN: bool = R::LOOKS_AGAIN;
    type Observed = R::Observed;
    type Step = Step;

    fn validate(&self) -> Result<(), ModuleError> {
        ShellResource::validate(self)
    }

    async fn prepare(&mut self, cx: &TaskContext) -> Result<(), ModuleError> {
        ShellResource::prepare(self, cx).await
    }

    fn ahead(&self) -> Option<Ahead> {
        let dear = match R::GUESS {
            Guess::Never => return None,
            Guess::Cheap => false,
            Guess::Dear => true,
        };
        Some(Ahead { script: self.probe(), dear })
    }

    async fn observe(&self, cx: &TaskContext) -> Result<R::Observed, ModuleError> {
        self.read(&cx.shell.probe(&cx.within(self.probe())).await?)
    }

    fn upkeep(&self, now: &R::Observed) -> Upkeep {
        ShellResource::upkeep(self, now)
    }

    fn plan(&self, now: &R::Observed, mode: RunMode) -> Result<Plan, ModuleError> {
        ShellResource::plan(self, now, mode)
    }

    async fn apply(&self, step: &Step, cx: &TaskContext) -> Result<(), ModuleError> {
        cx.shell.apply_watched(&cx.step_within(step), &|text| cx.controller.progress(text)).await?;
        Ok(())
    }

    fn shown(step: &Step) -> String {
        step.to_string()
    }

    fn recorded(&self, recorded: &Recorded) -> Option<Result<R::Observed, ModuleError>> {
        match recorded {
            Recorded::Reply(reply) => Some(self.read(reply)),
            Recorded::Value(_) => None,
        }
    }

    fn facts(&self) -> Map {
        ShellResource::facts(self)
    }

    fn result(&self, now: &R::Observed) -> Map {
        ShellResource::result(self, now)
    }
}
