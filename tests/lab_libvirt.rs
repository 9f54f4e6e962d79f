//! The virt modules and `destroy` on a real libvirt: its own test driver, and a libvirtd in namespaces of its own.
#![cfg(feature = "libvirt")]
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

#[path = "lab/namespace.rs"]
#[expect(dead_code, reason = "other tests run commands in it")]
mod namespace;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock};

use quaylab::host::{ConnectionSpec, Target};
use quaylab::lab::{
    Doomed, Hypervisor, Hypervisors, Ledger, Mark, StandsOn, destroy, lab_status, plan_destroy,
};
use quaylab::modules::{Controller, FileKind, ModuleError, Outcome, RunMode, TaskContext, registry};
use quaylab::run_context::RunContext;
use serde_json::{Value, json};

/// All tests are one run: a connection to libvirt's test driver is a hypervisor of its own.
static RUN: LazyLock<RunContext> = LazyLock::new(RunContext::default);

async fn hypervisor(uri: &str) -> Hypervisor {
    RUN.get::<Hypervisors>().get(uri).await.unwrap()
}

/// The lab whose state lies there: each test has one of its own, since all of them leave marks on this machine.
fn lab(state: &Path) -> String {
    let folder = state.file_name().expect("a name").to_string_lossy();
    format!("test-lab-{}-{}", std::process::id(), folder.trim_start_matches('.'))
}

/// A lab's state, which takes its marks on this machine along, also where the test fails.
struct State(tempfile::TempDir);

impl State {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let marks = Path::new("/var/lib/quaylab/marks");
        let _gone = std::fs::remove_dir_all(marks.join(lab(self.path())));
        // Folders of others are not empty.
        let _shared = std::fs::remove_dir(marks);
        let _shared = std::fs::remove_dir("/var/lib/quaylab");
    }
}

struct TestController {
    state: PathBuf,
    lab: String,
}

impl Controller for TestController {
    fn load(&self, _: FileKind, name: &str) -> Result<(String, Vec<u8>), ModuleError> {
        Err(ModuleError::failed(name))
    }
    fn locate(&self, _: FileKind, name: &str) -> Result<PathBuf, ModuleError> {
        Err(ModuleError::failed(name))
    }
    fn render(&self, _: &str, text: &str) -> Result<String, ModuleError> {
        Ok(text.to_owned())
    }
    fn progress(&self, _: &str) {}
    fn state_dir(&self) -> &Path {
        &self.state
    }
    fn lab(&self) -> &str {
        &self.lab
    }
}

fn context(state_dir: &Path, check: bool) -> TaskContext {
    let target = Target::new(ConnectionSpec::local("hv"));
    TaskContext {
        shell: target.shell(None),
        host: "hv".into(),
        mode: RunMode { check, diff: true },
        environment: Vec::new(),
        run: RUN.clone(),
        controller: Arc::new(TestController { state: state_dir.to_owned(), lab: lab(state_dir) }),
    }
}

async fn run(cx: &TaskContext, module: &str, args: Value) -> Result<Outcome, ModuleError> {
    let Value::Object(args) = args else { panic!("arguments are an object") };
    registry().get(module).unwrap().run(args, cx).await
}

/// Runs a task in check mode, for real, and once more: it must predict, change, and then rest.
async fn settles(state_dir: &Path, module: &str, args: &Value) -> Outcome {
    let (check, real) = (context(state_dir, true), context(state_dir, false));
    assert!(run(&check, module, args.clone()).await.unwrap().changed, "{module} predicts a change");
    let outcome = run(&real, module, args.clone()).await.unwrap();
    assert!(outcome.changed, "{module} makes the change");
    let again = run(&real, module, args.clone()).await.unwrap();
    assert!(!again.changed, "{module} rests: {:?}", again.diff);
    outcome
}

fn network(uri: &str, dhcp_end: &str) -> Value {
    json!({
        "uri": uri, "name": "quaylab", "forward": "nat", "bridge": "virbr-900", "domain": "quaylab.lan",
        "network": "192.168.254.0", "broadcast": "192.168.254.255", "ip_address": "192.168.254.254",
        "ip_netmask": "255.255.255.0", "dhcp_start": "192.168.254.1", "dhcp_end": dhcp_end
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn libvirts_test_driver_keeps_what_is_declared() {
    const URI: &str = "test:///default";
    let state = State::new();
    settles(state.path(), "virt_net", &network(URI, "192.168.254.253")).await;
    settles(state.path(), "virt_pool", &json!({"uri": URI, "name": "ours", "type": "dir", "path": "/ours"}))
        .await;
    settles(state.path(), "virt_volume", &json!({"uri": URI, "pool": "ours", "name": "quay-vdb", "size": 1}))
        .await;

    let real = context(state.path(), false);
    // The driver's own network and pool are not ours to remove.
    for (module, name) in [("virt_net", "default"), ("virt_pool", "default-pool")] {
        let error =
            run(&real, module, json!({"uri": URI, "name": name, "state": "absent"})).await.unwrap_err();
        assert!(error.to_string().contains("not made by this lab"), "{error}");
    }
    let hypervisor = hypervisor(URI).await;
    let marked = format!(
        "<domain type='test'><name>quay</name>{}<memory>65536</memory><os><type>hvm</type></os></domain>",
        Mark::new(&lab(state.path())).element()
    );
    hypervisor.call(move |d| d.define_domain(&marked)).await.unwrap();
    let status = lab_status(&hypervisor, &lab(state.path())).await.unwrap();
    assert_eq!(status.iter().map(|vm| (vm.name.as_str(), vm.memory)).collect::<Vec<_>>(), [("quay", 64)]);

    let plan = plan_destroy(&hypervisor, &lab(state.path()), state.path()).await.unwrap();
    assert_eq!(
        plan[..4],
        [
            Doomed::Vm { name: "quay".into(), running: false },
            Doomed::Volume { pool: "ours".into(), name: "quay-vdb".into() },
            Doomed::Pool { name: "ours".into(), stands_on: StandsOn::Folder },
            Doomed::Network { name: "quaylab".into(), active: true },
        ]
    );
    let done =
        destroy(&hypervisor, plan, &Ledger::new(&hypervisor, state.path(), &lab(state.path())), &|_| {})
            .await;
    assert!(done.failed.is_empty(), "{:?}", done.failed);
    let left = hypervisor.call(|d| Ok((d.domains()?, d.pools()?, d.networks()?))).await.unwrap();
    assert_eq!(left, (vec!["test".into()], vec!["default-pool".into()], vec!["default".into()]));
    assert!(plan_destroy(&hypervisor, &lab(state.path()), state.path()).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lab_on_a_real_libvirtd_comes_changes_and_goes() {
    let namespace = match namespace::Namespace::start() {
        Ok(namespace) => namespace,
        Err(reason) => {
            eprintln!("skipped: {reason}");
            return;
        }
    };
    let uri = &namespace.uri();
    let hypervisor = hypervisor(uri).await;
    let foreign = format!(
        "<pool type='dir'><name>foreign</name><target><path>{}</path></target></pool>",
        namespace.path("")
    );
    hypervisor
        .call(move |d| {
            d.define_network("<network><name>foreign</name></network>")?;
            d.define_pool(&foreign)
        })
        .await
        .unwrap();

    let state = State::new();
    let real = context(state.path(), false);
    settles(state.path(), "virt_net", &network(uri, "192.168.254.253")).await;
    // A new DHCP range goes into the network while it runs.
    settles(state.path(), "virt_net", &network(uri, "192.168.254.99")).await;
    let mut named = network(uri, "192.168.254.99");
    named["dns_hosts"] = json!([{"ip": "192.168.254.200", "names": ["db.quaylab.lan"]}]);
    settles(state.path(), "virt_net", &named).await;
    let mut moved = named.clone();
    moved["domain"] = json!("other.lan");
    let error = run(&real, "virt_net", moved.clone()).await.unwrap_err();
    assert!(error.to_string().contains("declared domain: other.lan"), "{error}");
    moved["allow_restart"] = json!(true);
    settles(state.path(), "virt_net", &moved).await;

    settles(
        state.path(),
        "virt_pool",
        &json!({"uri": uri, "name": "ours", "type": "dir", "path": namespace.path("ours")}),
    )
    .await;
    let source = namespace.path("source.qcow2");
    let made =
        Command::new("qemu-img").args(["create", "-q", "-f", "qcow2", &source, "64M"]).status().unwrap();
    assert!(made.success());
    let image_args = json!({"image_uri": source, "cache_dir": namespace.path("cache")});
    settles(state.path(), "virt_image", &image_args).await;
    let image = Value::Object(run(&real, "virt_image", image_args).await.unwrap().result);
    assert_eq!(image["virtual_size"], 64 << 20);
    let root = json!({"uri": uri, "pool": "ours", "name": "quay.qcow2", "image": image});
    settles(state.path(), "virt_volume", &root).await;
    settles(state.path(), "virt_volume", &json!({"uri": uri, "pool": "ours", "name": "quay-vdb", "size": 1}))
        .await;
    let converted = json!({"uri": uri, "pool": "ours", "name": "lv", "image": image, "convert": true});
    settles(state.path(), "virt_volume", &converted).await;

    let mut vm = json!({
        "uri": uri, "name": "quay", "fqdn": "quay.quaylab.lan", "memory": 64, "vcpus": 2, "network": "quaylab",
        "disks": ["ours/quay.qcow2", "ours/quay-vdb"], "password": "redhat", "accelerator": "qemu",
        "ip": "192.168.254.150", "console_log_dir": namespace.path("log/qemu")
    });
    let outcome = settles(state.path(), "virt_domain", &vm).await;
    assert_eq!(outcome.result["state"], "running");

    // Each field on its own, while the VM runs: what it gets at once, and what waits for its next boot.
    let (ip, other_ip) = (json!("192.168.254.150"), json!("192.168.254.151"));
    for (field, new, old, waits) in [
        ("ip", other_ip, ip, false),
        ("autostart", json!(true), json!(false), false),
        // There is no system in the guest that could give memory back.
        ("memory", json!(48), json!(64), true),
        ("memory", json!(128), json!(64), true),
        ("vcpus", json!(3), json!(2), true),
        ("network", json!("foreign"), json!("quaylab"), true),
    ] {
        let mut changed = vm.clone();
        changed[field] = new;
        if field == "network" {
            changed.as_object_mut().unwrap().remove("ip");
        }
        settles(state.path(), "virt_domain", &changed).await;
        let rests = run(&real, "virt_domain", changed).await.unwrap();
        assert_eq!(!rests.warnings.is_empty(), waits, "{field}: {:?}", rests.warnings);
        vm[field] = old;
        assert!(run(&real, "virt_domain", vm.clone()).await.unwrap().changed, "{field} goes back");
        let rests = run(&real, "virt_domain", vm.clone()).await.unwrap();
        assert!(!rests.changed && rests.warnings.is_empty(), "{field}: {:?}", rests.warnings);
    }
    // A disk that grows under the running VM, and one more.
    settles(state.path(), "virt_volume", &json!({"uri": uri, "pool": "ours", "name": "quay-vdb", "size": 2}))
        .await;
    let smaller = json!({"uri": uri, "pool": "ours", "name": "quay-vdb", "size": 1});
    let rests = run(&real, "virt_volume", smaller).await.unwrap();
    assert!(!rests.changed && rests.warnings[0].contains("never shrinks"), "{:?}", rests.warnings);
    settles(state.path(), "virt_volume", &json!({"uri": uri, "pool": "ours", "name": "quay-vdc", "size": 1}))
        .await;
    vm["disks"] = json!(["ours/quay.qcow2", "ours/quay-vdb", "ours/quay-vdc"]);
    settles(state.path(), "virt_domain", &vm).await;
    let live = hypervisor.call(|d| Ok(d.domain("quay")?.and_then(|vm| vm.live))).await.unwrap().unwrap();
    assert!(live.contains("quay-vdc"), "the disk is attached: {live}");
    let rests = run(&real, "virt_domain", vm.clone()).await.unwrap();
    assert!(rests.warnings.is_empty(), "{:?}", rests.warnings);

    // There is no system on the disk, so no address comes; the error tells what is known.
    let error = run(&real, "virt_wait", json!({"uri": uri, "name": "quay", "lease": 1})).await.unwrap_err();
    assert!(error.to_string().contains("stage lease: waited 1 s in vain for an address"), "{error}");
    assert!(error.to_string().contains("leases of network quaylab: none"), "{error}");
    hypervisor.call(|d| d.destroy_domain("quay")).await.unwrap();
    let error = run(&real, "virt_wait", json!({"uri": uri, "name": "quay"})).await.unwrap_err();
    assert!(error.to_string().contains("the VM is shut off"), "{error}");
    vm["memory"] = json!(128);
    assert!(run(&real, "virt_domain", vm).await.unwrap().changed, "a stopped VM is changed and started");

    let plan = plan_destroy(&hypervisor, &lab(state.path()), state.path()).await.unwrap();
    // The marks alone say as much as what is remembered.
    let lost = tempfile::tempdir().unwrap();
    let from_marks = plan_destroy(&hypervisor, &lab(state.path()), lost.path()).await.unwrap();
    let things = |plan: &[Doomed]| -> Vec<Doomed> {
        plan.iter().filter(|d| !matches!(d, Doomed::State(_))).cloned().collect()
    };
    assert_eq!(things(&plan), from_marks);
    assert_eq!(from_marks.len(), 9, "VM, six volumes, pool, network: {from_marks:?}");
    let done =
        destroy(&hypervisor, plan, &Ledger::new(&hypervisor, state.path(), &lab(state.path())), &|_| {})
            .await;
    assert!(done.failed.is_empty(), "{:?}", done.failed);
    let left = hypervisor.call(|d| Ok((d.domains()?, d.pools()?, d.networks()?))).await.unwrap();
    assert_eq!(left, (vec![], vec!["foreign".into()], vec!["foreign".into()]));
    let marks = format!("/var/lib/quaylab/marks/{}", lab(state.path()));
    assert!(!Path::new(&marks).exists(), "the marks beside what was made go with it");
    assert!(
        !Path::new(&namespace.path("ours")).exists(),
        "the folder that was made for the pool goes with it"
    );
    a_guest_does_not_choose_its_disks_format(&namespace, &hypervisor).await;
    what_uefi_remembers_goes_with_its_vm(&namespace, &hypervisor).await;
}

/// A VM with UEFI's variables cannot be undefined as others are.
async fn what_uefi_remembers_goes_with_its_vm(namespace: &namespace::Namespace, hypervisor: &Hypervisor) {
    let state = State::new();
    let (code, vars) = (namespace.path("code.fd"), namespace.path("vars.fd"));
    for file in [&code, &vars] {
        std::fs::write(file, vec![0; 4096]).unwrap();
    }
    let xml = format!(
        "<domain type='qemu'><name>uefi</name>{}<memory unit='MiB'>64</memory><os><type arch='x86_64' machine='q35'>hvm</type>\
         <loader readonly='yes' type='pflash'>{code}</loader><nvram>{vars}</nvram></os><features><acpi/></features></domain>",
        Mark::new(&lab(state.path())).element()
    );
    hypervisor.call(move |d| d.define_domain(&xml)).await.unwrap();
    let plan = plan_destroy(hypervisor, &lab(state.path()), state.path()).await.unwrap();
    let done =
        destroy(hypervisor, plan, &Ledger::new(hypervisor, state.path(), &lab(state.path())), &|_| {}).await;
    assert!(done.failed.is_empty(), "{:?}", done.failed);
    assert_eq!(hypervisor.call(|d| d.domains()).await.unwrap(), [] as [String; 0]);
    assert!(!Path::new(&vars).exists(), "its variables go with it");
    assert!(Path::new(&code).exists(), "the firmware is not its own");
}

/// A raw disk stays one, whatever its guest writes to its start.
async fn a_guest_does_not_choose_its_disks_format(namespace: &namespace::Namespace, hypervisor: &Hypervisor) {
    let uri = &namespace.uri();
    let state = State::new();
    let real = context(state.path(), false);
    let pool = json!({"uri": uri, "name": "raw", "type": "dir", "path": namespace.path("raw")});
    settles(state.path(), "virt_pool", &pool).await;
    std::fs::write(namespace.path("source.img"), vec![0; 1 << 20]).unwrap();
    let image = json!({"image_uri": namespace.path("source.img"), "cache_dir": namespace.path("cache")});
    let image = Value::Object(run(&real, "virt_image", image).await.unwrap().result);
    let volume = json!({"uri": uri, "pool": "raw", "name": "disk", "image": image, "convert": true});
    settles(state.path(), "virt_volume", &volume).await;

    // What its guest may write to its first sectors: that it is an overlay on a file of the hypervisor.
    let evil = namespace.path("evil");
    let made = Command::new("qemu-img")
        .args(["create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", "/etc/hostname", &evil, "1M"])
        .status()
        .unwrap();
    assert!(made.success());
    let mut start = std::fs::read(&evil).unwrap();
    start.truncate(1 << 20);
    start.resize(1 << 20, 0);
    std::fs::write(namespace.path("raw/disk"), start).unwrap();
    hypervisor.call(|d| d.refresh_pool("raw")).await.unwrap();
    let found = hypervisor.call(|d| d.volume("raw", "disk")).await.unwrap().unwrap();
    assert_eq!(found.format.as_deref(), Some("qcow2"), "libvirt takes it for that");

    let mut larger = volume.clone();
    larger["size"] = json!("64M");
    let error = run(&real, "virt_volume", larger).await.unwrap_err();
    assert!(error.to_string().contains("its guest wrote that"), "{error}");
    let vm = json!({
        "uri": uri, "name": "raw", "memory": 64, "disks": ["raw/disk"], "cloud_init": false,
        "accelerator": "qemu", "state": "stopped", "console_log_dir": namespace.path("log/qemu")
    });
    settles(state.path(), "virt_domain", &vm).await;
    let xml = hypervisor.call(|d| Ok(d.domain("raw")?.map(|vm| vm.xml))).await.unwrap().unwrap();
    assert!(xml.contains("type='raw'") && !xml.contains("type='qcow2'"), "{xml}");
    // Also where only the marks on the hypervisor still know how it was made.
    hypervisor.call(|d| d.undefine_domain("raw")).await.unwrap();
    let lost = tempfile::tempdir().unwrap();
    let controller = TestController { state: lost.path().to_owned(), lab: lab(state.path()) };
    let forgetful = TaskContext { controller: Arc::new(controller), ..real.clone() };
    run(&forgetful, "virt_domain", vm).await.unwrap();
    let xml = hypervisor.call(|d| Ok(d.domain("raw")?.map(|vm| vm.xml))).await.unwrap().unwrap();
    assert!(xml.contains("type='raw'") && !xml.contains("type='qcow2'"), "{xml}");

    let plan = plan_destroy(hypervisor, &lab(state.path()), state.path()).await.unwrap();
    let done =
        destroy(hypervisor, plan, &Ledger::new(hypervisor, state.path(), &lab(state.path())), &|_| {}).await;
    assert!(done.failed.is_empty(), "{:?}", done.failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_wrote_of_networks_and_pools_holds_whole() {
    let namespace = match namespace::Namespace::start() {
        Ok(namespace) => namespace,
        Err(reason) => {
            eprintln!("skipped: {reason}");
            return;
        }
    };
    let uri = &namespace.uri();
    let state = State::new();
    let real = context(state.path(), false);
    let dump = |name: &str| namespace.virsh(&["net-dumpxml", "--inactive", name]).join("\n");

    // Everything that a definition can say, and each change of it.
    std::fs::create_dir(namespace.path("tftp")).unwrap();
    let tftp = namespace.path("tftp");
    let written = |mtu: &str, more: &str| {
        let xml = format!(
            "<network><name>jumbo</name><!-- wide --><forward mode='nat'><nat ipv6='yes'><port start='1024' end='65000'/></nat></forward>\
             <bridge stp='off' delay='3' name='virbr-jumbo'/>{mtu}<dns><txt value='v' name='example'/>\
             <srv service='ldap' protocol='tcp' domain='j.lan' target='a.j.lan' port='389'/></dns>\
             <ip address='10.79.1.1' netmask='255.255.255.0'><tftp root='{tftp}'/><dhcp><range start='10.79.1.10' end='10.79.1.20'/>{more}\
             <host mac='52:54:00:AA:22:33' name='fixed' ip='10.79.1.9'/><bootp file='pxelinux.0'/></dhcp></ip></network>"
        );
        json!({"uri": uri, "name": "jumbo", "xml": xml})
    };
    let (mtu, second) = ("<mtu size='8000'/>", "<range start='10.79.1.40' end='10.79.1.60'/>");
    settles(state.path(), "virt_net", &written(mtu, second)).await;
    for part in [
        "<nat ipv6='yes'>",
        "stp='off' delay='3'",
        mtu,
        "name='example'",
        "service='ldap'",
        second,
        "52:54:00:AA:22:33",
        "pxelinux.0",
    ] {
        assert!(dump("jumbo").contains(part), "{part}: {}", dump("jumbo"));
    }
    // A range less, and what was changed by hand, while it runs.
    settles(state.path(), "virt_net", &written(mtu, "")).await;
    assert!(!dump("jumbo").contains("10.79.1.40"), "{}", dump("jumbo"));
    let by_hand =
        ["net-update", "jumbo", "add", "dns-txt", "<txt name='x' value='y'/>", "--live", "--config"];
    namespace.virsh(&by_hand);
    let mended = settles(state.path(), "virt_net", &written(mtu, "")).await;
    let gone =
        |diff: &quaylab::modules::Diff| diff.before.contains("name='x'") && !diff.after.contains("name='x'");
    assert!(mended.diff.iter().any(gone), "{:?}", mended.diff);
    // An address that is kept for a VM is the VM's affair.
    let kept = json!({
        "uri": uri, "name": "kept", "memory": 32, "network": "jumbo", "cloud_init": false, "accelerator": "qemu",
        "ip": "10.79.1.15", "state": "stopped", "console_log_dir": namespace.path("log/qemu")
    });
    settles(state.path(), "virt_domain", &kept).await;
    assert!(!run(&real, "virt_net", written(mtu, "")).await.unwrap().changed);
    // What was taken out is taken out, though not while it runs.
    let error = run(&real, "virt_net", written("", "")).await.unwrap_err().to_string();
    assert!(
        error.contains("runs and this cannot be changed while it does")
            && error.contains("<mtu size='8000'/>"),
        "{error}"
    );
    let mut without = written("", "");
    without["allow_restart"] = json!(true);
    settles(state.path(), "virt_net", &without).await;
    let now = dump("jumbo");
    assert!(!now.contains("<mtu") && now.contains("name='kept' ip='10.79.1.15'"), "{now}");
    let error = run(&real, "virt_net", written("<mtuu size='1'/>", "")).await.unwrap_err().to_string();
    assert!(error.contains("libvirt knows nothing of <network/mtuu>"), "{error}");

    // Networks that libvirt has no bridge of its own for.
    let ovs = "<network><name>ovs</name><forward mode='bridge'/><bridge name='ovsbr0'/><virtualport type='openvswitch'/>\
               <portgroup name='vlan-42'><vlan><tag id='42'/></vlan></portgroup></network>";
    settles(state.path(), "virt_net", &json!({"uri": uri, "name": "ovs", "state": "present", "xml": ovs}))
        .await;
    let direct =
        "<network><name>lan</name><forward mode='bridge'><interface dev='eno1'/></forward></network>";
    settles(state.path(), "virt_net", &json!({"uri": uri, "name": "lan", "state": "present", "xml": direct}))
        .await;
    let added = namespace.command("ip").args(["link", "add", "br0", "type", "bridge"]).status().unwrap();
    assert!(added.success());
    settles(
        state.path(),
        "virt_net",
        &json!({"uri": uri, "name": "there", "forward": "bridge", "bridge": "br0"}),
    )
    .await;

    // An IPv6 address is kept by name, in the subnet that is its own.
    let both = |end: &str| {
        json!({
            "uri": uri, "name": "six", "forward": "nat", "bridge": "virbr-six", "ip_address": "10.79.6.1", "dhcp_start": "10.79.6.10",
            "dhcp_end": "10.79.6.99", "ipv6": "fd00:77::1", "dhcp6_start": "fd00:77::10", "dhcp6_end": end
        })
    };
    settles(state.path(), "virt_net", &both("fd00:77::99")).await;
    settles(state.path(), "virt_net", &both("fd00:77::88")).await;
    let vm = |ip: &str| {
        json!({
            "uri": uri, "name": "vm_6", "memory": 32, "network": "six", "cloud_init": false, "accelerator": "qemu", "ip": ip,
            "state": "stopped", "console_log_dir": namespace.path("log/qemu")
        })
    };
    for ip in ["fd00:77::50", "fd00:77:0::51", "10.79.6.50", "fd00:77::52"] {
        settles(state.path(), "virt_domain", &vm(ip)).await;
    }
    assert!(dump("six").contains("<host name='vm-6' ip='fd00:77::52'/>"), "{}", dump("six"));
    assert_eq!(dump("six").matches("<host ").count(), 1, "{}", dump("six"));

    // A pool with who may use its folder.
    let pool = |mode: &str| {
        let xml = format!(
            "<pool type='dir'><name>px</name><target><path>{}/</path><permissions><mode>{mode}</mode><owner>1000</owner><group>1000</group>\
             </permissions></target></pool>",
            namespace.path("px")
        );
        json!({"uri": uri, "name": "px", "xml": xml})
    };
    let is = || {
        use std::os::unix::fs::MetadataExt as _;
        let meta = std::fs::metadata(namespace.path("px")).unwrap();
        (meta.mode() & 0o7777, meta.uid(), meta.gid())
    };
    settles(state.path(), "virt_pool", &pool("0750")).await;
    assert_eq!(is(), (0o750, 1000, 1000));
    settles(state.path(), "virt_pool", &pool("700")).await;
    assert_eq!(is(), (0o700, 1000, 1000));

    let hypervisor = hypervisor(uri).await;
    let plan = plan_destroy(&hypervisor, &lab(state.path()), state.path()).await.unwrap();
    let done =
        destroy(&hypervisor, plan, &Ledger::new(&hypervisor, state.path(), &lab(state.path())), &|_| {})
            .await;
    assert!(done.failed.is_empty(), "{:?}", done.failed);
    assert!(
        !Path::new(&namespace.path("px")).exists(),
        "the folder is remembered as quaylab's, however often it was defined"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_whose_dhcp_is_elsewhere_is_found_by_its_agent() {
    let namespace = match namespace::Namespace::start() {
        Ok(namespace) => namespace,
        Err(reason) => {
            eprintln!("skipped: {reason}");
            return;
        }
    };
    let script = |name: &str| format!("{}/tests/data/lab/{name}", env!("CARGO_MANIFEST_DIR"));
    let guest = Command::new(script("agent_guest.sh")).arg(namespace.work.path()).output().unwrap();
    if !guest.status.success() {
        let why = [guest.stdout, guest.stderr].concat();
        eprintln!("skipped: the guest cannot be made: {}", String::from_utf8_lossy(&why).trim());
        return;
    }
    let far = namespace.command("sh").arg(script("far_dhcp.sh")).arg(namespace.work.path()).status().unwrap();
    assert!(far.success());
    let uri = &namespace.uri();
    let state = State::new();
    let real = context(state.path(), false);
    settles(
        state.path(),
        "virt_net",
        &json!({"uri": uri, "name": "far", "forward": "bridge", "bridge": "br0"}),
    )
    .await;
    let vm = json!({
        "uri": uri, "name": "far", "memory": 256, "network": "far", "cloud_init": false, "accelerator": "qemu",
        "kernel": namespace.path("kernel"), "initrd": namespace.path("initrd"), "cmdline": "console=ttyS0 quiet",
        "console_log_dir": namespace.path("log/qemu")
    });
    settles(state.path(), "virt_domain", &vm).await;
    // Before it has booted: what was asked, and what each said.
    let error = run(&real, "virt_wait", json!({"uri": uri, "name": "far", "lease": 1})).await.unwrap_err();
    let error = error.to_string();
    for part in [
        "leases of network far: none",
        "agent in the guest: ",
        "not connected",
        "ARP table of the hypervisor: nothing of",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let wait = json!({"uri": uri, "name": "far", "lease": 400, "until": "lease"});
    let found = run(&real, "virt_wait", wait).await.unwrap().result;
    let address = found["address"].as_str().unwrap();
    assert!(address.starts_with("10.88.0."), "{address}");
    let status = lab_status(&hypervisor(uri).await, &lab(state.path())).await.unwrap();
    assert_eq!(status[0].address.as_deref(), Some(address));
}
