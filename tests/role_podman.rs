//! The product's playbook with podman instead of Docker, on hosts whose systemd runs the containers by Quadlet's units:
//! foreseen, brought up, left alone the second time, told what is wrong. Podman and systemd are real; Quay and Clair
//! are stand-ins (`tests/standins`).

#![expect(clippy::print_stderr, reason = "a long test says where it stands")]

use lab::foreseen::as_foreseen;
use lab::images::{of_services, of_standin};
use lab::nspawn::Lab;
use lab::run::Run;
use lab::secrets::Secrets;
use lab::site::Site;
use lab::watch::Watch;

mod lab {
    pub(crate) mod foreseen;
    pub(crate) mod images;
    pub(crate) mod nspawn;
    pub(crate) mod run;
    pub(crate) mod secrets;
    pub(crate) mod site;
    pub(crate) mod watch;

    /// Says why a test was not run here.
    pub(crate) fn skipped(reason: &str) {
        eprintln!("skipped: {reason}");
    }
}

const QUAY: (&str, &str) = ("quay.lab.test", "10.77.0.3");
const SMALL: (&str, &str) = ("small.lab.test", "10.77.0.4");
const OLD: (&str, &str) = ("old.lab.test", "10.77.0.5");

#[test]
fn podman_and_systemd_bring_the_lab_up_and_leave_it_alone() {
    let Some(lab) = Lab::start(("podman", "trixie"), &[QUAY, SMALL]) else { return };
    let Some(variables) = variables() else { return };
    let hosts = format!(
        "{} ansible_host={} registry=quay quay_clair=true\n{} ansible_host={} registry=embedded quay_database_kind=mysql\n",
        QUAY.0, QUAY.1, SMALL.0, SMALL.1
    );
    let site = Site::new(&lab, &hosts, &variables);
    site.write("auth.json", "{\"auths\": {}}\n");
    let watch = Watch::start();

    let foreseen = site.run(&["--check"]);
    foreseen.succeeded();
    assert_eq!(
        site.on(QUAY, "systemctl is-active podman.socket; ls /etc/containers/systemd"),
        "inactive\nusers"
    );

    let first = site.run(&["-vvvv", "--diff"]);
    first.succeeded();
    as_foreseen(&foreseen, &[&first]);
    first.says(&["https://10.77.0.3:443 (Quay)", "(embedded, CNCF distribution)"]);
    made_by_systemd(&site);

    let second = site.run(&["-vvvv", "--diff"]);
    second.succeeded();
    for host in [QUAY, SMALL] {
        assert_eq!(second.count(host.0, "changed"), 0, "{}", second.text);
    }
    let own = modules(&site);

    // A run that was broken off after it wrote a unit has started nothing with it.
    site.on(SMALL, "touch /etc/containers/systemd/redis.container");
    let resumed = site.run(&["--limit", SMALL.0, "--tags", "redis"]);
    resumed.succeeded();
    assert_eq!(resumed.count(SMALL.0, "changed"), 1, "{}", resumed.text);

    let failures = what_is_wrong_is_told(&site);
    let mended = site.run(&[]);
    mended.succeeded();
    for host in [QUAY, SMALL] {
        assert!(mended.count(host.0, "changed") > 0, "{}", mended.text);
    }
    let again = site.run(&[]);
    again.succeeded();
    assert_eq!(again.count(QUAY.0, "changed") + again.count(SMALL.0, "changed"), 0, "{}", again.text);

    let mut told = vec![&foreseen, &first, &second, &own, &resumed, &mended];
    told.extend(&failures);
    let secrets = Secrets::of(&site);
    secrets.are_not_shown(&told.iter().map(|run| run.text.as_str()).collect::<Vec<_>>(), &watch.stop());
    // Images and containers are podman's own to keep.
    let own = ["upper/etc/quaylab/", "upper/srv/", "docker/"];
    let needless: Vec<String> = secrets
        .files(&site, &lab, SMALL)
        .into_iter()
        .filter(|path| !own.iter().any(|own| path.starts_with(own)))
        .collect();
    assert!(needless.is_empty(), "{needless:?}");
}

/// Each container is a service that starts at boot, what it is told is root's to read, and podman knows the lab's authority.
fn made_by_systemd(site: &Site) {
    for (host, command, expected) in [
        (QUAY, "systemctl is-active postgresql redis clair quay | uniq", "active"),
        (SMALL, "systemctl is-active mysql redis registry | uniq", "active"),
        (
            SMALL,
            "cd /run/systemd/generator/multi-user.target.wants && ls",
            "mysql.service\nredis.service\nregistry.service",
        ),
        (
            SMALL,
            "stat -c '%a %U' /etc/quaylab/containers /etc/quaylab/containers/redis.env /etc/containers/systemd/redis.container",
            "700 root\n600 root\n644 root",
        ),
        (SMALL, "grep -c '^Environment=' /etc/containers/systemd/*.container | cut -d: -f2 | uniq", "0"),
        (
            SMALL,
            "podman ps --format '{{.Names}} {{index .Labels \"quaylab.lab\"}}' | sort",
            "mysql lab\nredis lab\nregistry lab",
        ),
        (QUAY, "ls /etc/containers/certs.d/quay.lab.test", "ca.crt"),
        (
            QUAY,
            "podman pull -q --creds quayadmin:wrong quay.lab.test/lab/redis:7 >/dev/null 2>&1 || echo refused",
            "refused",
        ),
        (QUAY, "podman pull -q quay.lab.test/lab/redis:7 | wc -c", "65"),
        (
            QUAY,
            "grep -m1 -A1 insecure.lan /etc/containers/registries.conf.d/50-quaylab.conf; stat -c %a /root/.config/containers/auth.json",
            "location = \"insecure.lan:5000\"\ninsecure = true\n600",
        ),
    ] {
        assert_eq!(site.on(host, command), expected, "{command}");
    }
}

/// The modules by themselves, against podman's API: foreseen, made, left alone, made anew, removed.
fn modules(site: &Site) -> Run {
    site.write("own.yml", &own_playbook("size=1m", "present"));
    let play = |options: &[&str]| site.run(&[&["own.yml", "--limit", SMALL.0], options].concat());
    let foreseen = play(&["--check"]);
    foreseen.succeeded();
    let made = play(&["-vvvv", "--diff"]);
    made.succeeded();
    as_foreseen(&foreseen, &[&made]);
    assert_eq!(made.count(SMALL.0, "changed"), 8, "{}", made.text);
    let again = play(&["--diff"]);
    again.succeeded();
    assert_eq!(again.count(SMALL.0, "changed"), 0, "{}", again.text);
    assert_eq!(site.on(SMALL, "podman exec own sh -c 'cat /proc/sys/net/core/somaxconn; id -u; df /x | tail -1 | cut -d\" \" -f1'"), "1024\n1001\ntmpfs");

    site.write("own.yml", &own_playbook("size=2m", "present"));
    let other = play(&["--diff"]);
    other.succeeded();
    assert_eq!(other.count(SMALL.0, "changed"), 1, "{}", other.text);
    other.says(&["-tmpfs: /x:size=1m", "+tmpfs: /x:size=2m"]);

    site.write("own.yml", &own_playbook("size=2m", "absent"));
    let removed = play(&[]);
    removed.succeeded();
    assert_eq!(removed.count(SMALL.0, "changed"), 3, "{}", removed.text);
    assert_eq!(
        site.on(
            SMALL,
            "podman ps -a --format '{{.Names}}' --filter name=own; podman volume ls -q; podman network ls -q"
        ),
        "podman\nquaylab"
    );
    made
}

fn own_playbook(tmpfs: &str, state: &str) -> String {
    let container = if state == "present" { "started" } else { "absent" };
    let quadlets = if state == "present" { "true" } else { "false" };
    format!(
        r#"- hosts: lab
  gather_facts: false
  become: true
  tasks:
    - name: Remove the container
      containers.podman.podman_container: {{name: own, state: absent}}
      when: "'{state}' == 'absent'"
    - containers.podman.podman_network: {{name: own, subnet: 10.99.0.0/24, state: {state}}}
    - containers.podman.podman_volume: {{name: own, label: {{a: b}}, state: {state}}}
    - name: Run one of one's own
      podman_container:
        name: own
        image: localhost/quaylab/redis:7
        state: {container}
        env: {{REDIS_PASSWORD: something}}
        network: ["own:ip=10.99.0.7,alias=cache"]
        volume: ["own:/var/lib/redis/data", "/etc/hosts:/tmp/hosts:ro,Z"]
        publish: 127.0.0.1:6400:6379
        restart_policy: on-failure:3
        cap_drop: [NET_RAW]
        tmpfs: {{/x: {tmpfs}}}
        sysctl: {{net.core.somaxconn: 1024}}
        log_opt: {{max_size: 10m}}
      when: "'{state}' == 'present'"
    - when: {quadlets}
      block:
        - name: Write the unit of a network
          podman_network: {{name: units, state: quadlet}}
        - name: Write the unit of a volume
          podman_volume: {{name: units, state: quadlet}}
        - name: Write the unit of an image
          podman_image: {{name: quay.io/a/b, tag: "1", state: quadlet, quadlet_filename: units}}
        - name: Let Quadlet read them
          command: /usr/libexec/podman/quadlet -dryrun
          changed_when: false
        - name: Log in
          podman_login:
            registry: 10.77.0.4:5000
            username: quayadmin
            password: "{{{{ lookup('ansible.builtin.password', quaylab_state_dir ~ '/secrets/registry_password', length=24, chars=['ascii_letters', 'digits']) }}}}"
            tlsverify: false
        - name: Push to a registry without TLS
          docker_image_push:
            name: 10.77.0.4:5000/quayadmin/own:1
            source: localhost/quaylab/redis:7
            username: quayadmin
            password: "{{{{ lookup('ansible.builtin.password', quaylab_state_dir ~ '/secrets/registry_password', length=24, chars=['ascii_letters', 'digits']) }}}}"
"#
    )
}

/// A host, what is done to it before, the tags and variables of the run, and what it says.
type Case = ((&'static str, &'static str), &'static str, &'static str, &'static str, &'static [&'static str]);

/// Each with its cause and what to try.
fn what_is_wrong_is_told(site: &Site) -> Vec<Run> {
    let cases: [Case; 6] = [
        (
            SMALL,
            "",
            "redis",
            "redis_port=22",
            &[
                "Redis does not start; its container redis ends each time with exit code",
                "address already in use",
                "another program on the target listens on that port; see ss -ltnp",
                "all that it wrote: journalctl -u redis.service",
            ],
        ),
        (
            SMALL,
            "",
            "database",
            "{mysql_password: wrong-password, mysql_wait_retries: 2}",
            &["refused the password of quay", "its container mysql runs"],
        ),
        (
            SMALL,
            "mkdir -p /srv/full && mount -t tmpfs -o size=64m full /srv/full",
            "database",
            "{mysql_data_path: /srv/full, mysql_wait_retries: 4}",
            &[
                "The disk is full: /srv/full has ",
                "make room on /srv/full or let it grow, then run this again",
            ],
        ),
        (
            SMALL,
            "",
            "redis",
            "{redis_image: 'quay.invalid/redis:1', redis_image_archive: ''}",
            &["quay.invalid/redis:1 cannot be pulled from quay.invalid", "check its DNS, route and proxy"],
        ),
        (
            QUAY,
            "",
            "registry",
            "{quay_database_password: wrong-password, quay_probe: false}",
            &[
                "Quay does not start: its container quay ends ",
                "password authentication failed for user \"quay\"",
                "quay_database_password must be the one that the database was made with",
                "journalctl -u quay.service",
            ],
        ),
        (
            QUAY,
            "systemctl stop podman.socket podman.service",
            "registry",
            "quay_database_user=quay",
            &["the container engine on quay.lab.test does not answer", "systemctl status podman.socket"],
        ),
    ];
    cases
        .into_iter()
        .map(|(host, before, tags, variables, said)| {
            site.on(host, before);
            let run = site.run(&["--limit", host.0, "--tags", tags, "-e", variables, "-vvvv"]);
            assert_eq!(run.code, Some(2), "{variables}: {}", run.text);
            run.says(said);
            run
        })
        .collect()
}

/// Podman before 4.4 has no Quadlet; whoever has one is told so before anything is made.
#[test]
fn a_podman_without_quadlet_is_refused() {
    let Some(lab) = Lab::start(("podman", "bookworm"), &[OLD]) else { return };
    let site = Site::new(&lab, &format!("{} ansible_host={}\n", OLD.0, OLD.1), "container_engine=podman\n");
    let refused = site.run(&["--tags", "podman"]);
    assert_eq!(refused.code, Some(2), "{}", refused.text);
    refused.says(&["this host has podman 4.3", "came with podman 4.4", "container_engine=docker"]);
    assert_eq!(refused.count(OLD.0, "changed"), 0, "{}", refused.text);
}

/// What the inventory says of both hosts; `None`, with the reason printed, where the images cannot be made.
fn variables() -> Option<String> {
    let images = [of_services()?, of_standin("quay", 3)?, of_standin("clair", 4)?].concat();
    Some(format!(
        "{images}\
         container_engine=podman\n\
         clair_updaters=false\n\
         clair_etc_hosts={{'{name}': '{address}'}}\n\
         quay_tls=lab\n\
         quay_organizations=[{{'name': 'lab', 'repositories': [{{'name': 'app', 'visibility': 'public'}}]}}]\n\
         podman_insecure_registries=['insecure.lan:5000', '10.77.0.4:5000']\n\
         podman_registry_mirrors={{'docker.io': ['insecure.lan:5000']}}\n\
         podman_auth_file={{{{ inventory_dir }}}}/auth.json\n\
         quay_images=[{{'name': 'lab/redis:7', 'source': 'localhost/quaylab/redis:7', 'archive': '{{{{ redis_image_archive }}}}', 'visibility': 'public'}}]\n",
        name = QUAY.0,
        address = QUAY.1,
    ))
}
