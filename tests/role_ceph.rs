//! The role `ceph` on a host with systemd that has no Ceph yet: foreseen, brought up from Debian's packages, left alone the
//! second time, told what is wrong; and a Quay (a stand-in, `tests/standins/quay`) that keeps its images in its bucket. Ceph and its
//! gateway are real.

#![expect(clippy::print_stderr, reason = "a long test says where it stands")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lab::images::{of_services, of_standin};
use lab::nspawn::{Lab, Tree, files_of};
use lab::run::Run;
use lab::site::Site;
use lab::skipped;

mod lab {
    pub(crate) mod images;
    pub(crate) mod nspawn;
    pub(crate) mod run;
    pub(crate) mod site;

    /// Says why a test was not run here.
    pub(crate) fn skipped(reason: &str) {
        eprintln!("skipped: {reason}");
    }
}

const TREE: Tree = ("docker", "bookworm");
const HOST: (&str, &str) = ("storage.lab.test", "10.77.0.9");

#[test]
fn a_node_of_ceph_is_brought_up_and_left_alone() {
    let Some(lab) = Lab::start(TREE, &[HOST]) else { return };
    let Some(variables) = variables() else { return };
    if let Err(reason) = offer_packages(&lab) {
        return skipped(&format!("the packages of Ceph cannot be had: {reason}"));
    }
    let site = Site::new(&lab, &format!("{} ansible_host={}\n", HOST.0, HOST.1), &variables);

    let foreseen = ceph(&site, &["--check"]);
    foreseen.succeeded();
    assert_eq!(site.on(HOST, "ls -d /etc/ceph /var/lib/ceph 2>/dev/null || echo none"), "none");

    let first = ceph(&site, &["-vvvv", "--diff"]);
    first.succeeded();
    assert_eq!(
        foreseen.count(HOST.0, "changed"),
        first.count(HOST.0, "changed"),
        "{}\n{}",
        foreseen.text,
        first.text
    );
    for (command, expected) in [
        ("radosgw-admin bucket stats --bucket=quay_storage | grep -c '\"owner\": \"quay\"'", "1"),
        (
            "radosgw-admin lc get --bucket=quay_storage | grep -o '\"id\": \"abandoned\"' | uniq",
            "\"id\": \"abandoned\"",
        ),
        ("systemctl is-enabled ceph-mon@storage ceph-osd@0 ceph-radosgw@rgw.storage | uniq", "enabled"),
        (
            "stat -c '%a %U' /etc/ceph/ceph.client.admin.keyring /var/lib/ceph/osd/ceph-0/keyring",
            "600 root\n600 ceph",
        ),
    ] {
        assert_eq!(site.on(HOST, command), expected, "{command}");
    }

    for options in [&["-vvvv", "--diff"][..], &["--check"]] {
        let second = ceph(&site, options);
        second.succeeded();
        assert_eq!(second.count(HOST.0, "changed"), 0, "{}", second.text);
    }

    let mut told = quay_keeps_its_images_there(&site);
    let keys = keys_of_quay(&site);
    told.extend(what_is_wrong_is_told_and_mended(&site, &keys));

    // Keys are made anew on request only, and Quay goes on with the new ones.
    let rotated = site.run(&["-e", "ceph_rgw_user_rotate=true"]);
    rotated.succeeded();
    rotated.says(&["the same image"]);
    let new = keys_of_quay(&site);
    assert!(new.0 != keys.0 && new.1 != keys.1);

    let mut texts = vec![&first, &rotated];
    texts.extend(&told);
    for secret in [&keys.1, &new.1] {
        for run in &texts {
            assert!(!run.text.contains(secret.as_str()), "a secret key is shown");
        }
        let found = site
            .on(HOST, &format!("grep -rlF {secret} /etc /var/log /tmp /root /run /srv 2>/dev/null; true"));
        let needless: Vec<&str> =
            found.lines().filter(|file| *file != "/srv/quay/config/config.yaml").collect();
        assert!(needless.is_empty(), "a secret key is in files that need none: {needless:?}");
    }
}

/// A whole lab whose Quay (a stand-in) keeps its images in the bucket: pushed to and pulled from, left alone the second time.
fn quay_keeps_its_images_there(site: &Site) -> Vec<Run> {
    let first = site.run(&["-vvvv", "--diff"]);
    first.succeeded();
    first.says(&["push", "the same image", "wrote, read and removed an object"]);
    let written = site.on(HOST, "cat /srv/quay/config/config.yaml");
    let config: serde_json::Value = serde_yaml::from_str(&written).expect("YAML");
    let (access_key, secret_key) = keys_of_quay(site);
    assert_eq!(
        config["DISTRIBUTED_STORAGE_CONFIG"]["default"],
        serde_json::json!(["RadosGWStorage", {
            "hostname": HOST.1, "port": 7480, "is_secure": false, "access_key": access_key, "secret_key": secret_key,
            "bucket_name": "quay_storage", "storage_path": "/datastorage/registry", "maximum_chunk_size_mb": 100,
            "server_side_assembly": true
        }])
    );
    // What was pushed is in the bucket, and not on the host's disk.
    let held = site.on(HOST, "radosgw-admin bucket list --bucket=quay_storage --max-entries=1000");
    assert!(held.matches("\"datastorage/registry/sha256/").count() >= 2, "{held}");
    assert_eq!(site.on(HOST, "find /srv/quay/storage -type f"), "");
    let second = site.run(&["-vvvv", "--diff"]);
    second.succeeded();
    assert_eq!(second.count(HOST.0, "changed"), 0, "{}", second.text);

    site.write("wrong.yml", "{quay_s3_secret_key: wrong, quay_s3_make_bucket: false}");
    let wrong = site.run(&["--tags", "registry", "-e", "@wrong.yml"]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.text);
    wrong.says(&[
        "what Quay's configuration names does not serve it",
        &format!("the storage at http://{}:7480 refused the secret key of {access_key}", HOST.1),
        "copy the user's secret key anew",
    ]);
    vec![first, second, wrong]
}

/// Each with its cause and what to try; a run after the cause is mended comes through.
fn what_is_wrong_is_told_and_mended(site: &Site, keys: &(String, String)) -> Vec<Run> {
    let external = |secret: &str, more: &str| {
        format!(
            "{{ceph_managed: false, ceph_rgw_host: {}, ceph_access_key: {}, ceph_secret_key: {secret}{more}}}",
            HOST.1, keys.0
        )
    };
    // Out of sight of whoever looks at the processes.
    site.write("keys.yml", &external(&keys.1, ""));
    let served = ceph(site, &["-e", "@keys.yml"]);
    served.succeeded();
    assert_eq!(served.count(HOST.0, "changed"), 0, "{}", served.text);

    site.on(HOST, "radosgw-admin user create --uid=ann --display-name=Ann >/dev/null && radosgw-admin bucket link --bucket=quay_storage --uid=ann");
    let (wrong_key, closed) = (external("wrong", ""), external("wrong", ", ceph_rgw_port: 7481"));
    let cases: [(&str, &[&str]); 4] = [
        (
            "ceph_user=quay",
            &[
                "the bucket quay_storage of the gateway at http://127.0.0.1:7480, as storage.lab.test reaches it",
                "belongs to somebody else than",
                "it is ann's. Choose another name (ceph_bucket)",
                "radosgw-admin bucket link --bucket=quay_storage --uid=quay",
            ],
        ),
        (
            "ceph_rgw_port=22",
            &["port 22 on storage.lab.test is taken by sshd", "Give the gateway another one"],
        ),
        (&wrong_key, &["refused the secret key of", "must be those of the owner of ceph_bucket"]),
        (&closed, &["no gateway serves at http://10.77.0.9:7481", "does a firewall let this host in"]),
    ];
    let mut told: Vec<Run> = cases
        .into_iter()
        .map(|(variables, said)| {
            let run = ceph(site, &["-e", variables]);
            assert_eq!(run.code, Some(2), "{variables}: {}", run.text);
            run.says(said);
            run
        })
        .collect();

    site.on(
        HOST,
        "radosgw-admin bucket link --bucket=quay_storage --uid=quay; systemctl stop ceph-radosgw@rgw.storage",
    );
    let mended = ceph(site, &[]);
    mended.succeeded();
    assert_eq!(mended.count(HOST.0, "changed"), 1, "{}", mended.text);
    told.extend([served, mended]);
    told
}

/// The host has no network: what it may install lies on its own disk. Compiling the packages' Python files ahead is left out.
fn offer_packages(lab: &Lab) -> Result<(), String> {
    let tree = files_of(TREE)?;
    let made = Command::new(script("ceph-packages.sh")).arg(tree).stdin(Stdio::null()).output();
    let made = made.map_err(|e| e.to_string())?;
    if !made.status.success() {
        return Err(String::from_utf8_lossy(&made.stderr).trim().replace('\n', "; "));
    }
    let said = String::from_utf8_lossy(&made.stdout).into_owned();
    let packages = said.lines().last().unwrap_or_default();
    let copied =
        lab.inside("cp").arg("-r").arg(packages).arg(lab.files(HOST.0).join("root/srv/packages")).status();
    assert!(copied.expect("cp").success(), "cp");
    let done = lab.on(
        HOST.1,
        "rm -f /etc/apt/sources.list.d/* && echo 'deb [trusted=yes] file:/srv/packages ./' >/etc/apt/sources.list && \
         apt-get -q update && echo force-unsafe-io >/etc/dpkg/dpkg.cfg.d/lab && \
         dpkg-divert --quiet --local --rename --add /usr/bin/py3compile && ln -s /bin/true /usr/bin/py3compile",
    );
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab").join(name)
}

/// What the inventory says of the host; `None`, with the reason printed, where the images cannot be made.
fn variables() -> Option<String> {
    let images = [of_services()?, of_standin("quay", 3)?].concat();
    // A monitor wants a disk that is nearly empty otherwise, which the machine of a test need not have.
    Some(format!(
        "{images}\
         quay_storage=rgw\n\
         ceph_bucket=quay_storage\n\
         ceph_user_quota=2g\n\
         ceph_bucket_lifecycle=[{{'rule_id': 'abandoned', 'abort_incomplete_multipart_upload_days': 7}}]\n\
         registry=quay\n\
         quay_config_path=/srv/quay/config\n\
         quay_config_target=/conf/stack\n\
         verify_guests=['{}']\n\
         ceph_osd_size=4G\n\
         ceph_config={{'mon data avail warn': 1, 'mon data avail crit': 1}}\n",
        HOST.0
    ))
}

/// The product's own playbook, as far as it concerns Ceph.
fn ceph(site: &Site, options: &[&str]) -> Run {
    site.run(&[&["--tags", "ceph"], options].concat())
}

/// The keys of Quay's user, as Ceph has them.
fn keys_of_quay(site: &Site) -> (String, String) {
    let said = site.on(HOST, "radosgw-admin user info --uid=quay");
    let user: serde_json::Value = serde_json::from_str(&said).expect("a user");
    let part = |name: &str| user["keys"][0][name].as_str().expect("a key").to_owned();
    assert_eq!(user["keys"].as_array().map(Vec::len), Some(1), "{said}");
    (part("access_key"), part("secret_key"))
}
