//! Runs playbooks: strategies, loops, conditions, handlers, retries, results. It prints nothing; it emits events.

mod action;
mod builtin;
mod connection;
mod control;
mod event;
mod facts;
mod flow;
mod handlers;
mod include;
mod looping;
mod options;
mod play;
mod preflight;
mod register;
mod run;
mod scope;
mod select;
mod speculate;
mod task;

pub use event::{Event, HostResult, Sink, Stats, Status, TaskLabel};
pub use options::{Ask, Options, Question};
pub use run::{Summary, run};
