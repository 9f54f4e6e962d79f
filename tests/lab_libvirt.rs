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
use quaylab::lab::{Doomed, Hypervisor, Ledger, Mark, StandsOn, destroy, lab_status, plan_destroy};
use quaylab::modules::{Controller, FileKind, ModuleError, Outcome, TaskContext, registry};
use serde_json::{Value, json};

/// A lab of this process alone: its marks lie where those of all labs of the machine do.
fn lab() -> &'static str {
    static NAME: LazyLock<String> = LazyLock::new(|| format!("test-lab-{}", std::process::id()));
    &NAME
}

struct TestController(PathBuf);

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
        &self.0
    }
    fn lab(&self) -> &str {
        lab()
    }
}

fn context(state_dir: &Path, check: bool) -> TaskContext {
    let target = Target::new(ConnectionSpec::local("hv"));
    TaskContext {
        shell: target.shell(None),
        host: "hv".into(),
        check,
        diff: true,
        environment: Vec::new(),
        controller: Arc::new(TestController(state_dir.to_owned())),
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
    let state = tempfile::tempdir().unwrap();
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
    let hypervisor = Hypervisor::shared(URI).await.unwrap();
    let marked = format!(
        "<domain type='test'><name>quay</name>{}<memory>65536</memory><os><type>hvm</type></os></domain>",
        Mark::new(lab()).element()
    );
    hypervisor.call(move |d| d.define_domain(&marked)).await.unwrap();
    let status = lab_status(&hypervisor, lab()).await.unwrap();
    assert_eq!(status.iter().map(|vm| (vm.name.as_str(), vm.memory)).collect::<Vec<_>>(), [("quay", 64)]);

    let plan = plan_destroy(&hypervisor, lab(), state.path()).await.unwrap();
    assert_eq!(
        plan[..4],
        [
            Doomed::Vm { name: "quay".into(), running: false },
            Doomed::Volume { pool: "ours".into(), name: "quay-vdb".into() },
            Doomed::Pool { name: "ours".into(), stands_on: StandsOn::Folder },
            Doomed::Network { name: "quaylab".into(), active: true },
        ]
    );
    let done = destroy(&hypervisor, plan, &Ledger::new(&hypervisor, state.path(), lab()), &|_| {}).await;
    assert!(done.failed.is_empty(), "{:?}", done.failed);
    let left = hypervisor.call(|d| Ok((d.domains()?, d.pools()?, d.networks()?))).await.unwrap();
    assert_eq!(left, (vec!["test".into()], vec!["default-pool".into()], vec!["default".into()]));
    assert!(plan_destroy(&hypervisor, lab(), state.path()).await.unwrap().is_empty());
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
    let hypervisor = Hypervisor::shared(uri).await.unwrap();
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

    let state = tempfile::tempdir().unwrap();
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

    let plan = plan_destroy(&hypervisor, lab(), state.path()).await.unwrap();
    // The marks alone say as much as what is remembered.
    let lost = tempfile::tempdir().unwrap();
    let from_marks = plan_destroy(&hypervisor, lab(), lost.path()).await.unwrap();
    let things = |plan: &[Doomed]| -> Vec<Doomed> {
        plan.iter().filter(|d| !matches!(d, Doomed::State(_))).cloned().collect()
    };
    assert_eq!(things(&plan), from_marks);
    assert_eq!(from_marks.len(), 9, "VM, six volumes, pool, network: {from_marks:?}");
    let done = destroy(&hypervisor, plan, &Ledger::new(&hypervisor, state.path(), lab()), &|_| {}).await;
    assert!(done.failed.is_empty(), "{:?}", done.failed);
    let left = hypervisor.call(|d| Ok((d.domains()?, d.pools()?, d.networks()?))).await.unwrap();
    assert_eq!(left, (vec![], vec!["foreign".into()], vec!["foreign".into()]));
    let marks = format!("/var/lib/quaylab/marks/{}", lab());
    assert!(!Path::new(&marks).exists(), "the marks beside what was made go with it");
    assert!(
        !Path::new(&namespace.path("ours")).exists(),
        "the folder that was made for the pool goes with it"
    );
}
