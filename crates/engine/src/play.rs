use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use super::event::Event;
use super::flow::{self, Hosts};
use super::keyword::Reader;
use super::options::{Gathering, Question};
use super::play_vars::RoleVars;
use super::run::Run;
use super::scope::{Context, HostScope};
use super::speculate::Rest;
use super::{across, facts, handlers, select};
use crate::diag::{Diagnostic, Origin};
use crate::playbook::{Entry, Handler, Play, Role, Task};
use crate::template::Templated;
use crate::value::{Value, plain};
use crate::vars::{Layers, Scope, Var, Vars, raw};
use crate::yaml::Node;

/// One play while it runs.
pub(super) struct PlayRun {
    pub run: Arc<Run>,
    pub play: Arc<Play>,
    pub name: String,
    /// Every host of the play, and those of the current batch.
    pub(super) hosts: Mutex<Vec<String>>,
    pub(super) batch: Mutex<Vec<String>>,
    pub(super) prompted: Arc<Vars>,
    /// The play's `vars`, and those of `-e`.
    pub(super) own: Arc<Vars>,
    pub(super) extra: Arc<Vars>,
    /// `vars_files`, by host since their names may hold templates.
    pub(super) files: Mutex<HashMap<String, Arc<Vars>>>,
    pub(super) inventory_layers: Mutex<HashMap<String, Layers>>,
    roles: Mutex<Vec<Arc<Role>>>,
    pub handlers: Mutex<Vec<Handler>>,
    pub free: bool,
    pub force_handlers: bool,
    /// The share of a batch's hosts that may fail, in percent.
    max_fail: Option<f64>,
    /// The play's own `gather_facts`, rendered; `None` where it has none.
    gathering: Option<bool>,
    /// What roles' variables are as layers, which every task of every host sees.
    pub(super) role_vars: Mutex<HashMap<usize, Arc<RoleVars>>>,
    /// Roles that ran on a host, by what tells two uses of one role apart.
    ran: Mutex<HashSet<(String, String)>>,
    /// `meta: end_play`, or errors that are fatal to all.
    ended: Mutex<Ended>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    No,
    Play,
    Run,
}

impl PlayRun {
    /// Runs a play. `false`: the run ends here.
    pub(super) async fn run(run: &Arc<Run>, play: &Arc<Play>) -> Result<bool, Diagnostic> {
        let bare = Arc::new(Self::new(run, play, String::new(), Vec::new(), Vars::new(), false, false));
        let scope = HostScope::new(&bare, "", &Context::default()).shared();
        let text = |node: &Node| run.templar.render(node, &scope).map(|v| plain(&v.unwrap_or_default()));
        let reader = Reader { templar: &run.templar, scope: &scope };
        let pattern = match run.templar.render(&play.hosts, &scope)?.unwrap_or_default() {
            Value::Array(parts) => parts.iter().map(plain).collect::<Vec<_>>().join(":"),
            other => plain(&other),
        };
        let name = play.name.as_ref().map(text).transpose()?.unwrap_or_else(|| pattern.clone());
        let (mut hosts, warnings) = {
            let inventory = run.inventory.read().unwrap_or_else(PoisonError::into_inner);
            inventory
                .select_limited(&pattern, run.options.limit.as_deref())
                .map_err(|e| e.at_least(&play.hosts.origin))?
        };
        for warning in warnings {
            run.warn(warning);
        }
        let all = hosts.clone();
        if let Some(keyword) = &play.order
            && let Some(wanted) = reader.get(Some(keyword))?
        {
            order(&mut hosts, &wanted).map_err(|e| e.at(keyword.origin()))?;
        }
        hosts.retain(|h| run.host(h).active());
        if hosts.is_empty() {
            run.emit(Event::PlaySkipped { name, reason: format!("no hosts matched {pattern:?}") });
            return Ok(true);
        }
        let prompted = Self::prompt(run, play, &scope)?;
        let strategy = reader.get(play.strategy.as_ref())?.or(run.options.course.strategy.clone());
        let free = is_free(strategy.as_deref().unwrap_or("linear"))
            .map_err(|e| e.at(play.strategy.as_ref().map_or(&play.origin, Templated::origin)))?;
        let force = reader.get(play.force_handlers.as_ref())?.unwrap_or(run.options.force_handlers);
        let gathering = reader.get(play.gather_facts.as_ref())?;
        let mut sizes = Vec::new();
        for node in &play.serial {
            sizes.push(batch_size(&text(node)?, hosts.len()).ok_or_else(|| {
                Diagnostic::new("serial must be a number or a percentage").at(&node.origin)
            })?);
        }
        let limit = match (reader.get(play.max_fail_percentage.as_ref())?, &play.max_fail_percentage) {
            (Some(share), Some(keyword)) => Some(percentage(&share, keyword.origin())?),
            _ => None,
        };
        let mut this = Self::new(run, play, name, all, prompted, free, force);
        this.max_fail = limit;
        this.gathering = gathering;
        let this = Arc::new(this);
        let mut broken = false;
        let mut rest = hosts.as_slice();
        let mut round = 0;
        while !rest.is_empty() && *this.ended.lock().unwrap_or_else(PoisonError::into_inner) == Ended::No {
            let size = sizes.get(round).or(sizes.last()).copied().unwrap_or(rest.len()).clamp(1, rest.len());
            let (batch, later) = rest.split_at(size);
            rest = later;
            round += 1;
            this.batch.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&batch.to_vec());
            run.stop.begin_play(play, &this.name);
            run.emit(Event::PlayStarted { name: this.name.clone(), hosts: batch.len() });
            this.sections(batch).await?;
            if this.failed_in_batch() == batch.len() {
                broken = true;
                break;
            }
        }
        for host in &hosts {
            run.host(host).state().ended = false;
        }
        let fatal = *this.ended.lock().unwrap_or_else(PoisonError::into_inner) == Ended::Run;
        let any_left = hosts.iter().any(|h| run.host(h).active());
        Ok(!fatal && !broken && any_left)
    }

    fn failed_in_batch(&self) -> usize {
        let batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let out = |host: &&String| {
            let host = self.run.host(host);
            let state = host.state();
            state.failed || state.unreachable
        };
        batch.iter().filter(out).count()
    }

    /// Hosts on which a task failed for good leave; too many of them end the run.
    pub(super) fn leave(&self, hosts: &[String]) {
        for host in hosts {
            self.run.host(host).state().failed = true;
        }
        let size = self.batch.lock().unwrap_or_else(PoisonError::into_inner).len();
        #[expect(clippy::cast_precision_loss, reason = "a count of hosts is far below 2^52")]
        let share = self.failed_in_batch() as f64 * 100.0 / size.max(1) as f64;
        if self.max_fail.is_some_and(|limit| share > limit) && !self.is_over() {
            self.run.emit(Event::NoMoreHosts);
            self.end(true);
        }
    }

    /// Those of the hosts on which a role that runs once has not run; from now on it has.
    pub(super) fn first_time(&self, role: &str, mut hosts: Vec<String>) -> Vec<String> {
        let mut ran = self.ran.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.retain(|host| ran.insert((host.clone(), role.to_owned())));
        hosts
    }

    fn new(
        run: &Arc<Run>,
        play: &Arc<Play>,
        name: String,
        hosts: Vec<String>,
        prompted: Vars,
        free: bool,
        force_handlers: bool,
    ) -> Self {
        Self {
            run: Arc::clone(run),
            play: Arc::clone(play),
            name,
            hosts: Mutex::new(hosts),
            batch: Mutex::default(),
            prompted: Arc::new(prompted),
            own: Arc::new(raw(&play.keywords.vars)),
            extra: Arc::new(raw(&run.options.extra_vars)),
            files: Mutex::default(),
            inventory_layers: Mutex::default(),
            roles: Mutex::new(play.roles.clone()),
            handlers: Mutex::new(play.handlers.clone()),
            free,
            force_handlers,
            ended: Mutex::new(Ended::No),
            max_fail: None,
            gathering: None,
            role_vars: Mutex::default(),
            ran: Mutex::default(),
        }
    }

    /// A play that only lends its variables, for checks before the run.
    pub(super) fn preview(run: &Arc<Run>, play: &Arc<Play>, hosts: Vec<String>) -> Arc<Self> {
        Arc::new(Self::new(run, play, String::new(), hosts, Vars::new(), false, false))
    }

    fn prompt(run: &Run, play: &Play, scope: &Arc<dyn Scope>) -> Result<Vars, Diagnostic> {
        let mut answers = Vars::new();
        for prompt in &play.prompts {
            if run.options.extra_vars.contains_key(&prompt.name) {
                continue;
            }
            let text = |node: &Option<Node>| {
                let told = node.as_ref().map(|n| run.templar.render(n, scope)).transpose()?.flatten();
                Ok::<_, Diagnostic>(told.map(|v| plain(&v)))
            };
            let question = Question {
                variable: prompt.name.clone(),
                text: text(&prompt.prompt)?.unwrap_or_else(|| prompt.name.clone()),
                default: text(&prompt.default)?,
                private: prompt.private,
                confirm: prompt.confirm,
            };
            let answer = (run.options.ask)(&question).map_err(|e| {
                Diagnostic::new(e)
                    .at(&play.origin)
                    .hint(format!("give the value with -e {}=...", prompt.name))
            })?;
            answers.insert(prompt.name.clone(), Var::known(Value::String(answer)));
        }
        Ok(answers)
    }

    async fn sections(self: &Arc<Self>, batch: &[String]) -> Result<(), Diagnostic> {
        let context = Context::default().inside(&self.play.keywords, None);
        let hosts: Hosts = batch.to_vec();
        for host in &hosts {
            self.load_vars_files(host)?;
        }
        if !self.run.has_started() && !self.holds_start() {
            return Ok(());
        }
        let gathering: Hosts = hosts.iter().filter(|h| self.gathers(h)).cloned().collect();
        if !gathering.is_empty() {
            self.gather(&gathering, &context).await?;
        }
        let [before, roles, tasks, after] = &self.play.sections;
        let mut contexts = Rest::chain([before, roles, tasks, after], &context).into_iter();
        for group in [&[before][..], &[roles, tasks], &[after]] {
            for section in group {
                let context = contexts.next().unwrap_or_else(|| context.clone());
                flow::section(self, section, &hosts, &context).await?;
            }
            handlers::flush(self, &hosts, &context).await?;
        }
        Ok(())
    }

    /// Whether facts are gathered on a host before the tasks.
    fn gathers(&self, host: &str) -> bool {
        let said = self.gathering;
        match self.run.options.course.gathering {
            Gathering::Implicit => said.unwrap_or(true),
            Gathering::Explicit => said.unwrap_or(false),
            Gathering::Smart => said.unwrap_or(true) && self.run.host(host).state().facts.is_empty(),
        }
    }

    async fn gather(self: &Arc<Self>, hosts: &Hosts, context: &Context) -> Result<(), Diagnostic> {
        // Unless it is asked for in so many words, nobody waits for what nobody uses.
        let used = self.play.gather_facts.is_some()
            || self.run.uses_facts
            || hosts.iter().any(|h| facts::in_variables(&self.host_layers(h)));
        let task = Arc::new(Task::gather_facts(&self.play, used));
        // It comes before the task at which the run begins.
        let failed = across::on_hosts(self, &task, hosts, context).await?;
        self.leave(&failed);
        Ok(())
    }

    /// Whether the task at which the run begins stands in this play.
    fn holds_start(&self) -> bool {
        fn holds(entries: &[Entry], role: Option<&str>, wanted: &str) -> bool {
            entries.iter().any(|entry| match entry {
                Entry::Task(task) => {
                    let own = task.name.as_ref().map_or_else(|| task.written.clone(), Node::key_text);
                    let full = role.map(|role| format!("{role} : {own}"));
                    [Some(own), full].iter().flatten().any(|n| n == wanted || select::fits(wanted, n))
                }
                Entry::Block(block) => {
                    let role = block.role.as_ref().map(|r| r.name.as_str()).or(role);
                    [&block.tasks, &block.rescue, &block.always].iter().any(|e| holds(e, role, wanted))
                }
            })
        }
        let wanted = self.run.options.course.start_at.as_deref().unwrap_or_default();
        self.play.sections.iter().any(|section| holds(section, None, wanted))
    }

    pub(super) fn end(&self, whole_run: bool) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) =
            if whole_run { Ended::Run } else { Ended::Play };
    }

    pub(super) fn is_over(&self) -> bool {
        self.run.stop.is_cancelled()
            || *self.ended.lock().unwrap_or_else(PoisonError::into_inner) != Ended::No
    }

    /// Roles whose variables the play sees.
    pub(super) fn roles(&self) -> Vec<Arc<Role>> {
        self.roles.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes an included role's variables visible to what follows (`public: true`).
    pub(super) fn publish(&self, roles: &[Arc<Role>]) {
        self.roles.lock().unwrap_or_else(PoisonError::into_inner).extend(roles.iter().cloned());
    }

    pub(super) fn knows(&self, host: &str) -> bool {
        let inventory = self.run.inventory.read().unwrap_or_else(PoisonError::into_inner);
        inventory.has_host(host) || host == "localhost"
    }

    pub(super) fn inventory_hosts(&self) -> Vec<String> {
        let inventory = self.run.inventory.read().unwrap_or_else(PoisonError::into_inner);
        inventory.hosts().map(str::to_owned).collect()
    }

    /// The inventory has grown: what was remembered of it is out of date.
    pub(super) fn forget_inventory(&self) {
        self.inventory_layers.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Whether hosts go on without waiting for each other.
fn is_free(strategy: &str) -> Result<bool, Diagnostic> {
    const KNOWN: [&str; 4] = ["linear", "free", "host_pinned", "debug"];
    match strategy.strip_prefix("ansible.builtin.").unwrap_or(strategy) {
        "linear" | "debug" => Ok(false),
        "free" | "host_pinned" => Ok(true),
        other => {
            let near = crate::diag::closest(other, KNOWN).map(|n| format!("did you mean {n}?"));
            Err(Diagnostic::new(format!("there is no strategy {other:?}")).hint_opt(near))
        }
    }
}

/// A batch's size: a count, or a share of all hosts (at least one).
fn batch_size(text: &str, hosts: usize) -> Option<usize> {
    match text.trim().strip_suffix('%') {
        Some(percent) => {
            let percent: usize = percent.trim().parse().ok()?;
            Some((hosts * percent / 100).max(1))
        }
        None => text.trim().parse::<usize>().ok().map(|n| if n == 0 { hosts } else { n }),
    }
}

/// How many of a batch's hosts may fail, in percent.
fn percentage(text: &str, origin: &Origin) -> Result<f64, Diagnostic> {
    text.trim().trim_end_matches('%').parse::<f64>().ok().filter(|share| share.is_finite()).ok_or_else(|| {
        Diagnostic::new(format!("max_fail_percentage must be a number, not {text:?}")).at(origin)
    })
}

fn order(hosts: &mut [String], how: &str) -> Result<(), Diagnostic> {
    const KNOWN: [&str; 5] = ["inventory", "sorted", "reverse_sorted", "reverse_inventory", "shuffle"];
    match how {
        "inventory" => {}
        "sorted" => hosts.sort(),
        "reverse_sorted" => {
            hosts.sort();
            hosts.reverse();
        }
        "reverse_inventory" => hosts.reverse(),
        "shuffle" => {
            use rand::seq::SliceRandom as _;
            hosts.shuffle(&mut rand::rng());
        }
        other => {
            let near = crate::diag::closest(other, KNOWN).map(|n| format!("did you mean {n}?"));
            return Err(Diagnostic::new(format!("hosts cannot be put in the order {other:?}")).hint_opt(near));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_counts_or_shares() {
        assert_eq!(batch_size("2", 10), Some(2));
        assert_eq!(batch_size("30%", 10), Some(3));
        assert_eq!(batch_size("1%", 10), Some(1));
        assert_eq!(batch_size("0", 10), Some(10));
        assert_eq!(batch_size("many", 10), None);
    }
    #[test]
    fn an_order_that_does_not_exist_is_an_error() {
        let mut hosts = ["b".to_owned(), "a".to_owned()];
        order(&mut hosts, "sorted").expect("it is known");
        assert_eq!(hosts, ["a", "b"]);
        let error = order(&mut hosts, "sortd").expect_err("it is unknown");
        insta::assert_snapshot!(error, @r#"
        hosts cannot be put in the order "sortd"
          hint: did you mean sorted?
        "#);
    }

    #[test]
    fn a_share_that_may_fail_is_a_number() {
        let origin = Origin::synthetic("a test");
        assert!(percentage("30", &origin).is_ok_and(|share| (share - 30.0).abs() < f64::EPSILON));
        for text in ["some", "", "NaN"] {
            assert!(percentage(text, &origin).is_err(), "{text:?}");
        }
    }
}
