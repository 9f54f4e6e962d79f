use std::str::FromStr;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::disk::bytes;
use super::lvg::{LVM, lacks_lvm, lvm_name, wants_lvm};
use super::sections::{Sections, probe, run};
use crate::args::Presence;
use crate::host::{Reply, Script, quote};
use crate::value::Map;
use crate::{Diff, Guess, ModuleError, Plan, RemotePath, RunMode, ShellResource};

/// An LVM logical volume.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "the arguments are Ansible's own flags")]
pub(super) struct Lvol {
    vg: String,
    lv: Option<String>,
    /// `10G`, MiB without a unit, or `40%FREE`, `100%VG`, `50%PVS`; with `+` it is added to what is there.
    /// A volume that is there already keeps its size under `N%FREE`, except under `100%FREE`, which takes what is left.
    size: Option<String>,
    #[serde(default)]
    state: Presence,
    #[serde(default = "crate::args::yes")]
    active: bool,
    /// Allow to shrink, and to remove.
    #[serde(default)]
    force: bool,
    /// Whether a smaller size means to shrink (with `force`) or nothing.
    #[serde(default = "crate::args::yes")]
    shrink: bool,
    /// Resize the file system on it as well.
    #[serde(default)]
    resizefs: bool,
    /// Further options for lvcreate.
    opts: Option<String>,
    /// Name of a snapshot of `lv` to make.
    snapshot: Option<String>,
    /// Devices to take the space from.
    #[serde(default)]
    pvs: Vec<RemotePath>,
    thinpool: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Base {
    Vg,
    Pvs,
    Free,
    Origin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Amount {
    Bytes(u64),
    Percent(u32, Base),
}

/// A size as the argument gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    more: bool,
    amount: Amount,
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("size {text:?} is not a size: write 10G, 512m, 40%FREE, 100%VG, or one of them after a +")
        };
        let (more, rest) = text.trim().strip_prefix('+').map_or((false, text.trim()), |r| (true, r));
        let amount = if let Some((percent, base)) = rest.split_once('%') {
            let base = match base.to_ascii_uppercase().as_str() {
                "VG" => Base::Vg,
                "PVS" => Base::Pvs,
                "FREE" => Base::Free,
                "ORIGIN" => Base::Origin,
                _ => return Err(wrong()),
            };
            let percent = percent.trim().parse().map_err(|_| wrong())?;
            if base != Base::Origin && percent > 100 || percent == 0 {
                return Err(format!("size {text:?} is outside 1 to 100 percent"));
            }
            Amount::Percent(percent, base)
        } else {
            Amount::Bytes(bytes(rest).filter(|b| *b > 0).ok_or_else(wrong)?)
        };
        Ok(Self { more, amount })
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Vg {
    size: u64,
    free: u64,
    extent: u64,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Volumes {
    lacks_lvm: bool,
    vg: Option<Vg>,
    /// Name, size, active.
    all: Vec<(String, u64, bool)>,
}

impl Amount {
    /// `-L` or `-l` with its value.
    fn arguments(self, more: bool) -> [String; 2] {
        let plus = if more { "+" } else { "" };
        match self {
            Self::Bytes(n) => ["-L".into(), format!("{plus}{n}b")],
            Self::Percent(n, base) => {
                let base = match base {
                    Base::Vg => "VG",
                    Base::Pvs => "PVS",
                    Base::Free => "FREE",
                    Base::Origin => "ORIGIN",
                };
                ["-l".into(), format!("{plus}{n}%{base}")]
            }
        }
    }
}

impl Lvol {
    fn parsed_size(&self) -> Result<Option<Size>, ModuleError> {
        self.size.as_deref().map(str::parse).transpose().map_err(ModuleError::Arguments)
    }

    /// Whether a group that is not there may be yet to come.
    fn foresees(&self, mode: RunMode) -> bool {
        mode.check && self.state == Presence::Present
    }

    /// The volume that this is about.
    fn name(&self) -> Option<&str> {
        self.snapshot.as_deref().or(self.lv.as_deref()).or(self.thinpool.as_deref())
    }

    fn create(&self, size: Option<Size>, vg: &Vg) -> Result<Vec<String>, ModuleError> {
        let name = self.name().unwrap_or_default().to_owned();
        let mut argv: Vec<String> = vec!["lvcreate".into(), "--yes".into()];
        if let Some(size) = size {
            if let Amount::Bytes(n) = size.amount
                && n > vg.free
                && (self.thinpool.is_none() || self.lv.is_none())
            {
                return Err(ModuleError::failed(format!(
                    "the volume group {} has {} MiB free, and {name} needs {} MiB",
                    self.vg,
                    vg.free >> 20,
                    n >> 20
                )));
            }
            let [flag, value] = size.amount.arguments(false);
            // A thin volume has a virtual size; its pool has the real one.
            let thin = self.thinpool.is_some() && self.lv.is_some() && self.snapshot.is_none();
            argv.extend([if thin { "-V".into() } else { flag }, value]);
        } else if self.snapshot.is_none() || self.thinpool.is_none() {
            return Err(ModuleError::failed(format!(
                "there is no volume {name} in {}, and no size to make it with",
                self.vg
            )));
        }
        argv.extend(self.opts.iter().flat_map(|o| o.split_whitespace()).map(str::to_owned));
        match (&self.snapshot, &self.lv, &self.thinpool) {
            (Some(snapshot), Some(lv), _) => {
                argv.extend(["-s".into(), "-n".into(), snapshot.clone(), format!("{}/{lv}", self.vg)]);
            }
            (None, Some(lv), Some(pool)) => {
                argv.extend(["-n".into(), lv.clone(), "-T".into(), format!("{}/{pool}", self.vg)]);
            }
            (_, None, Some(pool)) => argv.extend(["-T".into(), format!("{}/{pool}", self.vg)]),
            _ => argv.extend(["-n".into(), name, self.vg.clone()]),
        }
        argv.extend(self.pvs.iter().map(ToString::to_string));
        Ok(argv)
    }

    /// What to do about the size of a volume that is there.
    fn resize(&self, size: Size, is: u64, vg: &Vg) -> Result<Option<Vec<String>>, ModuleError> {
        let name = self.name().unwrap_or_default();
        let target = match size.amount {
            Amount::Percent(_, Base::Origin) => return Ok(None),
            // What was free when the volume was made is not known any more.
            Amount::Percent(n, Base::Free) if !size.more && n < 100 => return Ok(None),
            Amount::Percent(n, Base::Free) => is.saturating_add(share(vg.free, n)),
            Amount::Percent(n, Base::Vg | Base::Pvs) => share(vg.size, n),
            Amount::Bytes(n) => n,
        };
        let target = if size.more && !matches!(size.amount, Amount::Percent(_, Base::Free)) {
            is.saturating_add(target)
        } else {
            target
        };
        let extent = vg.extent.max(1);
        let target = match size.amount {
            Amount::Bytes(_) => target.div_ceil(extent).saturating_mul(extent),
            Amount::Percent(..) => target / extent * extent,
        };
        let mut argv: Vec<String> = Vec::new();
        if target > is {
            if target - is > vg.free {
                return Err(ModuleError::failed(format!(
                    "{name} cannot grow by {} MiB: the volume group {} has {} MiB free",
                    (target - is) >> 20,
                    self.vg,
                    vg.free >> 20
                )));
            }
            argv.push("lvextend".into());
        } else if target < is && self.shrink && !matches!(size.amount, Amount::Percent(_, Base::Free)) {
            // A percentage is rounded; one extent is no difference.
            if is - target <= extent && matches!(size.amount, Amount::Percent(..)) {
                return Ok(None);
            }
            if !self.force {
                return Err(ModuleError::failed(format!(
                    "{name} is {} MiB, and {} MiB was asked for: it is not shrunk without force",
                    is >> 20,
                    target >> 20
                ))
                .hint("shrink: false leaves a larger volume as it is; force: true cuts off what it holds"));
            }
            argv.extend(["lvreduce".into(), "--force".into()]);
        } else {
            return Ok(None);
        }
        argv.push("--yes".into());
        if self.resizefs {
            argv.push("--resizefs".into());
        }
        argv.extend(["-L".into(), format!("{target}b"), format!("{}/{name}", self.vg)]);
        argv.extend(self.pvs.iter().map(ToString::to_string));
        Ok(Some(argv))
    }
}

/// So many hundredths of a whole.
fn share(whole: u64, percent: u32) -> u64 {
    let percent = u64::from(percent);
    whole / 100 * percent + whole % 100 * percent / 100
}

impl ShellResource for Lvol {
    const NAME: &'static str = "lvol";
    const FQCN: &'static [&'static str] = &["community.general.lvol"];
    const GUESS: Guess = Guess::Dear;
    type Observed = Volumes;

    fn validate(&self) -> Result<(), ModuleError> {
        lvm_name(&self.vg)?;
        for name in [&self.lv, &self.snapshot, &self.thinpool].into_iter().flatten() {
            lvm_name(name)?;
        }
        if self.name().is_none() {
            return Err(ModuleError::Arguments("give lv or thinpool".into()));
        }
        if self.snapshot.is_some() && self.lv.is_none() {
            return Err(ModuleError::Arguments("snapshot needs lv, the volume to take it of".into()));
        }
        self.parsed_size().map(|_| ())
    }

    fn probe(&self) -> Script {
        let vg = quote(&self.vg);
        probe(&format!(
            "{LVM}o='--noheadings --nosuffix --units b --separator ;'
mark vg; vgs $o -o vg_size,vg_free,vg_extent_size {vg} 2>/dev/null
mark lvs; lvs -a $o -o lv_name,lv_size,lv_active {vg} 2>/dev/null"
        ))
    }

    fn read(&self, reply: &Reply) -> Result<Volumes, ModuleError> {
        let sections = Sections::read(reply)?;
        let numbers: Vec<u64> =
            sections.text("vg").split(';').filter_map(|n| n.trim().parse().ok()).collect();
        let vg = match numbers.as_slice() {
            [size, free, extent] => Some(Vg { size: *size, free: *free, extent: *extent }),
            _ => None,
        };
        let all = sections
            .lines("lvs")
            .filter_map(|line| {
                let mut fields = line.trim().split(';');
                let name = fields.next()?.trim_matches(['[', ']']).to_owned();
                let size = fields.next()?.parse().ok()?;
                Some((name, size, fields.next() == Some("active")))
            })
            .collect();
        Ok(Volumes { vg, all, lacks_lvm: lacks_lvm(&sections) })
    }

    fn plan(&self, now: &Volumes, mode: RunMode) -> Result<Plan, ModuleError> {
        wants_lvm(now.lacks_lvm, mode)?;
        let mut plan = Plan::default();
        let name = self.name().unwrap_or_default();
        let path = format!("{}/{name}", self.vg);
        let to_come = Vg { size: u64::MAX, free: u64::MAX, extent: 4 << 20 };
        let Some(vg) = now.vg.as_ref().or_else(|| self.foresees(mode).then_some(&to_come)) else {
            return if self.state == Presence::Absent {
                Ok(plan)
            } else {
                Err(ModuleError::failed(format!("there is no volume group {}", self.vg)))
            };
        };
        let found = now.all.iter().find(|(n, _, _)| n == name);
        let size = self.parsed_size()?;
        let title = format!("logical volume {path}");
        match (self.state, found) {
            (Presence::Absent, None) => {}
            (Presence::Absent, Some(_)) if !self.force => {
                return Err(ModuleError::failed(format!("{path} is not removed without force"))
                    .hint("force: true removes it with what it holds"));
            }
            (Presence::Absent, Some((_, size, _))) => {
                plan.steps.push(run(["lvremove", "--force", "--yes", &path]));
                plan.diff.push(Diff::new(&title, format!("{} MiB\n", size >> 20), "absent\n"));
            }
            (Presence::Present, None) => {
                plan.steps.push(run(self.create(size, vg)?));
                let wanted = self.size.as_deref().unwrap_or("snapshot");
                plan.diff.push(Diff::new(&title, "absent\n", format!("{wanted}\n")));
            }
            (Presence::Present, Some((_, is, active))) => {
                if let Some(size) = size
                    && let Some(argv) = self.resize(size, *is, vg)?
                {
                    plan.steps.push(run(argv));
                    let wanted = self.size.as_deref().unwrap_or_default();
                    plan.diff.push(Diff::new(&title, format!("{} MiB\n", is >> 20), format!("{wanted}\n")));
                }
                if *active != self.active {
                    plan.steps.push(run(["lvchange", if self.active { "-ay" } else { "-an" }, &path]));
                    let word = |a: bool| if a { "active\n" } else { "inactive\n" };
                    plan.diff.push(Diff::new(&title, word(*active), word(self.active)));
                }
            }
        }
        Ok(plan)
    }

    fn result(&self, _now: &Volumes) -> Map {
        let mut result = Map::new();
        result.insert("vg".into(), json!(self.vg));
        result.insert("lv".into(), json!(self.name()));
        result
    }
}

#[cfg(test)]
mod tests {
    use super::super::sections::testing::{answer, args, told};
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, expected) in [
            ("10G", Some(Size { more: false, amount: Amount::Bytes(10 << 30) })),
            ("+512", Some(Size { more: true, amount: Amount::Bytes(512 << 20) })),
            ("40%FREE", Some(Size { more: false, amount: Amount::Percent(40, Base::Free) })),
            ("100%vg", Some(Size { more: false, amount: Amount::Percent(100, Base::Vg) })),
            ("140%VG", None),
            ("40%", None),
            ("lots", None),
            ("0", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
    }

    #[test]
    fn plans() {
        const G: &str = "10737418240;5368709120;4194304"; // 10 GiB, half of it free
        const EMPTY: &str = "10737418240;10737418240;4194304";
        const LV: &str = "  data;5368709120;active";
        for (arguments, vg, lvs, expected) in [
            (json!({"size": "100%FREE"}), EMPTY, "", Ok(vec!["lvcreate --yes -l 100%FREE -n data vg"])),
            (json!({"size": "2g"}), EMPTY, "", Ok(vec!["lvcreate --yes -L 2147483648b -n data vg"])),
            (
                json!({"size": "20g"}),
                EMPTY,
                "",
                Err("the volume group vg has 10240 MiB free, and data needs 20480 MiB"),
            ),
            (json!({"size": "40%FREE"}), G, LV, Ok(vec![])),
            (
                json!({"size": "100%FREE", "resizefs": true}),
                G,
                LV,
                Ok(vec!["lvextend --yes --resizefs -L 10737418240b vg/data"]),
            ),
            (json!({"size": "100%FREE"}), "10737418240;0;4194304", "data;10737418240;active", Ok(vec![])),
            (json!({"size": "5g"}), G, LV, Ok(vec![])),
            (json!({"size": "5119.5m"}), G, LV, Ok(vec![])),
            (json!({"size": "6g"}), G, LV, Ok(vec!["lvextend --yes -L 6442450944b vg/data"])),
            (json!({"size": "+1g"}), G, LV, Ok(vec!["lvextend --yes -L 6442450944b vg/data"])),
            (json!({"size": "50%VG"}), G, LV, Ok(vec![])),
            (
                json!({"size": "11g"}),
                G,
                LV,
                Err("data cannot grow by 6144 MiB: the volume group vg has 5120 MiB free"),
            ),
            (
                json!({"size": "1g"}),
                G,
                LV,
                Err("data is 5120 MiB, and 1024 MiB was asked for: it is not shrunk without force"),
            ),
            (json!({"size": "1g", "shrink": false}), G, LV, Ok(vec![])),
            (
                json!({"size": "1g", "force": true}),
                G,
                LV,
                Ok(vec!["lvreduce --force --yes -L 1073741824b vg/data"]),
            ),
            (json!({"active": false}), G, LV, Ok(vec!["lvchange -an vg/data"])),
            (json!({"state": "absent"}), G, LV, Err("vg/data is not removed without force")),
            (json!({"state": "absent", "force": true}), G, LV, Ok(vec!["lvremove --force --yes vg/data"])),
            (json!({"state": "absent"}), "", "", Ok(vec![])),
            (json!({"size": "1g"}), "", "", Err("there is no volume group vg")),
            (
                json!({"snapshot": "snap", "size": "1g"}),
                G,
                LV,
                Ok(vec!["lvcreate --yes -L 1073741824b -s -n snap vg/data"]),
            ),
            (
                json!({"thinpool": "pool", "size": "9g"}),
                G,
                "",
                Ok(vec!["lvcreate --yes -V 9663676416b -n data -T vg/pool"]),
            ),
        ] {
            let mut arguments = arguments.clone();
            arguments["vg"] = json!("vg");
            arguments["lv"] = json!("data");
            let lvol: Lvol = args(arguments.clone());
            lvol.validate().expect("valid");
            let now = lvol.read(&answer(&[("vg", vg), ("lvs", lvs)])).expect("readable");
            let plan = lvol.plan(&now, RunMode::default()).map(|p| told(&p.steps)).map_err(|e| e.to_string());
            let expected = expected.map(|e: Vec<&str>| e.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
            assert_eq!(plan, expected.map_err(str::to_owned), "{arguments}");
        }
    }

    #[test]
    fn a_volume_takes_what_its_group_gained() {
        // The disk grew by 10 GiB, and its physical volume with it.
        let grown = [("vg", "21474836480;10737418240;4194304"), ("lvs", "  data;10737418240;active")];
        for (size, expected) in [
            ("100%FREE", Some("lvextend --yes -L 21474836480b vg/data")),
            ("100%VG", Some("lvextend --yes -L 21474836480b vg/data")),
            ("15g", Some("lvextend --yes -L 16106127360b vg/data")),
            ("40%FREE", None),
            ("10g", None),
        ] {
            let lvol: Lvol = args(json!({"vg": "vg", "lv": "data", "size": size, "shrink": false}));
            let plan = lvol
                .plan(&lvol.read(&answer(&grown)).expect("readable"), RunMode::default())
                .expect("a plan");
            assert_eq!(told(&plan.steps).first().map(String::as_str), expected, "{size}");
        }
    }

    #[test]
    fn check_mode_foresees_a_volume_in_a_group_to_come() {
        let lvol: Lvol = args(json!({"vg": "vg", "lv": "data", "size": "20g"}));
        let now = lvol.read(&answer(&[("vg", ""), ("lvs", "")])).expect("readable");
        assert_eq!(
            lvol.plan(&now, RunMode::default()).map_err(|e| e.to_string()).err().as_deref(),
            Some("there is no volume group vg")
        );
        let check = RunMode { check: true, ..RunMode::default() };
        assert_eq!(
            told(&lvol.plan(&now, check).expect("a plan").steps),
            ["lvcreate --yes -L 21474836480b -n data vg"]
        );
    }
}
