use std::fmt::Write as _;

use super::plan::{
    Follows, HostPlan, InfraAction, InfraChange, InfraKind, LabPlan, PlanSummary, TaskPlan, TextDiff,
};
use super::{Palette, diff, visible};
use crate::modules::Diff;

/// How much of one text difference is printed; the JSON has all of it.
const LONGEST_DIFF: usize = 80;

impl LabPlan {
    /// The plan as a person reads it, with a line end after the last line.
    pub fn render(&self, palette: Palette) -> String {
        let mut text = String::new();
        if !self.infrastructure.is_empty() {
            let _ = writeln!(text, "{}", palette.heading("Infrastructure"));
            for change in &self.infrastructure {
                text += &infrastructure(change, palette, true);
            }
            text.push('\n');
        }
        for host in &self.hosts {
            text += &self::host(host, palette);
            text.push('\n');
        }
        if !self.failures.is_empty() {
            let _ = writeln!(text, "{}", palette.heading("Not planned"));
            for failure in &self.failures {
                let what = if failure.unreachable { "unreachable" } else { "failed" };
                let first = format!("  {} : {} ({what})", failure.host, failure.task);
                let _ = writeln!(text, "{}", palette.failed(&first));
                for line in failure.message.lines() {
                    let _ = writeln!(text, "      {}", visible(line));
                }
                if let Some(hint) = &failure.hint {
                    let _ = writeln!(text, "      hint: {}", visible(hint).replace('\n', "\n            "));
                }
                let _ = writeln!(text, "      {}", palette.faint(&failure.origin));
            }
            text.push('\n');
        }
        if !self.unclaimed.is_empty() {
            let _ = writeln!(text, "{}", palette.heading("Of this lab, and of no host in the inventory"));
            for vm in &self.unclaimed {
                let _ = writeln!(text, "  VM {vm}\n      {}", unclaimed_hint(vm));
            }
            text.push('\n');
        }
        text += &self.summary_line(palette);
        text
    }

    /// The changes of the infrastructure, a line each: what `run` says before it begins.
    pub fn render_brief(&self, palette: Palette) -> String {
        let lines: String = self.infrastructure.iter().map(|c| infrastructure(c, palette, false)).collect();
        lines + &self.summary_line(palette)
    }

    fn summary_line(&self, palette: Palette) -> String {
        if !self.changes && self.failures.is_empty() {
            let all = if self.unclaimed.is_empty() {
                "No changes: the lab is as declared."
            } else {
                "No changes: what is declared is as declared."
            };
            return format!("{}\n", palette.ok(all));
        }
        let mut line = palette.heading(&self.summary.to_string());
        if !self.failures.is_empty() {
            line += &palette.failed(&format!(" {} could not be planned.", self.failures.len()));
        }
        line + "\n"
    }
}

/// What to do about a VM of the lab that no host of the inventory has.
pub fn unclaimed_hint(vm: &str) -> String {
    format!(
        "`quaylab destroy --host {vm}` removes it; or put its host back, or name it with vm_name where it was renamed"
    )
}

impl std::fmt::Display for PlanSummary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Plan: {} to add, {} to change", self.add, self.change)?;
        for (count, what) in [(self.restart, "restart"), (self.replace, "replace"), (self.remove, "remove")] {
            if count > 0 {
                write!(f, ", {count} to {what}")?;
            }
        }
        if self.tasks > 0 {
            write!(f, "; {} in {}", number(self.tasks, "task"), number(self.hosts, "host"))?;
        }
        if self.hosts_to_come > 0 {
            write!(f, "; {} to come", number(self.hosts_to_come, "host"))?;
        }
        f.write_str(".")
    }
}

fn number(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

impl InfraKind {
    fn word(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Pool => "pool",
            Self::Image => "image",
            Self::Volume => "volume",
            Self::Installation => "installation",
            Self::Vm => "VM",
            Self::Other => "other",
        }
    }
}

fn infrastructure(change: &InfraChange, palette: Palette, keys: bool) -> String {
    let (sign, note) = match change.action {
        InfraAction::Add => ("+", ""),
        InfraAction::Change => ("~", ""),
        InfraAction::Restart => ("!", "  (needs a restart)"),
        InfraAction::Replace => ("-/+", "  (is replaced: what it holds is lost)"),
        InfraAction::Remove => ("-", ""),
    };
    let head = format!("  {sign} {} {}{note}", change.kind.word(), change.name);
    let head = match change.action {
        InfraAction::Add => palette.ok(&head),
        InfraAction::Change => palette.changed(&head),
        _ => palette.failed(&head),
    };
    let mut text = head + "\n";
    let see = |value: &String| visible(value).into_owned();
    for key in change.keys.iter().filter(|_| keys) {
        let name = visible(&key.key);
        let _ = match (key.before.as_ref().map(see), key.after.as_ref().map(see)) {
            (Some(before), Some(after)) => writeln!(text, "      {name}: {before} -> {after}"),
            (None, Some(after)) if change.action == InfraAction::Add => {
                writeln!(text, "      {name}: {after}")
            }
            (None, Some(after)) => writeln!(text, "      {name}: {after}  (new)"),
            (Some(before), None) => writeln!(text, "      {name}: {before}  (goes)"),
            (None, None) => Ok(()),
        };
    }
    text
}

fn host(plan: &HostPlan, palette: Palette) -> String {
    let mut text = palette.heading(&plan.host);
    if !plan.exists {
        text += "  ";
        text += plan.reason.as_deref().unwrap_or("does not run yet: what is in it is not known");
    }
    text.push('\n');
    for role in &plan.roles {
        let indent = if let Some(name) = &role.role {
            let _ = writeln!(text, "  {}", visible(name));
            "    "
        } else {
            "  "
        };
        for task in &role.tasks {
            text += &self::task(task, indent, palette);
        }
    }
    if let Some(follows) = &plan.follows {
        text += &self::follows(follows);
    }
    text
}

fn follows(follows: &Follows) -> String {
    let tasks = number(follows.tasks, "task");
    match follows.roles.as_slice() {
        [] => format!("  {tasks} will run in it\n"),
        roles => {
            format!(
                "  {} with {tasks} will run in it: {}\n",
                number(roles.len(), "role"),
                visible(&roles.join(", "))
            )
        }
    }
}

fn task(task: &TaskPlan, indent: &str, palette: Palette) -> String {
    let mut head = format!("{indent}~ {}", task.task);
    if let Some(item) = &task.item {
        let _ = write!(head, " (item={item})");
    }
    if let Some(on) = &task.delegated_to {
        let _ = write!(head, " -> {on}");
    }
    let kind = if task.handler { format!("handler, {}", task.module) } else { task.module.clone() };
    let mut text = format!("{}  {}\n", palette.changed(&head), palette.faint(&format!("[{kind}]")));
    for one in &task.diff {
        let shown = diff::render(&Diff::from(one), palette);
        let lines: Vec<&str> = shown.lines().collect();
        for line in lines.iter().take(LONGEST_DIFF) {
            let _ = writeln!(text, "{indent}    {line}");
        }
        if lines.len() > LONGEST_DIFF {
            let _ = writeln!(text, "{indent}    ... {} more lines", lines.len() - LONGEST_DIFF);
        }
    }
    text
}

impl From<&TextDiff> for Diff {
    fn from(diff: &TextDiff) -> Self {
        Self {
            before_header: diff.before_header.clone(),
            after_header: diff.after_header.clone(),
            before: diff.before.clone(),
            after: diff.after.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use indexmap::IndexMap;
    use serde_json::json;

    use super::super::plan::PlanCollector;
    use super::*;
    use crate::diag::{Origin, SourceFile};
    use crate::engine::{Event, HostResult, Stats, Status, TaskLabel};

    fn label(name: &str, action: &str, line: u32) -> Arc<TaskLabel> {
        let file = SourceFile::new("lab.yml", "x\n".repeat(40));
        Arc::new(TaskLabel {
            name: name.into(),
            action: action.into(),
            origin: Origin::new(&file, line, 1, 1),
            handler: name.contains("Restart"),
            looped: false,
            quiet: false,
            module: true,
        })
    }

    fn result(status: Status, diff: Vec<Diff>, extra: &serde_json::Value) -> HostResult {
        HostResult {
            status,
            result: extra.clone().into(),
            diff,
            delegated: None,
            hint: (status == Status::Failed).then(|| "mend it".into()),
            ignored: false,
            elapsed: Duration::ZERO,
        }
    }

    fn collect(events: &[(&str, &str, &str, u32, HostResult)], failed: &[&str]) -> LabPlan {
        let collector = PlanCollector::default();
        for (host, name, action, line, result) in events {
            collector.see(&Event::Result {
                host: (*host).into(),
                task: label(name, action, *line),
                result: result.clone(),
            });
        }
        let stats: IndexMap<String, Stats> =
            failed.iter().map(|h| ((*h).into(), Stats { failed: 1, ..Stats::default() })).collect();
        collector.see(&Event::Finished { stats, elapsed: Duration::ZERO, interrupted: false });
        collector.finish("quay", |_, seen| {
            Some(Follows { roles: vec!["docker".into(), "quay".into()], tasks: 9 - seen.len() })
        })
    }

    #[test]
    fn a_person_reads_what_changes_where() {
        let none = json!({});
        let events = [
            (
                "hv",
                "hypervisor : Networks",
                "virt_net",
                1,
                result(
                    Status::Changed,
                    vec![Diff::new(
                        "network quaylab",
                        "dhcp: a to b\nactive: true\n",
                        "dhcp: a to c\nactive: true\n",
                    )],
                    &none,
                ),
            ),
            (
                "new.lab",
                "vm : VM",
                "virt_domain",
                2,
                result(Status::Changed, vec![Diff::new("VM new", "", "vcpus: 2\nmemory: 512 MiB\n")], &none),
            ),
            (
                "big.lab",
                "vm : VM",
                "virt_domain",
                2,
                result(
                    Status::Changed,
                    vec![Diff::new(
                        "VM big",
                        "type: kvm\nstate: running\n",
                        "type: qemu\nstate: running, restarted\n",
                    )],
                    &none,
                ),
            ),
            (
                "new.lab",
                "docker : Install",
                "apt",
                3,
                result(Status::Unreachable, vec![], &json!({"msg": "no route"})),
            ),
            (
                "big.lab",
                "redis : Configuration",
                "copy",
                4,
                result(Status::Changed, vec![Diff::new("/etc/redis", "a\n", "b\n")], &none),
            ),
            ("big.lab", "redis : Restart redis", "service", 5, result(Status::Changed, vec![], &none)),
            ("big.lab", "quay : Check", "uri", 6, result(Status::Failed, vec![], &json!({"msg": "503"}))),
            ("fine.lab", "quay : Rescued", "uri", 6, result(Status::Failed, vec![], &json!({"msg": "503"}))),
        ];
        let plan = collect(&events, &["big.lab", "new.lab"]);
        insta::assert_snapshot!(plan.render(Palette::PLAIN), @r"
        Infrastructure
          ~ network quaylab
              dhcp: a to b -> a to c
          ! VM big  (needs a restart)
              type: kvm -> qemu
              state: running -> running, restarted
          + VM new
              vcpus: 2
              memory: 512 MiB

        big.lab
          redis
            ~ Configuration  [copy]
                --- before: /etc/redis
                +++ after: /etc/redis
                @@ -1 +1 @@
                -a
                +b
            ~ Restart redis  [handler, service]

        new.lab  does not run yet: what is in it is not known
          2 roles with 7 tasks will run in it: docker, quay

        Not planned
          big.lab : quay : Check (failed)
              503
              hint: mend it
              lab.yml:6:1

        Plan: 1 to add, 1 to change, 1 to restart; 2 tasks in 1 host; 1 host to come. 1 could not be planned.
        ");
        assert!(plan.changes);
    }

    #[test]
    fn what_boots_and_what_nobody_declares_is_told() {
        let booting =
            json!({"skip_reason": "VM h is booting (waiting for the SSH port to open): not known yet"});
        let event = ("h", "vm : Wait", "virt_wait", 1, result(Status::Skipped, vec![], &booting));
        let told = collect(&[event], &[]).render(Palette::PLAIN);
        assert!(
            told.starts_with("h  VM h is booting (waiting for the SSH port to open): not known yet\n"),
            "{told}"
        );
        let mut plan = collect(&[], &[]);
        plan.unclaimed.push("old".into());
        insta::assert_snapshot!(plan.render(Palette::PLAIN), @r"
        Of this lab, and of no host in the inventory
          VM old
              `quaylab destroy --host old` removes it; or put its host back, or name it with vm_name where it was renamed

        No changes: what is declared is as declared.
        ");
    }

    #[test]
    fn a_lab_that_is_as_declared_has_no_plan() {
        let plan =
            collect(&[("h", "vm : VM", "virt_domain", 1, result(Status::Ok, vec![], &json!({})))], &[]);
        assert!(!plan.changes);
        assert_eq!(plan.render(Palette::PLAIN), "No changes: the lab is as declared.\n");
        insta::assert_snapshot!(serde_json::to_string_pretty(&plan).expect("JSON"), @r#"
        {
          "format_version": 1,
          "lab": "quay",
          "changes": false,
          "infrastructure": [],
          "hosts": [],
          "failures": [],
          "unclaimed": [],
          "summary": {
            "add": 0,
            "change": 0,
            "restart": 0,
            "replace": 0,
            "remove": 0,
            "tasks": 0,
            "hosts": 0,
            "hosts_to_come": 0
          }
        }
        "#);
    }
}
