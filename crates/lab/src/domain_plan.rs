use std::fmt::Write as _;

use super::by_hand::{ByHand, DiskFiles, Told, redefined, refuse, tell};
use super::domain::{facts_of, has_agent_channel, mebibytes};
use super::xml::Element;
use super::{DomainNow, DomainSpec, DomainState, LabError, Mark, NetworkUpdate};
use crate::diff::Diff;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VmState {
    Running,
    Stopped,
    Absent,
}

/// One change to a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DomainStep {
    /// Brings the cloud-init seed into its volume.
    WriteSeed,
    /// Changes the address that the network keeps for it.
    Reserve(NetworkUpdate),
    Define(String),
    /// Changes of a VM while it runs. Where the guest does not take part they come with its next boot.
    LiveVcpus(u32),
    /// In MiB.
    LiveMemory(u64),
    LiveDisk(String),
    Autostart(bool),
    Start,
    /// Asks the guest to power off and waits until it has.
    Shutdown,
    SwitchOff,
    Undefine,
}

/// What a VM is, as far as planning needs it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DomainObserved {
    pub domain: Option<DomainNow>,
    /// Whether the seed volume holds the declared seed.
    pub seed_ready: bool,
    /// Whether there is a seed at all to hold.
    pub has_seed: bool,
    /// What the network has to be told about the VM's address.
    pub reservation: Vec<NetworkUpdate>,
    /// What is known of disks that are not where they are declared.
    pub files: DiskFiles,
    /// Other VMs that have a disk of this one, each with the disk's file.
    pub other_users: Vec<(String, String)>,
}

impl DomainObserved {
    /// What somebody did to the VM by hand, which is left as it is.
    pub fn by_hand(&self, spec: &DomainSpec) -> Result<Vec<ByHand>, LabError> {
        let Some(now) = &self.domain else { return Ok(Vec::new()) };
        let mut all = Vec::new();
        for xml in std::iter::once(&now.xml).chain(&now.live) {
            let told = tell(&Element::parse(xml)?, spec, &self.files).by_hand;
            all.extend(told.into_iter().filter(|one| !all.contains(one)).collect::<Vec<_>>());
        }
        Ok(all)
    }

    /// Refuses to give a VM disks that another one has: two that write to one disk destroy it.
    fn refuse_shared_disks(&self, vm: &str) -> Result<(), LabError> {
        let Some((other, path)) = self.other_users.first() else { return Ok(()) };
        Err(LabError::failed(
            format!("VM {vm}"),
            format!("its disk {path} is one of the VM {other} already, so no second VM is put on it"),
        )
        .with_hint(format!(
            "where {other} is this VM under a new name, `virsh domrename {other} {vm}` gives the old one back, or vm_name={other} declares the new one; else detach the disk there"
        )))
    }
}

/// What is wanted of a VM besides what it is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DomainWish {
    pub state: VmState,
    pub autostart: bool,
    /// Whether a VM that runs may be restarted for what cannot be changed while it does.
    pub allow_restart: bool,
}

/// What has to be done to have a VM. One that runs goes on running unless it may be restarted: what it can be given
/// while it runs it is given, the rest is in its definition and comes with its next boot.
pub fn plan_domain(
    spec: &DomainSpec,
    wish: DomainWish,
    observed: &DomainObserved,
    mark: &Mark,
) -> Result<(Vec<DomainStep>, Option<Diff>), LabError> {
    let DomainWish { state, autostart, allow_restart } = wish;
    let name = &spec.name;
    let title = format!("VM {name}");
    let mut steps = Vec::new();
    if observed.has_seed && !observed.seed_ready && state != VmState::Absent {
        steps.push(DomainStep::WriteSeed);
    }
    let reserve = observed.reservation.iter().cloned().map(DomainStep::Reserve);
    let Some(now) = &observed.domain else {
        if state == VmState::Absent {
            return Ok((Vec::new(), None));
        }
        observed.refuse_shared_disks(name)?;
        steps.extend(reserve);
        steps.push(DomainStep::Define(spec.to_xml(mark, None)));
        if autostart {
            steps.push(DomainStep::Autostart(true));
        }
        if state == VmState::Running {
            steps.push(DomainStep::Start);
        }
        return Ok((steps, Some(Diff::new(&title, "", spec.facts()))));
    };
    let there = Element::parse(&now.xml)?;
    check_owner(name, &there, mark)?;
    let on = now.state != DomainState::Off && now.state != DomainState::Crashed;
    if state == VmState::Absent {
        let mut steps = if on { vec![DomainStep::SwitchOff] } else { Vec::new() };
        steps.push(DomainStep::Undefine);
        steps.extend(reserve);
        return Ok((steps, Some(Diff::new(&title, facts_of(&there), ""))));
    }
    let Told { plain, by_hand } = tell(&there, spec, &observed.files);
    let (is, wanted) = (facts_of(&plain), spec.facts());
    let (mut before, mut after) = (is.clone(), wanted.clone());
    if steps.contains(&DomainStep::WriteSeed) {
        before += "cloud-init seed: older\n";
        after += "cloud-init seed: as declared (a guest that has booted does not run it again)\n";
    }
    if !observed.reservation.is_empty() {
        after += "address: reserved in its network (a guest that has one keeps it until it asks again)\n";
    }
    steps.extend(reserve);
    let goes_on = on && state == VmState::Running;
    let restart = goes_on && allow_restart && !pending(now, spec, &observed.files)?.is_empty();
    if restart || (on && state == VmState::Stopped) {
        steps.push(DomainStep::Shutdown);
    }
    let starts = restart || (!on && state == VmState::Running);
    // One of an older quaylab's making gets the channel with its next boot; it is nothing that anybody declared. What people did to
    // the VM comes first.
    let without_channel = starts && by_hand.is_empty() && !has_agent_channel(&there);
    if is != wanted || without_channel {
        if is != wanted {
            let differs: Vec<&str> = wanted.lines().filter(|w| !is.lines().any(|i| i == *w)).collect();
            refuse(name, &by_hand, &differs.join(", "))?;
        }
        observed.refuse_shared_disks(name)?;
        let mine = Element::parse(&spec.to_xml(mark, Some(&now.uuid)))?;
        steps.push(DomainStep::Define(redefined(&there, spec, &mine, &by_hand).to_string()));
    }
    if goes_on && !restart {
        steps.extend(live_steps(now, spec, &observed.files, is != wanted)?);
    }
    if now.autostart != autostart {
        steps.push(DomainStep::Autostart(autostart));
        let _ = writeln!(before, "autostart: {}", now.autostart);
        let _ = writeln!(after, "autostart: {autostart}");
    }
    if starts {
        steps.push(DomainStep::Start);
    }
    if on != (state == VmState::Running) {
        let _ = writeln!(before, "state: {}", now.state.word());
        after += if state == VmState::Running { "state: running\n" } else { "state: shut off\n" };
    } else if restart {
        before += "state: running\n";
        after += "state: running, restarted\n";
    }
    let diff = (!steps.is_empty()).then(|| Diff::new(&title, before, after));
    Ok((steps, diff))
}

pub(super) fn check_owner(name: &str, there: &Element, mark: &Mark) -> Result<(), LabError> {
    match Mark::read(there) {
        Some(owner) if owner == *mark => Ok(()),
        Some(other) => Err(LabError::Conflict(format!(
            "VM {name} belongs to the lab {}, so it is left alone",
            other.lab
        ))),
        None => Err(LabError::Conflict(format!(
            "VM {name} was not made by quaylab, so it is left alone; rename it, or choose another name"
        ))),
    }
}

/// What a running VM is given while it runs; `fresh` where its definition changes as well.
fn live_steps(
    now: &DomainNow,
    spec: &DomainSpec,
    files: &DiskFiles,
    fresh: bool,
) -> Result<Vec<DomainStep>, LabError> {
    let Some(real) = now.live.as_deref().map(Element::parse).transpose()? else { return Ok(Vec::new()) };
    let live = tell(&real, spec, files).plain;
    let mut steps = Vec::new();
    let differs = |line: &str| !facts_of(&live).lines().any(|l| l == line);
    let most_vcpus = live.path_text("vcpu").and_then(|v| v.parse::<u32>().ok()).unwrap_or(0);
    if differs(&format!("vcpus: {}", spec.vcpus)) && spec.vcpus <= most_vcpus {
        steps.push(DomainStep::LiveVcpus(spec.vcpus));
    }
    let most_memory = live.find("memory").and_then(mebibytes).unwrap_or(0);
    // It is asked for once: a guest that gives nothing back would be asked for ever.
    if fresh && differs(&format!("memory: {} MiB", spec.memory)) && spec.memory <= most_memory {
        steps.push(DomainStep::LiveMemory(spec.memory));
    }
    let disks = [super::disks_of(&live), super::disks_of(&real)].concat();
    for (index, disk) in spec.disks.iter().enumerate() {
        let target = disk.target(index);
        // Only where nothing is in the way: a disk that was swapped for another waits for the next boot.
        if !disks.iter().any(|(name, path)| *name == target || *path == disk.path) {
            steps.push(DomainStep::LiveDisk(disk.element(&target).to_string()));
        }
    }
    Ok(steps)
}

/// The declared facts that a running VM does not have yet, a line each.
fn pending(now: &DomainNow, spec: &DomainSpec, files: &DiskFiles) -> Result<Vec<String>, LabError> {
    let Some(live) = now.live.as_deref().map(Element::parse).transpose()? else { return Ok(Vec::new()) };
    let live = tell(&live, spec, files).plain;
    let (is, wanted) = (facts_of(&live), spec.facts());
    let mut lines: Vec<String> =
        wanted.lines().filter(|w| !is.lines().any(|i| i == *w)).map(str::to_owned).collect();
    let gone = is.lines().filter(|i| i.starts_with("disk ") || i.starts_with("network: "));
    lines.extend(gone.filter(|i| !wanted.lines().any(|w| w == *i)).map(|i| format!("no more {i}")));
    Ok(lines)
}

/// What a running VM only gets with its next boot; `predicted` is before anything of the plan was done.
pub fn at_next_boot(
    spec: &DomainSpec,
    observed: &DomainObserved,
    predicted: bool,
) -> Result<Vec<String>, LabError> {
    let (Some(now), files) = (&observed.domain, &observed.files) else { return Ok(Vec::new()) };
    if !matches!(now.state, DomainState::Running | DomainState::Paused) {
        return Ok(Vec::new());
    }
    let mut waiting = pending(now, spec, files)?;
    if predicted {
        let live = live_steps(now, spec, files, true)?;
        let has = |wanted: fn(&DomainStep) -> bool| live.iter().any(wanted);
        waiting.retain(|line| match line.split_once(' ').map_or("", |(word, _)| word) {
            "vcpus:" => !has(|s| matches!(s, DomainStep::LiveVcpus(_))),
            "memory:" => !has(|s| matches!(s, DomainStep::LiveMemory(_))),
            "disk" => !has(|s| matches!(s, DomainStep::LiveDisk(_))),
            _ => true,
        });
    }
    Ok(waiting)
}

#[cfg(test)]
mod tests {
    use super::super::domain::tests::{mark, spec};
    use super::*;

    fn there(spec: &DomainSpec, state: DomainState) -> DomainObserved {
        let xml = spec.to_xml(&mark(), Some("u-u-i-d"));
        let domain = DomainNow {
            live: (state == DomainState::Running).then(|| xml.clone()),
            xml,
            state,
            autostart: false,
            uuid: "u-u-i-d".into(),
            memory: spec.memory << 10,
            vcpus: spec.vcpus,
        };
        DomainObserved { domain: Some(domain), seed_ready: true, has_seed: true, ..DomainObserved::default() }
    }

    fn wish(state: VmState) -> DomainWish {
        DomainWish { state, autostart: false, allow_restart: false }
    }

    fn plan(spec: &DomainSpec, state: VmState, now: &DomainObserved) -> Result<Vec<DomainStep>, String> {
        plan_domain(spec, wish(state), now, &mark()).map(|p| p.0).map_err(|e| e.to_string())
    }

    fn restarted(spec: &DomainSpec, now: &DomainObserved) -> Vec<DomainStep> {
        let wish = DomainWish { allow_restart: true, ..wish(VmState::Running) };
        plan_domain(spec, wish, now, &mark()).expect("planned").0
    }

    #[test]
    fn a_missing_vm_gets_its_seed_first() {
        let nothing = DomainObserved { has_seed: true, ..DomainObserved::default() };
        let steps = plan(&spec(), VmState::Running, &nothing).expect("planned");
        assert!(
            matches!(&steps[..], [DomainStep::WriteSeed, DomainStep::Define(_), DomainStep::Start]),
            "{steps:?}"
        );
    }

    #[test]
    fn what_runs_as_declared_is_left_alone() {
        let running = there(&spec(), DomainState::Running);
        assert_eq!(plan(&spec(), VmState::Running, &running), Ok(vec![]));
        assert_eq!(restarted(&spec(), &running), []);
        assert_eq!(
            plan(&spec(), VmState::Running, &there(&spec(), DomainState::Off)),
            Ok(vec![DomainStep::Start])
        );
        assert_eq!(plan(&spec(), VmState::Stopped, &running), Ok(vec![DomainStep::Shutdown]));
    }

    #[test]
    fn a_vm_without_the_agents_channel_gets_it_when_it_is_started() {
        let without = |state| {
            let mut now = there(&spec(), state);
            let domain = now.domain.as_mut().expect("there");
            let mut xml = Element::parse(&domain.xml).expect("xml");
            let devices = xml.children.iter_mut().find(|c| c.name == "devices").expect("devices");
            devices.children.retain(|c| c.name != "channel");
            domain.xml = xml.to_string();
            now
        };
        let steps = plan(&spec(), VmState::Running, &without(DomainState::Off)).expect("planned");
        assert!(
            matches!(&steps[..], [DomainStep::Define(xml), DomainStep::Start] if xml.contains("org.qemu.guest_agent.0")),
            "{steps:?}"
        );
        assert_eq!(plan(&spec(), VmState::Running, &without(DomainState::Running)), Ok(vec![]));
    }

    #[test]
    fn what_a_running_vm_cannot_be_given_waits_for_its_next_boot() {
        let bigger = DomainSpec { memory: 16384, vcpus: 4, ..spec() };
        let running = there(&spec(), DomainState::Running);
        let steps = plan(&bigger, VmState::Running, &running).expect("planned");
        assert!(matches!(&steps[..], [DomainStep::Define(xml)] if xml.contains("u-u-i-d")), "{steps:?}");
        // The definition has it, the VM does not: no plan any more, but it is said.
        let mut defined = running.clone();
        defined.domain.as_mut().expect("there").xml = bigger.to_xml(&mark(), Some("u-u-i-d"));
        assert_eq!(plan(&bigger, VmState::Running, &defined), Ok(vec![]));
        assert_eq!(at_next_boot(&bigger, &defined, false).expect("read"), ["vcpus: 4", "memory: 16384 MiB"]);
        assert_eq!(restarted(&bigger, &defined), [DomainStep::Shutdown, DomainStep::Start]);
        let steps = restarted(&bigger, &running);
        assert!(
            matches!(&steps[..], [DomainStep::Shutdown, DomainStep::Define(_), DomainStep::Start]),
            "{steps:?}"
        );
        let steps = plan(&bigger, VmState::Running, &there(&spec(), DomainState::Off)).expect("planned");
        assert!(matches!(&steps[..], [DomainStep::Define(_), DomainStep::Start]), "{steps:?}");
    }

    #[test]
    fn less_memory_fewer_processors_and_more_disks_come_at_once() {
        let mut smaller = DomainSpec { memory: 4096, vcpus: 1, ..spec() };
        let mut more = smaller.disks[1].clone();
        (more.volume, more.path) = ("quay-vdc".into(), "/pool/quay-vdc".into());
        smaller.disks.insert(2, more);
        let running = there(&spec(), DomainState::Running);
        let steps = plan(&smaller, VmState::Running, &running).expect("planned");
        assert!(
            matches!(&steps[..], [
                DomainStep::Define(_),
                DomainStep::LiveVcpus(1),
                DomainStep::LiveMemory(4096),
                DomainStep::LiveDisk(xml),
            ] if xml.contains("dev='vdc'")),
            "{steps:?}"
        );
        assert_eq!(at_next_boot(&smaller, &running, true).expect("read"), Vec::<String>::new());
        assert_eq!(at_next_boot(&smaller, &running, false).expect("read").len(), 3);
    }

    #[test]
    fn a_disk_or_network_less_is_said() {
        let mut fewer = spec();
        fewer.disks.remove(1);
        fewer.network = Some("other".into());
        let mut running = there(&spec(), DomainState::Running);
        running.files.ours.insert("/pool/quay-vdb".into());
        let waiting = at_next_boot(&fewer, &running, false).expect("read");
        assert_eq!(
            waiting,
            [
                "network: other 52:54:00:01:02:03",
                "no more disk vdb: /pool/quay-vdb",
                "no more network: quaylab 52:54:00:01:02:03"
            ]
        );
    }

    #[test]
    fn a_vm_on_an_overlay_is_left_as_it_is() {
        let mut snapped = there(&spec(), DomainState::Off);
        let domain = snapped.domain.as_mut().expect("there");
        domain.xml = domain.xml.replace("'/pool/quay.qcow2'", "'/pool/quay.s1'");
        snapped.files.below.insert("/pool/quay.s1".into(), vec!["/pool/quay.qcow2".into()]);
        assert_eq!(plan(&spec(), VmState::Running, &snapped), Ok(vec![DomainStep::Start]));
        assert_eq!(snapped.by_hand(&spec()).expect("read").len(), 1);
        let bigger = DomainSpec { vcpus: 4, ..spec() };
        let told = plan(&bigger, VmState::Running, &snapped).expect_err("refused");
        assert!(told.contains("is not changed to what is declared: vcpus: 4"), "{told}");
    }

    #[test]
    fn a_disk_of_another_vm_is_given_to_none() {
        let other_users = vec![("quay-old".to_owned(), "/pool/quay.qcow2".to_owned())];
        let nothing = DomainObserved { other_users, ..DomainObserved::default() };
        let told = plan(&spec(), VmState::Running, &nothing).expect_err("refused");
        assert!(told.contains("/pool/quay.qcow2 is one of the VM quay-old already"), "{told}");
        assert_eq!(plan(&spec(), VmState::Absent, &nothing), Ok(vec![]));
    }

    #[test]
    fn a_foreign_vm_is_left_alone() {
        for (labs_mark, part) in
            [(Some(Mark::new("other")), "belongs to the lab other"), (None, "not made by quaylab")]
        {
            let mut now = there(&spec(), DomainState::Off);
            let domain = now.domain.as_mut().expect("defined");
            domain.xml = match labs_mark {
                Some(mark) => spec().to_xml(&mark, None),
                None => "<domain type='qemu'><name>quay</name></domain>".into(),
            };
            for state in [VmState::Running, VmState::Absent] {
                assert!(plan(&spec(), state, &now).expect_err("refused").contains(part));
            }
        }
    }
}
