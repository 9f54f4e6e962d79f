//! The product's playbook over SSH, against hosts with systemd and sshd that are not its VMs: foreseen, brought up,
//! left alone the second time, and told what is wrong. Quay and Clair are stand-ins here (`tests/standins`).

#![expect(clippy::print_stderr, reason = "a long test says where it stands")]

use std::path::Path;
use std::process::{Command, Stdio};

use lab::foreseen::as_foreseen;
use lab::images::{of_services, of_standin};
use lab::nspawn::{Lab, Tree};
use lab::run::Run;
use lab::secrets::Secrets;
use lab::site::Site;
use lab::skipped;
use lab::watch::Watch;
use table::table;

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

#[path = "data/roles/clair.rs"]
mod clair;
#[path = "data/roles/failures.rs"]
mod failures;
#[path = "data/roles/faults.rs"]
mod faults;
#[path = "data/roles/table.rs"]
mod table;
#[path = "data/roles/tls.rs"]
mod tls;
#[path = "data/roles/vault.rs"]
mod vault;

const TREE: Tree = ("docker", "bookworm");
const EMBEDDED: (&str, &str) = ("embedded.lab.test", "10.77.0.2");
const QUAY: (&str, &str) = ("quay.lab.test", "10.77.0.3");
const SMALL: (&str, &str) = ("small.lab.test", "10.77.0.4");

#[test]
fn the_roles_bring_up_hosts_and_leave_them_alone() {
    let Some(lab) = Lab::start(TREE, &[EMBEDDED, QUAY]) else { return };
    let Some(variables) = variables() else { return };
    let hosts = format!(
        "{} ansible_host={} registry=embedded\n{} ansible_host={} registry=quay quay_clair=true\n",
        EMBEDDED.0, EMBEDDED.1, QUAY.0, QUAY.1
    );
    let site = Site::new(&lab, &hosts, &variables);
    let watch = Watch::start();

    // An empty machine has no engine yet; what needs one is foreseen.
    let foreseen = site.run(&["--check"]);
    foreseen.succeeded();
    for host in [EMBEDDED, QUAY] {
        assert!(foreseen.count(host.0, "changed") > 5, "{}", foreseen.text);
    }
    let engine = site.on(EMBEDDED, "systemctl is-active docker; ls /etc/docker /srv 2>/dev/null; true");
    assert!(engine.starts_with("inactive\n"), "check mode started something: {engine}");

    let first = site.run(&["-vvvv", "--diff"]);
    first.succeeded();
    assert!(first.text.contains("(embedded, CNCF distribution)"), "{}", first.text);
    assert!(first.text.contains(&format!("https://{}:443 (Quay)", QUAY.1)), "{}", first.text);
    trusted_and_filled(&site);
    as_foreseen(&foreseen, &[&first]);
    asked_from_everywhere(&first);

    let second = site.run(&["-vvvv", "--diff"]);
    second.succeeded();
    for host in [EMBEDDED, QUAY] {
        assert_eq!(second.count(host.0, "changed"), 0, "{}", second.text);
    }

    vault::secrets_are_kept_in_a_vault_file(&site);
    parts_that_are_there(&site);
    clair::images_are_scanned(&site);
    let scanners = clair::what_is_wrong_is_told_and_mended(&site);
    tls::own_certificates_and_what_is_in_front(&site);
    let unserved = failures::what_does_not_serve_is_told(&site);
    let failures = failures::quay_says_what_is_wrong(&site);

    // What was broken is mended by running again without the mistakes.
    let mended = site.run(&["--limit", QUAY.0]);
    mended.succeeded();
    assert!(mended.count(QUAY.0, "changed") > 0, "{}", mended.text);

    let mut told: Vec<&str> = vec![&foreseen.text, &first.text, &second.text, &mended.text];
    told.extend(failures.iter().chain(&scanners).chain([&unserved]).map(|run| run.text.as_str()));
    let secrets = Secrets::of(&site);
    secrets.are_not_shown(&told, &watch.stop());
    files_keep_what_they_need(&lab, &site, &secrets);
}

/// The registry was asked from the controller and through both guests' connections, what is behind it from where it is.
fn asked_from_everywhere(run: &Run) {
    insta::assert_snapshot!(table(run, EMBEDDED.0), @r"
    asked     from               step                ms  answer
    registry  controller         connect              N
    registry  controller         login                N
    registry  controller         push                 N
    registry  controller         pull                 N  the same image
    registry  controller         anonymous pull       N  refused
    registry  controller         delete               N  removed
    registry  embedded.lab.test  connect              N
    registry  embedded.lab.test  login                N
    registry  embedded.lab.test  push                 N
    registry  embedded.lab.test  pull                 N  the same image
    registry  embedded.lab.test  anonymous pull       N  refused
    registry  embedded.lab.test  delete               N  removed
    registry  quay.lab.test      connect              N
    registry  quay.lab.test      login                N
    registry  quay.lab.test      push                 N
    registry  quay.lab.test      pull                 N  the same image
    registry  quay.lab.test      anonymous pull       N  refused
    registry  quay.lab.test      delete               N  removed
    database  embedded.lab.test  query                N  PostgreSQL N.N, pg_trgm
    redis     embedded.lab.test  PING                 N  Redis N.N.N
    storage   embedded.lab.test  df                   -  /srv/registry
    ");
    insta::assert_snapshot!(table(run, QUAY.0), @r"
    asked        from               step                   ms  answer
    registry     controller         connect                 N
    registry     controller         login                   N
    registry     controller         push                    N
    registry     controller         pull                    N  the same image
    registry     controller         anonymous pull          N  refused
    registry     controller         delete                  N  removed
    registry     embedded.lab.test  connect                 N
    registry     embedded.lab.test  login                   N
    registry     embedded.lab.test  push                    N
    registry     embedded.lab.test  pull                    N  the same image
    registry     embedded.lab.test  anonymous pull          N  refused
    registry     embedded.lab.test  delete                  N  removed
    registry     quay.lab.test      connect                 N
    registry     quay.lab.test      login                   N
    registry     quay.lab.test      push                    N
    registry     quay.lab.test      pull                    N  the same image
    registry     quay.lab.test      anonymous pull          N  refused
    registry     quay.lab.test      delete                  N  removed
    database     quay.lab.test      query                   N  PostgreSQL N.N, pg_trgm
    redis        quay.lab.test      PING                    N  Redis N.N.N
    database     Quay               DB_URI                  N  PostgreSQL N.N (Debian N.N-N+debNuN) with pg_trgm
    redis        Quay               BUILDLOGS_REDIS         N  Redis N.N.N, PONG
    redis        Quay               USER_EVENTS_REDIS       N  Redis N.N.N, PONG
    scanner      Quay               index state             N  Clair, the key is taken
    certificate  Quay               look                    N  certificate until N-N-N
    storage      quay.lab.test      df                      -  /srv/quay/storage
    ");
}

/// A database and a Redis that somebody else runs (here: the other host) are checked, and left alone.
fn parts_that_are_there(site: &Site) {
    let external = |host: &str, port: u16| {
        format!(
            "{{postgresql_managed: false, postgresql_host: {host}, postgresql_port: {port}, redis_managed: false, redis_host: {host}}}"
        )
    };
    let options = |more: &str| {
        vec!["--limit", EMBEDDED.0, "--tags", "database,redis", "-e"]
            .into_iter()
            .map(str::to_owned)
            .chain([more.to_owned()])
            .collect::<Vec<_>>()
    };
    let run = |variables: &str| {
        let options = options(variables);
        site.run(&options.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let served = run(&external(QUAY.1, 5432));
    served.succeeded();
    assert_eq!(served.count(EMBEDDED.0, "changed"), 0, "{}", served.text);
    let closed = run(&external(QUAY.1, 5433));
    assert_eq!(closed.code, Some(2), "{}", closed.text);
    assert!(closed.text.contains("PostgreSQL does not answer at 10.77.0.3:5433"), "{}", closed.text);
    // Data of another major version is not touched.
    let newer = run("{postgresql_image: 'localhost/quaylab/postgresql:99'}");
    assert_eq!(newer.code, Some(2), "{}", newer.text);
    for part in ["was made by PostgreSQL 15", "pg_dumpall"] {
        assert!(newer.text.contains(part), "no {part:?} in {}", newer.text);
    }
}

/// `MariaDB` instead of PostgreSQL, on a disk that is too small at first; then a registry whose disk fills up.
#[test]
fn mysql_and_full_disks() {
    let Some(lab) = Lab::start(TREE, &[SMALL]) else { return };
    let Some(images) = of_services() else { return };
    let host = format!("{} ansible_host={} registry=embedded quay_database_kind=mysql\n", SMALL.0, SMALL.1);
    let site = Site::new(&lab, &host, &images);
    let on = |text: &str| site.on(SMALL, text);
    on("mkdir -p /srv/mysql /srv/registry && mount -t tmpfs -o size=64m small /srv/mysql && \
        mount -t tmpfs -o size=8m small /srv/registry");
    let foreseen = site.run(&["--check"]);
    foreseen.succeeded();

    let full = site.run(&["-vvvv", "-e", "mysql_wait_retries=4"]);
    assert_eq!(full.code, Some(2), "{}", full.text);
    full.says(&[
        "MySQL does not answer at 127.0.0.1:3306",
        "its container mysql ends ",
        "the system tables could not be made",
        "The disk is full: /srv/mysql has ",
        "make room on /srv/mysql or let it grow, then run this again",
    ]);
    on("mount -o remount,size=640m /srv/mysql");
    let grown = site.run(&["-vvvv", "--diff"]);
    grown.succeeded();
    as_foreseen(&foreseen, &[&full, &grown]);
    grown.says(&["3306/quay, MySQL"]);
    let again = site.run(&[]);
    again.succeeded();
    assert_eq!(again.count(SMALL.0, "changed"), 0, "{}", again.text);

    // The data keeps the password that it was made with.
    let wrong = ["--tags", "database", "-e", "mysql_password=wrong-password", "-e", "mysql_wait_retries=2"];
    let wrong = site.run(&wrong);
    assert_eq!(wrong.code, Some(2), "{}", wrong.text);
    wrong.says(&["refused the password of quay", "data that was made with an older password keeps it"]);
    let external = "{mysql_managed: false, mysql_host: 127.0.0.1, mysql_database: nowhere}";
    let missing = site.run(&["--tags", "database", "-e", external]);
    assert_eq!(missing.code, Some(2), "{}", missing.text);
    missing.says(&["does not let quay use the database nowhere"]);
    let mended = site.run(&["--tags", "database"]);
    mended.succeeded();
    assert!(mended.count(SMALL.0, "changed") > 0, "{}", mended.text);

    on("dd if=/dev/zero of=/srv/registry/fill bs=64k 2>/dev/null || true");
    let full = site.run(&["--tags", "verify"]);
    assert_eq!(full.code, Some(2), "{}", full.text);
    full.says(&[
        "pushing 10.77.0.4:5000/quayadmin/verify:latest failed: HTTP 500: unknown error: ",
        "/var/lib/registry/",
        ": no space left on device",
        "the file system that holds the registry's images is full",
        "/srv/registry: 0.00 Bytes free",
    ]);
    on("rm /srv/registry/fill");
    site.run(&["--tags", "verify"]).succeeded();
}

/// RHEL's docker-storage-setup is a stand-in here (`tests/standins`), and so is LVM: a disk is a file that says what is on it.
#[test]
fn docker_storage_setup_is_run_once_and_refuses_foreign_disks() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let write = |name: &str, text: &str| {
        std::fs::create_dir_all(at(name).parent().expect("a folder")).expect("a folder");
        std::fs::write(at(name), text).expect("a file");
    };
    let disk = || std::fs::read_to_string(at("dev/vdb")).expect("the disk");
    write("dev/vdb", "");
    write("etc/sysconfig/.keep", "");
    write(
        "bin/vgs",
        &format!(
            "#!/bin/sh\ngrep -q 'partitioned by docker-vg' {} && echo docker-vg\n",
            at("dev/vdb").display()
        ),
    );
    std::fs::set_permissions(at("bin/vgs"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("a program");
    let state = folder.path().display();
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/standins/docker-storage-setup");
    write(
        "storage.yml",
        &format!(
            "- hosts: lab\n  gather_facts: false\n  environment: {{STANDIN_STATE: '{state}', PATH: '{state}/bin:/usr/sbin:/usr/bin:/sbin:/bin'}}\n\
             \x20 roles: [docker_storage]\n  vars:\n    docker_storage_devs: ['{state}/dev/vdb']\n\
             \x20   docker_storage_setup_program: {program}\n    docker_storage_sysconfig: '{state}/etc/sysconfig'\n"
        ),
    );
    write("lab.inv", "[lab]\nhere ansible_connection=local\n");
    let run = |options: &[&str]| {
        quaylab_in(folder.path(), &[&["run", "-i", "lab.inv", "storage.yml"], options].concat())
    };
    let foreseen = run(&["--check"]);
    foreseen.succeeded();
    assert_eq!((foreseen.count("here", "changed"), disk()), (2, String::new()), "{}", foreseen.text);
    let first = run(&[]);
    first.succeeded();
    as_foreseen(&foreseen, &[&first]);
    assert_eq!(
        (first.count("here", "changed"), disk().as_str()),
        (2, "partitioned by docker-vg"),
        "{}",
        first.text
    );
    let written = std::fs::read_to_string(at("etc/sysconfig/docker-storage")).expect("what it wrote");
    assert!(written.contains("--storage-driver devicemapper"), "{written}");
    let second = run(&[]);
    second.succeeded();
    assert_eq!(second.count("here", "changed"), 0, "{}", second.text);
    // Another driver is refused by the program itself; a foreign disk as well, until it may be overwritten.
    let other = run(&["-e", "docker_storage_driver=overlay2"]);
    assert_eq!(other.code, Some(2), "{}", other.text);
    assert!(other.text.contains("docker-storage and retry"), "{}", other.text);
    std::fs::remove_file(at("etc/sysconfig/docker-storage")).expect("removed");
    write("dev/vdb", "xfs");
    let foreign = run(&[]);
    assert_eq!(foreign.code, Some(2), "{}", foreign.text);
    assert!(foreign.text.contains("Found xfs on"), "{}", foreign.text);
    let wiped = run(&["-e", "docker_storage_wipe_signatures=true"]);
    wiped.succeeded();
    assert_eq!(disk(), "partitioned by docker-vg");
}

/// Against the stand-in for subscription-manager (`tests/standins`), in each form in which a host can be registered.
#[test]
fn a_host_is_registered_once_whichever_way() {
    let standins = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/standins");
    for (form, calls) in [
        ("{rhsm_username: ann, rhsm_password: s3cret-password, rhsm_pool_pattern: '*Lab*'}", "\"attach\""),
        ("{rhsm_username: ann, rhsm_password: s3cret-password, rhsm_pool: pool-b}", "\"pool-b\""),
        ("{rhsm_org_id: lab, rhsm_activationkey: s3cret-key}", "\"register\""),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let state = folder.path().display();
        let playbook = format!(
            "- hosts: lab\n  gather_facts: false\n  roles: [subscription]\n\
             \x20 environment: {{STANDIN_STATE: '{state}', PATH: '{standins}:/usr/sbin:/usr/bin:/sbin:/bin'}}\n\
             \x20 vars: {{ansible_distribution: RedHat, ansible_distribution_major_version: '7', ansible_architecture: x86_64}}\n"
        );
        std::fs::write(at("rhel.yml"), playbook).expect("the playbook");
        std::fs::write(at("lab.inv"), "[lab]\nhere ansible_connection=local\n").expect("the inventory");
        let run = |options: &[&str]| {
            let words = ["run", "-i", "lab.inv", "rhel.yml", "-vvvv", "--diff", "-e", form];
            let run = quaylab_in(folder.path(), &[&words, options].concat());
            assert!(!run.text.contains("s3cret"), "{}", run.text);
            run
        };
        let first = run(&[]);
        first.succeeded();
        assert_eq!(first.count("here", "changed"), 2, "{}", first.text);
        let kept = std::fs::read_to_string(at("rhsm.json")).expect("the stand-in's state");
        assert!(kept.contains(calls), "{form}: {kept}");
        let repos = kept.split("\"repos\"").nth(1).unwrap_or_default();
        assert!(repos.contains("rhel-7-server-extras-rpms") && !repos.contains("optional"), "{kept}");
        let second = run(&[]);
        second.succeeded();
        assert_eq!(second.count("here", "changed"), 0, "{}", second.text);
        let wrong = run(&[
            "-e",
            "{rhsm_password: s3cret-wrong, rhsm_activationkey: s3cret-wrong, rhsm_force_register: true}",
        ]);
        assert_eq!(wrong.code, Some(2), "{}", wrong.text);
    }
}

#[test]
fn the_table_says_what_was_asked_and_what_does_not_serve() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("lab.inv"), "[lab]\nquay.lab.test ansible_connection=local\n")
        .expect("the inventory");
    let playbook = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/roles/table.yml");
    let run = quaylab_in(folder.path(), &["run", "-i", "lab.inv", playbook]);
    assert_eq!(run.code, Some(2), "{}", run.text);
    insta::assert_snapshot!(table(&run, "quay.lab.test"), @r"
    asked     from           step                     ms  answer
    registry  controller     connect                   N
    registry  controller     login                     N
    registry  controller     anonymous pull            N  refused
    registry  node.lab.test  push                      -  does not serve
    database  quay.lab.test  query                     N  PostgreSQL N.N, lacks pg_trgm
    redis     quay.lab.test  PING                      -  does not serve
    storage   Quay           write, read, remove       N  wrote, read and removed an object
    storage   quay.lab.test  df                        -  /srv/quay/storage
    ");
    run.says(&[
        "msg: from node.lab.test: pushing quay.lab.test/x failed: no\n",
        "Redis at 127.0.0.1:6379 refused the password\n",
        "the database quay lacks pg_trgm; in that database: CREATE EXTENSION pg_trgm\n",
    ]);
}

#[test]
fn vagrant_takes_the_vagrantfile() {
    let Some(vagrant) = ["/usr/bin/vagrant"].iter().find(|p| Path::new(p).exists()) else {
        return skipped("vagrant is not installed");
    };
    let home = tempfile::tempdir().expect("a folder");
    let validate = |folder: &Path| {
        let output = Command::new(vagrant)
            .arg("validate")
            .current_dir(folder)
            .env("HOME", home.path())
            .env("VAGRANT_HOME", home.path().join("vagrant"))
            .env("VAGRANT_DOTFILE_PATH", home.path().join("dot"))
            .stdin(Stdio::null())
            .output()
            .expect("vagrant");
        (
            output.status.success(),
            [output.stdout, output.stderr].map(|b| String::from_utf8_lossy(&b).into_owned()).concat(),
        )
    };
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("vagrant");
    let (good, said) = validate(&own);
    assert!(good && said.contains("Vagrantfile validated successfully"), "{said}");
    // It really looks: a setting that the provider does not have is refused.
    let broken = tempfile::tempdir().expect("a folder");
    let text = std::fs::read_to_string(own.join("Vagrantfile")).expect("the Vagrantfile");
    let wrong = text.replace("libvirt.cpus = 2", "libvirt.cpuz = 2");
    assert_ne!(text, wrong);
    std::fs::write(broken.path().join("Vagrantfile"), wrong).expect("another Vagrantfile");
    let (good, said) = validate(broken.path());
    assert!(!good, "{said}");
}

/// The host trusts the lab's authority, and Quay holds what the inventory declares.
fn trusted_and_filled(site: &Site) {
    let said = site.on(
        QUAY,
        "cat /root/.docker/config.json; stat -c %a /root/.docker/config.json /etc/quay/config/ssl.key; \
         openssl verify -CAfile /etc/ssl/certs/ca-certificates.crt /etc/quay/config/ssl.cert; \
         docker exec postgresql psql -qtA -U postgres -d quay -c \"SELECT name, public FROM standin_repository WHERE name LIKE 'lab/%'\"",
    );
    for part in ["\"quay.lab.test\"", "600\n640", "/etc/quay/config/ssl.cert: OK", "lab/app|t", "lab/redis|t"]
    {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
}

/// No file holds a secret that does without, and those that hold one are not everybody's to read.
fn files_keep_what_they_need(lab: &Lab, site: &Site, secrets: &Secrets) {
    for host in [EMBEDDED, QUAY] {
        let found = secrets.files(site, lab, host);
        assert!(found.iter().any(|path| path.ends_with("config.v2.json")), "{found:?}");
        let needless: Vec<&String> = found.iter().filter(|path| !needs_secrets(path)).collect();
        assert!(needless.is_empty(), "{}: {needless:?}", host.0);
        let modes = site.on(
            host,
            "stat -c %a /etc/quay/config/config.yaml /etc/quaylab/registry/config.yml /etc/clair/config.yaml 2>/dev/null; true",
        );
        assert_eq!(modes, if host == QUAY { "640\n600" } else { "640" }, "{}", host.0);
    }
}

/// The services' own configuration, and the environment of containers as the engine keeps it.
fn needs_secrets(path: &str) -> bool {
    ["quay/config/config.yaml", "quaylab/registry/config.yml", "clair/config.yaml"]
        .iter()
        .any(|own| path.strip_prefix("upper/etc/") == Some(own))
        || path.starts_with("upper/var/lib/containerd/")
        || (path.starts_with("docker/containers/") && path.ends_with("/config.v2.json"))
        || (path.starts_with("docker/overlay2/") && path.ends_with("/diff/tmp/redis.conf"))
}

/// What the inventory says of both hosts; `None`, with the reason printed, where the images cannot be made.
fn variables() -> Option<String> {
    let images = [of_services()?, of_standin("quay", 3)?, of_standin("clair", 4)?].concat();
    Some(format!(
        "{images}\
         verify_guests=['{}', '{name}']\n\
         clair_updaters=false\n\
         clair_etc_hosts={{'{name}': '{address}'}}\n\
         quay_tls=lab\n\
         quay_organizations=[{{'name': 'lab', 'robots': [{{'name': 'puller', 'docker_config': '/root/.docker/config.json'}}], \
         'teams': [{{'name': 'readers', 'members': ['lab+puller']}}], \
         'default_permissions': [{{'name': 'readers', 'type': 'team'}}], \
         'repositories': [{{'name': 'app', 'visibility': 'public'}}, \
         {{'name': 'copy', 'mirror': {{'external_reference': '{embedded}:5000/copy', 'robot': 'puller'}}}}]}}, \
         {{'name': 'cache', 'proxy_cache': {{'registry': '{embedded}:5000/library', 'expiration': '2d'}}}}]\n\
         quay_config={{'FEATURE_REPO_MIRROR': True, 'FEATURE_PROXY_CACHE': True, 'SSRF_ALLOWED_HOSTS': ['{embedded}']}}\n\
         quay_images=[{{'name': 'lab/redis:7', 'source': 'localhost/quaylab/redis:7', 'archive': '{{{{ redis_image_archive }}}}', 'visibility': 'public'}}]\n",
        EMBEDDED.0,
        name = QUAY.0,
        address = QUAY.1,
        embedded = EMBEDDED.1,
    ))
}

/// The program in a folder that is its home as well, on this machine itself.
fn quaylab_in(folder: &Path, words: &[&str]) -> Run {
    Run::by(Command::new(env!("CARGO_BIN_EXE_quaylab")), folder, words)
}
