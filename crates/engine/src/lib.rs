//! Runs playbooks: strategies, loops, conditions, handlers, retries, results. It prints nothing; it emits events.

use quaylab_base::{diag, diff, run_context, store, value};
use quaylab_host as host;
use quaylab_language::{inventory, template, vars, vault, yaml};
use quaylab_modules as modules;
use quaylab_playbook as playbook;

mod across;
mod action;
mod attempt;
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
mod keyword;
mod looping;
mod meta;
mod options;
mod order;
mod play;
mod play_vars;
mod preflight;
mod register;
mod restricted;
mod role_arguments;
mod run;
mod scope;
mod select;
mod speculate;
mod stop;
mod task;

pub use event::{Event, HostResult, Sink, Stats, Status, TaskLabel};
pub use options::{Ask, Course, Gathering, Options, Question, Step, StepAnswer};
pub use run::{Summary, run};
pub use select::selected;
pub use stop::{Left, Stop};
