//! The everyday verbs on a real libvirtd with tiny guests: plan, status, console, snapshot, start, stop, destroy.
#![cfg(feature = "libvirt")]
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

#[path = "lab_verbs/keeps.rs"]
mod keeps;
#[path = "lab/namespace.rs"]
mod namespace;
#[path = "lab/tiny.rs"]
mod tiny;

use std::time::{Duration, Instant};

use tiny::TinyLab;

#[test]
fn a_lab_of_tiny_guests_through_its_whole_life() {
    let bench = match TinyLab::new("verbs") {
        Ok(bench) => bench,
        Err(reason) => {
            eprintln!("skipped: {reason}");
            return;
        }
    };
    let before = bench.namespace.all();

    // What would be made; nothing is.
    let plan = ["plan", "-i", "lab.inv", "lab.yml", "--detailed-exitcode"];
    let planned = bench.run(&plan);
    assert_eq!(planned.code, Some(2), "{}\n{}", planned.out, planned.err);
    insta::assert_snapshot!(planned.out.lines().filter(|l| !l.contains(": ")).collect::<Vec<_>>().join("\n"), @r"
    Infrastructure
      + network tiny
      + pool tiny
      + image WORK/tiny.img
      + volume tiny/one.qcow2
      + volume tiny/two.qcow2
      + VM one
      + VM two
    ");
    assert!(planned.out.ends_with("Plan: 7 to add, 0 to change; 2 hosts to come."), "{}", planned.out);
    assert_eq!(bench.namespace.all(), before);
    assert!(!bench.namespace.work.path().join("state").exists(), "a plan leaves nothing behind");

    let made = bench.good(&["run", "-i", "lab.inv", "lab.yml"]);
    assert!(made.starts_with("  + network tiny\n"), "it begins with what it is going to do: {made}");
    let again = bench.run(&plan);
    assert_eq!(
        (again.code, again.out.as_str()),
        (Some(0), "No changes: the lab is as declared."),
        "{}",
        again.err
    );

    // One field changed is one line.
    bench.inventory("dhcp_end=192.168.252.5\n");
    let changed = bench.good(&["plan", "-i", "lab.inv", "lab.yml"]);
    assert!(
        changed.contains(
            "  ~ network tiny\n      dhcp: 192.168.252.1 to 192.168.252.9 -> 192.168.252.1 to 192.168.252.5\n"
        ),
        "{changed}"
    );
    assert!(changed.ends_with("Plan: 0 to add, 1 to change."), "{changed}");
    let out = bench.namespace.path("plan.json");
    bench.good(&["plan", "-i", "lab.inv", "lab.yml", "--json", "--out", &out]);
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
    assert_eq!(json["summary"]["change"], 1);
    assert_eq!(json["infrastructure"][0]["keys"][0]["key"], "dhcp");
    restarts(&bench);

    bench.booted("one", 1);
    bench.booted("two", 1);
    another_users_lab(&bench);
    verbs(&bench);
    snapshots(&bench);

    // One host goes, the other stays; without a terminal nothing goes unasked.
    let refused = bench.run(&["destroy", "-i", "lab.inv", "--host", "one"]);
    assert_eq!(refused.code, Some(5), "{}", refused.err);
    assert!(refused.err.contains("--yes"), "{}", refused.err);
    bench.good(&["destroy", "-i", "lab.inv", "--host", "one", "--yes"]);
    assert_eq!(bench.namespace.virsh(&["list", "--all", "--name"]), ["two"]);
    assert!(!bench.namespace.all().contains(&"volume tiny/one.qcow2".to_owned()));
    bench.good(&["snapshot", "create", "-i", "lab.inv", "last"]);
    bench.good(&["destroy", "-i", "lab.inv", "--yes"]);
    assert_eq!(bench.namespace.all(), before);
    let memory =
        bench.namespace.command("test").args(["-e", "/var/lib/libvirt/qemu/quaylab"]).status().unwrap();
    assert!(!memory.success(), "no memory is left behind");
    assert!(!bench.namespace.work.path().join("pool").exists());
    assert!(!bench.namespace.work.path().join("state/quaylab").join(&bench.name).exists());
}

/// What wants a restart is asked for: on a terminal, or by an option.
fn restarts(bench: &TinyLab) {
    let run = ["run", "-i", "lab.inv", "lab.yml"];
    bench.inventory("domain=other.lan\n");
    let refused = bench.run(&run);
    assert_eq!(refused.code, Some(5), "{}", refused.out);
    assert!(refused.err.contains("--allow-restart or --yes"), "{}", refused.err);
    let no = bench.on_terminal(&run, "n\n");
    assert_eq!(no.code, Some(0), "{}", no.out);
    assert!(no.out.contains("go on, and restart what is marked? [y/N]"), "{}", no.out);
    assert!(no.out.contains("nothing was changed") && !no.out.contains("PLAY ["), "{}", no.out);
    let yes = bench.on_terminal(&run, "y\n");
    assert_eq!(yes.code, Some(0), "{}", yes.out);
    assert_eq!(bench.good(&["plan", "-i", "lab.inv", "lab.yml"]), "No changes: the lab is as declared.");
    bench.inventory("");
    bench.good(&["run", "-i", "lab.inv", "lab.yml", "--yes"]);
}

fn verbs(bench: &TinyLab) {
    let status: serde_json::Value =
        serde_json::from_str(&bench.good(&["status", "-i", "lab.inv", "--json"])).unwrap();
    let one = &status["vms"][0];
    assert_eq!((one["name"].as_str(), one["state"].as_str()), (Some("one"), Some("running")));
    assert_eq!(one["disks"][0]["bytes"], 1 << 20);
    assert!(one["uptime_seconds"].as_u64().is_some_and(|s| s < 600), "{one}");

    assert_eq!(bench.say("one", "ab"), "r2 d2");
    let left = bench.run_with(&["console", "-i", "lab.inv", "one"], "\u{1d}never sent");
    assert_eq!(left.code, Some(0), "{}", left.err);
    assert_eq!(bench.say("one.tiny.lan", "c"), "r3 d3");
    let slip = bench.run(&["console", "-i", "lab.inv", "onne"]);
    assert_eq!(slip.code, Some(5));
    assert!(slip.err.contains("did you mean one?"), "{}", slip.err);

    let stopped = bench.good(&["stop", "-i", "lab.inv", "one"]);
    assert!(stopped.starts_with("one: powered off"), "{stopped}");
    let off = bench.run(&["console", "-i", "lab.inv", "one"]);
    assert!(off.err.contains("quaylab start one starts it"), "{}", off.err);
    // A guest that does not listen.
    bench.say("two", "k");
    let deaf = bench.run(&["stop", "-i", "lab.inv", "--timeout", "1"]);
    assert_eq!(deaf.code, Some(2), "{}", deaf.out);
    assert!(deaf.out.contains("one: is like that already"), "{}", deaf.out);
    assert!(deaf.err.contains("VM two: it did not power off within 1 s\n  hint: --force"), "{}", deaf.err);
    let forced = bench.good(&["restart", "-i", "lab.inv", "--timeout", "1", "--force"]);
    assert!(forced.contains("two: switched off and started"), "{forced}");
    bench.booted("one", 2);
    bench.booted("two", 2);
    // Memory is new, the disk is not.
    assert_eq!(bench.say("one", "d"), "r1 d4");
}

fn snapshots(bench: &TinyLab) {
    let snapshot = |arguments: &[&str]| {
        let (verb, rest) = arguments.split_first().unwrap();
        let mut all = vec!["snapshot", verb, "-i", "lab.inv"];
        all.extend(rest);
        bench.run(&all)
    };
    let created = snapshot(&["create", "clean"]);
    assert_eq!(created.code, Some(0), "{}\n{}", created.out, created.err);
    assert!(created.out.contains("snapshot clean: 2 VMs, 2 disks"), "{}", created.out);
    // They go on with what they had in memory.
    assert_eq!(bench.say("one", "e"), "r2 d5");
    assert_eq!(bench.say("two", "xy"), "r2 d3");
    let twice = snapshot(&["create", "clean"]);
    assert_eq!(twice.code, Some(1));
    assert!(twice.err.contains("there is a snapshot clean already"), "{}", twice.err);

    let cold = snapshot(&["create", "cold", "--no-memory"]);
    assert_eq!(cold.code, Some(0), "{}\n{}", cold.out, cold.err);
    bench.booted("one", 3);
    bench.booted("two", 3);
    assert_eq!(bench.say("one", "f"), "r1 d6");

    // Without a terminal nothing is thrown away unasked.
    let refused = snapshot(&["restore", "clean"]);
    assert_eq!(refused.code, Some(5), "{}", refused.err);
    let back = snapshot(&["restore", "clean", "--yes"]);
    assert_eq!(back.code, Some(0), "{}\n{}", back.out, back.err);
    assert_eq!(bench.say("one", "g"), "r2 d5", "memory and disk are as they were");
    assert_eq!(bench.say("two", "g"), "r1 d2");
    let listed = bench.good(&["snapshot", "ls", "-i", "lab.inv"]);
    assert!(listed.contains("one (running), two (running)") && listed.contains("one (boots)"), "{listed}");
    // A restored lab is the declared one.
    assert_eq!(bench.good(&["plan", "-i", "lab.inv", "lab.yml"]), "No changes: the lab is as declared.");

    let cold = snapshot(&["restore", "cold", "--yes"]);
    assert_eq!(cold.code, Some(0), "{}\n{}", cold.out, cold.err);
    bench.booted("one", 4);
    assert_eq!(bench.say("one", "h"), "r1 d6");
    // Removing it under running guests holds them, and no more.
    let removed = snapshot(&["rm", "cold"]);
    assert_eq!(removed.code, Some(0), "{}\n{}", removed.out, removed.err);
    assert_eq!(bench.say("one", "i"), "r2 d7");
    let gone = snapshot(&["restore", "clen", "--yes"]);
    assert!(gone.err.contains("did you mean clean?"), "{}", gone.err);
}

/// libvirt's own snapshots refuse such VMs. The guest is the firmware alone, which finds nothing to boot and says so.
#[test]
fn a_snapshot_of_a_vm_with_uefi_holds_its_variables() {
    let bench = match TinyLab::new("uefi") {
        Ok(bench) => bench,
        Err(reason) => {
            eprintln!("skipped: {reason}");
            return;
        }
    };
    let before = bench.namespace.all();
    bench.inventory("firmware=uefi\nram=128\n");
    bench.good(&["run", "-i", "lab.inv", "lab.yml"]);
    let variables = bench.namespace.path("lib/qemu/nvram/one_VARS.fd");
    let end = Instant::now() + Duration::from_secs(60);
    let log = bench.namespace.path("one-console.log");
    while !std::fs::read_to_string(&log).unwrap_or_default().contains("BdsDxe") {
        assert!(Instant::now() < end, "the firmware says nothing");
        std::thread::sleep(Duration::from_millis(200));
    }
    bench.good(&["stop", "-i", "lab.inv", "--force", "--timeout", "1"]);
    let kept = std::fs::read(&variables).unwrap();
    bench.good(&["start", "-i", "lab.inv"]);
    bench.good(&["snapshot", "create", "-i", "lab.inv", "kept"]);
    bench.good(&["stop", "-i", "lab.inv", "--force", "--timeout", "1"]);
    std::fs::write(&variables, vec![0; kept.len()]).unwrap();
    bench.good(&["snapshot", "restore", "-i", "lab.inv", "kept", "--yes"]);
    assert_eq!(bench.namespace.virsh(&["domstate", "one"]), ["running"]);
    assert!(std::fs::read(&variables).unwrap() == kept, "the variables are as they were");
    assert_eq!(bench.good(&["plan", "-i", "lab.inv", "lab.yml"]), "No changes: the lab is as declared.");
    bench.good(&["destroy", "-i", "lab.inv", "--yes"]);
    assert_eq!(bench.namespace.all(), before);
    assert!(!std::path::Path::new(&variables).exists(), "no variables are left behind");
}

/// With `/etc/hosts` as the machine's resolver. The tiny guests ask for no address, so a DHCP client asks in the place of one.
#[test]
fn the_machine_finds_guests_by_name_until_the_lab_is_gone() {
    let bench = match TinyLab::new("names") {
        Ok(bench) => bench,
        Err(reason) => {
            eprintln!("skipped: {reason}");
            return;
        }
    };
    let sh = |script: &str| {
        let output = bench.namespace.command("sh").args(["-euc", script]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        said
    };
    bench.good(&["run", "-i", "lab.inv", "lab.yml"]);
    // What the machine has is hidden: its own resolvers, and its own file.
    sh("for d in /run/systemd /run/NetworkManager; do [ ! -d $d ] || mount -t tmpfs tmpfs $d; done
        printf '127.0.0.1 localhost\\n' >hosts; mount --bind hosts /etc/hosts");
    let mac = bench.namespace.virsh(&["domiflist", "one"])[0].split_whitespace().last().unwrap().to_owned();
    sh(&format!(
        "ip link add asks address {mac} type veth peer name asked; ip link set asked master virbr-902 up; ip link set asks up
         busybox udhcpc -i asks -n -q -t 20 -T 1 -s /bin/true >/dev/null 2>&1"
    ));
    let told = bench.good(&["host-dns", "-i", "lab.inv"]);
    assert_eq!(told, "/etc/hosts: the lab's guests are found by name (/etc/hosts)");
    let found = sh("getent hosts one.tiny.lan one");
    assert!(found.starts_with("192.168.252."), "{found}");
    assert_eq!(bench.good(&["host-dns", "-i", "lab.inv"]), "/etc/hosts knows the lab's 1 guests already");
    bench.good(&["host-dns", "-i", "lab.inv", "--remove"]);
    assert_eq!(sh("cat /etc/hosts"), "127.0.0.1 localhost");
    bench.good(&["run", "-i", "lab.inv", "lab.yml", "--host-dns"]);
    assert!(sh("cat /etc/hosts").contains("one.tiny.lan"));
    bench.good(&["destroy", "-i", "lab.inv", "--yes"]);
    assert_eq!(sh("cat /etc/hosts"), "127.0.0.1 localhost");
}

/// Another user has an inventory of the same file name, and nothing is remembered there: what is marked is not that user's.
fn another_users_lab(bench: &TinyLab) {
    let text = std::fs::read_to_string(bench.namespace.path("lab.inv")).unwrap();
    let inventory = format!("{}.inv", bench.name);
    let unnamed = text.replace(&format!("quaylab_lab={}\n", bench.name), "");
    assert_ne!(text, unnamed);
    std::fs::write(bench.namespace.path(&inventory), unnamed).unwrap();
    for arguments in [&["destroy", "--yes"][..], &["stop"], &["snapshot", "create", "theirs"]] {
        let output = bench
            .namespace
            .command(env!("CARGO_BIN_EXE_quaylab"))
            .args(arguments)
            .args(["-i", &inventory])
            .env("XDG_STATE_HOME", bench.namespace.path("others"))
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(5), "{arguments:?}: {told}");
        let expected =
            format!("has a lab {} already, which this inventory did not make: VM one, VM two", bench.name);
        assert!(told.contains(&expected), "{arguments:?}: {told}");
    }
    // libvirt lists them in the order in which they were started.
    let mut running = bench.namespace.virsh(&["list", "--name"]);
    running.sort();
    assert_eq!(running, ["one", "two"]);
    assert!(!bench.namespace.work.path().join("others").join("quaylab").exists(), "a refusal leaves nothing");
}
