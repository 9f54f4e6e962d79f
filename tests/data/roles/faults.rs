//! A run of the roles that is killed, or whose connections are cut: the next one brings the host to its end, and nothing is left.
//!
//! `make faults` runs these; they take too long for every day.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::lab::nspawn::Lab;
use super::lab::site::Site;
use super::{EMBEDDED, TREE, variables};

const KILLS: u32 = 30;
/// A host is thrown away after so many breaks, so that the early tasks have their share of them.
const BREAKS_A_HOST: u32 = 4;

/// A linear congruence: the same seed breaks at the same moments.
struct Chance(u64);

impl Chance {
    fn new() -> Self {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| d.as_secs());
        let seed = std::env::var("QUAYLAB_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(now);
        eprintln!("QUAYLAB_TEST_SEED={seed}");
        Self(seed | 1)
    }

    /// A share of a time.
    fn of(&mut self, whole: Duration) -> Duration {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        whole * u32::try_from((self.0 >> 33) % 1000).expect("below 1000") / 1000
    }
}

fn site<'a>(lab: &'a Lab, variables: &str) -> Site<'a> {
    // There is this one host, and no other to ask from.
    let alone = |line: &&str| !line.starts_with("verify_guests=");
    let variables = &variables.lines().filter(alone).map(|line| format!("{line}\n")).collect::<String>();
    Site::new(lab, &format!("{} ansible_host={} registry=embedded\n", EMBEDDED.0, EMBEDDED.1), variables)
}

fn started(lab: &Lab, site: &Site, out: Stdio) -> Child {
    let folder = site.folder.path();
    // `nsenter` becomes the program, so that a kill is the program's.
    lab.command(env!("CARGO_BIN_EXE_quaylab"))
        .args(["run", "-i", "lab.inv"])
        .current_dir(folder)
        .env("HOME", folder)
        .env("XDG_STATE_HOME", folder.join("state"))
        .env_remove("QUAYLAB_CONFIG")
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(Stdio::null())
        .spawn()
        .expect("quaylab")
}

/// The next run comes to its end, the one after it changes nothing, and no temporary file of ours is left.
fn converges(site: &Site, at: &str) {
    let mended = site.run(&[]);
    assert_eq!(mended.code, Some(0), "{at}\n{}", mended.text);
    let again = site.run(&[]);
    assert_eq!(again.code, Some(0), "{at}\n{}", again.text);
    assert_eq!(again.count(EMBEDDED.0, "changed"), 0, "{at}\n{}", again.text);
    let left = site.on(
        EMBEDDED,
        "find / -xdev \\( -path /proc -o -path /var/lib/docker \\) -prune -o -name '*quaylab*' -newer /etc/hostname \\( -path '/tmp/*' -o -path '/var/tmp/*' -o -name '.quaylab.*' -o -name '*.quaylab-*' \\) -print; true",
    );
    assert_eq!(left, "", "{at}: left behind");
    let running = site.on(EMBEDDED, "pgrep -fa '[q]uaylab-probe' || true");
    assert_eq!(running, "", "{at}: still running");
}

#[test]
#[ignore = "a quarter of an hour; make faults runs it"]
fn killed_at_any_moment_the_roles_of_a_host_converge() {
    let Some(variables) = variables() else { return };
    let mut chance = Chance::new();
    let mut whole = Duration::ZERO;
    let (mut kills, mut hosts) = (0, 0);
    while kills < KILLS {
        let Some(lab) = Lab::start(TREE, &[EMBEDDED]) else { return };
        let site = site(&lab, &variables);
        hosts += 1;
        if whole.is_zero() {
            let since = Instant::now();
            converges(&site, "undisturbed");
            whole = since.elapsed();
            continue;
        }
        for _ in 0..BREAKS_A_HOST {
            let after = chance.of(whole);
            let mut child = started(&lab, &site, Stdio::null());
            std::thread::sleep(after);
            let over = child.try_wait().expect("its status").is_some();
            child.kill().expect("killed");
            child.wait().expect("ended");
            eprintln!(
                "kill {kills}: after {after:.1?} of {whole:.1?}, {}",
                if over { "it was over" } else { "broken off" }
            );
            if over {
                break;
            }
            kills += 1;
        }
        converges(&site, &format!("host {hosts}, after kill {kills}"));
    }
    eprintln!("{kills} kills on {hosts} hosts: each converged, nothing was left");
}

#[test]
#[ignore = "a quarter of an hour; make faults runs it"]
fn cut_at_each_task_the_roles_of_a_host_converge() {
    let Some(variables) = variables() else { return };
    let Some(lab) = Lab::start(TREE, &[EMBEDDED]) else { return };
    let site = site(&lab, &variables);
    let mut cuts = 0;
    loop {
        let mut child = started(&lab, &site, Stdio::piped());
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let mut seen = 0;
        for line in lines.map_while(Result::ok) {
            seen += u32::from(line.starts_with("TASK ["));
            if line.starts_with("TASK [") && seen == cuts + 1 {
                // Every session of the login, not the listening sshd.
                let done = lab.on(EMBEDDED.1, "pkill -KILL -f '^sshd: debian'; true");
                assert!(done.status.success(), "{done:?}");
            }
        }
        let status = child.wait().expect("ended");
        assert!(matches!(status.code(), Some(0 | 2 | 4)), "cut at task {}: it ended with {status}", cuts + 1);
        cuts += 1;
        if seen < cuts {
            break;
        }
    }
    converges(&site, &format!("after {cuts} cuts"));
    eprintln!("cut at each of {} tasks: it converged, nothing was left", cuts - 1);
}
