use schemars::JsonSchema;
use serde::Deserialize;

use super::sections::{Sections, probe, run};
use crate::args::require;
use crate::host::{Reply, Script, Step, quote};
use crate::{ModuleError, Plan, RunMode, ShellResource};

/// The time zone, and what the hardware clock counts.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Timezone {
    /// A zone as in `/usr/share/zoneinfo`, such as `Europe/Berlin`.
    name: Option<String>,
    /// Whether the hardware clock counts `UTC` or `local` time.
    #[serde(alias = "rtc")]
    hwclock: Option<Clock>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
enum Clock {
    #[serde(rename = "UTC")]
    Utc,
    #[serde(rename = "local")]
    Local,
}

const PROBE: &str = "mark zone; z=$(readlink -f /etc/localtime) && echo \"${z#*/zoneinfo/}\"\nmark clock; sed -n 3p /etc/adjtime
mark record; ls /etc/timezone\nmark systemd; ls -d /run/systemd/system\nmark known; head -c 4 /usr/share/zoneinfo/";

impl ShellResource for Timezone {
    const NAME: &'static str = "timezone";
    const FQCN: &'static [&'static str] = &["community.general.timezone"];
    type Observed = Sections;

    fn validate(&self) -> Result<(), ModuleError> {
        require(self.name.is_some() || self.hwclock.is_some(), "one of name, hwclock is required")
    }

    fn probe(&self) -> Script {
        probe(&format!("exec 2>/dev/null\n{PROBE}{}", quote(self.name.as_deref().unwrap_or_default())))
    }

    fn read(&self, reply: &Reply) -> Result<Sections, ModuleError> {
        Sections::read(reply)
    }

    fn plan(&self, now: &Sections, _: RunMode) -> Result<Plan, ModuleError> {
        let (mut plan, zone) = (Plan::default(), now.text("zone"));
        if let Some(name) = self.name.as_deref().filter(|name| *name != zone) {
            if !now.says("known") {
                return Err(ModuleError::failed(format!("the host knows no time zone {name}"))
                    .hint("install tzdata; `timedatectl list-timezones` lists the zones"));
            }
            let file = format!("/usr/share/zoneinfo/{name}");
            plan.change(run(["ln", "-sfn", &file, "/etc/localtime"]), "time zone", zone, name);
            let record = || Step::write_file("/etc/timezone", format!("{name}\n"), None);
            plan.steps.extend(now.says("record").then(record));
        }
        let clock = if now.text("clock") == "LOCAL" { Clock::Local } else { Clock::Utc };
        if let Some(wanted) = self.hwclock.filter(|wanted| *wanted != clock) {
            let (rtc, option) = if wanted == Clock::Local { ("1", "--localtime") } else { ("0", "--utc") };
            let by_systemd = now.says("systemd").then(|| run(["timedatectl", "set-local-rtc", rtc]));
            let step = by_systemd.unwrap_or_else(|| run(["hwclock", "--systohc", option]));
            plan.change(step, "hardware clock", &format!("{clock:?}"), &format!("{wanted:?}"));
        }
        Ok(plan)
    }
}
