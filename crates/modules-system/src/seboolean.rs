use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::sections::{Sections, probe, run};
use crate::args::require_name;
use crate::host::{Reply, Script, quote};
use crate::{ModuleError, Plan, RunMode, ShellResource};

/// A boolean of the `SELinux` policy.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Seboolean {
    /// Such as `httpd_can_network_connect`.
    name: String,
    state: bool,
    /// Whether it stays so after a reboot.
    #[serde(default)]
    persistent: bool,
    /// Set what the next boot takes, although `SELinux` is disabled now.
    #[serde(default)]
    ignore_selinux_state: bool,
}

const PROBE: &str = "mark enabled; selinuxenabled 2>/dev/null && echo yes
mark now; getsebool \"$n\" 2>/dev/null | sed 's/.*> //'
mark later; semanage boolean -l 2>/dev/null | sed -n \"s/^$n *(.*, *\\([a-z]*\\) *).*/\\1/p\"
mark stored; sed -n \"s/^$n=0/off/p; s/^$n=1/on/p\" /var/lib/selinux/*/active/booleans.local 2>/dev/null";

impl ShellResource for Seboolean {
    const NAME: &'static str = "seboolean";
    const FQCN: &'static [&'static str] = &["ansible.posix.seboolean"];
    type Observed = Sections;

    fn validate(&self) -> Result<(), ModuleError> {
        require_name("a boolean's name", &self.name)
    }

    fn probe(&self) -> Script {
        probe(&format!("n={}\n{PROBE}", quote(&self.name)))
    }

    fn read(&self, reply: &Reply) -> Result<Sections, ModuleError> {
        Sections::read(reply)
    }

    fn plan(&self, now: &Sections, _: RunMode) -> Result<Plan, ModuleError> {
        let (mut plan, name) = (Plan::default(), self.name.as_str());
        let wanted = if self.state { "on" } else { "off" };
        let later = if now.says("stored") { now.text("stored") } else { now.text("later") };
        let is = if now.says("enabled") { now.text("now") } else { later };
        if !now.says("enabled") && !self.ignore_selinux_state {
            return Err(ModuleError::failed("SELinux is disabled on this host")
                .hint("ignore_selinux_state: true sets what the next boot takes"));
        }
        if now.says("enabled") && is.is_empty() {
            return Err(ModuleError::failed(format!("the policy has no boolean {name}"))
                .hint("`getsebool -a` lists them"));
        }
        let stays = self.persistent || !now.says("enabled");
        if is != wanted || stays && later != wanted {
            let argv = ["setsebool"].into_iter().chain(stays.then_some("-P")).chain([name, wanted]);
            plan.change(run(argv), name, is, wanted);
        }
        plan.tell(json!({"name": name, "persistent": stays, "state": self.state}));
        Ok(plan)
    }
}
