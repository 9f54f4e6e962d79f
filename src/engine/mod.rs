//! Runs playbooks: strategies, loops, conditions, handlers, retries, results. It prints nothing; it emits events.

mod action;
mod builtin;
mod connection;
mod control;
mod early;
mod event;
mod facts;
mod flow;
mod handlers;
mod include;
mod jobs;
mod looping;
mod meta;
mod options;
mod play;
mod play_vars;
mod preflight;
mod register;
mod role_arguments;
mod run;
mod scope;
mod select;
mod speculate;
mod task;

pub use event::{Event, HostResult, Sink, Stats, Status, TaskLabel};
pub use options::{Ask, Course, Gathering, Options, Question, Step, StepAnswer};
pub use run::{Summary, run};
pub use select::selected;
