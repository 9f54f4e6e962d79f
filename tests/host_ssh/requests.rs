//! Requests: what goes in and out of a shell.

use std::time::{Duration, Instant};

use quaylab::host::{HostError, Script, Target};

use crate::lab::sshd::Sshd;
use crate::{both, local, out};

#[tokio::test]
async fn requests_do_not_touch_each_other() {
    both(async |shell| {
        let reply = shell
            .run(&Script::new("echo out; echo err >&2; x=1; cd /; set -e; trap 'echo bye' EXIT; exit 3"))
            .await
            .unwrap();
        assert_eq!((reply.out().as_ref(), reply.err().as_ref(), reply.status), ("out\nbye\n", "err\n", 3));
        for broken in [
            "echo 'unbalanced",
            "if",
            "echo $(",
            "cat <<E",
            "}",
            ")",
            "exec false",
            "kill -9 $(sh -c 'echo $PPID')",
        ] {
            let _ = shell.run(&Script::new(broken)).await.unwrap();
        }
        let reply = shell.run(&Script::new("echo \"[$x]\"; cat").stdin("in")).await.unwrap();
        assert_eq!(reply.out(), "[]\nin");
        assert_eq!(out(&shell, "cat").await, "");
        let mut script = Script::new("printf %s \"$A_B\"");
        script.environment.push(("A_B".to_owned(), "it's\n$HOME".to_owned()));
        assert_eq!(shell.run(&script).await.unwrap().out(), "it's\n$HOME");
        assert_eq!(out(&shell, "echo \"$A_B\"").await, "");
    })
    .await;
}

#[tokio::test]
async fn bytes_come_back_as_they_are() {
    both(async |shell| {
        let all: Vec<u8> = (0..=255).cycle().take(70_000).collect();
        for size in [1, 256, 20_000, 65_536, 70_000] {
            let input = &all[..size];
            let reply = shell.run(&Script::new("tee /dev/stderr").stdin(input)).await.unwrap();
            assert!(reply.stdout == input && reply.stderr == input, "{size}");
        }
        let big = vec![b'x'; 8 << 20];
        assert_eq!(shell.run(&Script::new("cat").stdin(big.clone())).await.unwrap().stdout, big);
        let reply = shell.run(&Script::new("head -c 8388608 /dev/zero")).await.unwrap();
        assert_eq!(reply.stdout, vec![0; 8 << 20]);
        // A program that does not read its input is no error.
        let reply = shell.pipe(&Script::new("exit 4"), &mut big.as_slice()).await.unwrap();
        assert_eq!(reply.status, 4);
        // No status says anything but what the program says.
        let reply = shell.pipe(&Script::new("exit 97"), &mut big.as_slice()).await.unwrap();
        assert_eq!(reply.status, 97);
    })
    .await;
}

#[tokio::test]
async fn requests_in_flight_are_answered_in_order() {
    both(async |shell| {
        let scripts: Vec<Script> = (0..200).map(|n| Script::new(format!("echo {n}"))).collect();
        let replies = futures_util::future::join_all(scripts.iter().map(|s| shell.run(s))).await;
        for (n, reply) in replies.into_iter().enumerate() {
            assert_eq!(reply.unwrap().out().trim(), n.to_string());
        }
        // A request whose future is dropped drains.
        let slow = Script::new("sleep 0.3; echo lost");
        assert!(tokio::time::timeout(Duration::from_millis(50), shell.run(&slow)).await.is_err());
        assert_eq!(out(&shell, "echo next").await, "next");
    })
    .await;
}

#[tokio::test]
async fn many_streams_share_the_sessions_that_sshd_allows() {
    both(async |shell| {
        let script = Script::new("cat");
        let replies = futures_util::future::join_all((0..25).map(async |n: u8| {
            let data = vec![n; 100_000];
            shell.pipe(&script, &mut data.as_slice()).await.map(|reply| reply.stdout == data)
        }))
        .await;
        assert!(replies.into_iter().all(Result::unwrap));
    })
    .await;
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_killed_and_the_shell_lives() {
    Box::pin(both(async |shell| {
        let before = out(&shell, "echo $$").await;
        let mut script = Script::new("sleep 4321 & sleep 4321; echo no");
        script.timeout = Some(Duration::from_millis(300));
        let (slow, next) = (shell.run(&script), Script::new("echo $$"));
        let (slow, next) = tokio::join!(slow, shell.run(&next));
        assert!(matches!(slow, Err(HostError::Timeout { .. })), "{slow:?}");
        assert_eq!(next.unwrap().out().trim(), before);
        let error = shell.pipe(&script, &mut tokio::io::empty()).await.unwrap_err();
        assert!(matches!(error, HostError::Timeout { .. }), "{error}");
        assert_eq!(out(&shell, "pgrep -fx 'sleep 4321' || :").await, "");
    }))
    .await;
}

#[tokio::test]
async fn what_is_ended_may_tidy_up_but_not_go_on() {
    both(async |shell| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a").display().to_string();
        let tidy = format!("trap 'rm -f {file}' EXIT; trap 'exit 143' TERM; : >{file}; sleep 4322");
        let deaf = "trap '' TERM; sleep 4322; sleep 4322".to_owned();
        for (text, piped) in [(&tidy, false), (&tidy, true), (&deaf, false), (&deaf, true)] {
            let mut script = Script::new(text);
            script.timeout = Some(Duration::from_millis(500));
            let ended = if piped {
                shell.pipe(&script, &mut tokio::io::empty()).await
            } else {
                shell.run(&script).await
            };
            assert!(matches!(ended, Err(HostError::Timeout { .. })), "{ended:?}");
            assert_eq!(out(&shell, "pgrep -fx 'sleep 4322' || :").await, "");
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    })
    .await;
}

#[tokio::test]
async fn a_lost_connection_is_opened_again() {
    let Some(sshd) = Sshd::start("") else { return };
    let target = Target::new(sshd.spec());
    let shell = target.shell(None);
    out(&shell, ":").await;
    // The shell's parent is the connection's sshd.
    let error = shell.run(&Script::new("kill -KILL $PPID; sleep 5")).await.unwrap_err();
    assert!(matches!(error, HostError::Lost { .. }), "{error}");
    assert_eq!(out(&shell, "echo again").await, "again");
    // A shell that ends itself is replaced, over the same connection.
    assert!(shell.run(&Script::new("kill -KILL $$")).await.is_err());
    assert_eq!(out(&shell, "echo again").await, "again");
    target.close().await;
    assert_eq!(out(&shell, "echo again").await, "again");
}

#[tokio::test]
async fn nothing_is_left_behind() {
    both(async |shell| {
        let mut input = tokio::io::empty();
        let slow = Script::new(sleep(8765));
        let _ = tokio::time::timeout(Duration::from_millis(1500), shell.pipe(&slow, &mut input)).await;
        let _ = tokio::time::timeout(Duration::from_millis(1500), shell.run(&Script::new(sleep(8766)))).await;
        assert!(is_running(&sleep(8766)));
        shell.target().close().await;
        let end = Instant::now() + Duration::from_secs(10);
        while is_running(&sleep(8765)) || is_running(&sleep(8766)) {
            assert!(Instant::now() < end, "it still runs");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    // Dropped without a word.
    let shell = Target::new(local()).shell(None);
    let _ = tokio::time::timeout(Duration::from_millis(500), shell.run(&Script::new(sleep(8764)))).await;
    assert!(is_running(&sleep(8764)));
    drop(shell);
    let end = Instant::now() + Duration::from_secs(10);
    while is_running(&sleep(8764)) {
        assert!(Instant::now() < end, "it still runs");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A command line of this test run only.
fn sleep(seconds: u32) -> String {
    format!("sleep {seconds}.{}", std::process::id())
}

fn is_running(command: &str) -> bool {
    std::process::Command::new("pgrep").args(["-fx", command]).output().unwrap().status.success()
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_is_ended_and_nothing_else() {
    Box::pin(both(async |shell| {
        let limited = shell.with_caller();
        let (endless, short) = (Script::new("sleep 400.01; echo x"), Script::new("sleep 1; echo short"));
        let began = Instant::now();
        let (given_up, reply) = tokio::join!(
            tokio::time::timeout(Duration::from_millis(300), limited.run(&endless)),
            shell.run(&short),
        );
        assert!(given_up.is_err());
        assert_eq!(reply.unwrap().out(), "short\n");
        assert_eq!(out(&shell, "echo next").await, "next");
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        assert_eq!(out(&shell, "grep -ls '400[.]01' /proc/[0-9]*/cmdline | wc -l").await, "0");
    }))
    .await;
}

#[tokio::test]
async fn a_probe_that_hangs_is_ended_when_somebodys_time_is_over() {
    both(async |shell| {
        assert_eq!(out(&shell, "echo first").await, "first");
        shell.send_ahead(vec![Script::new("sleep 400.02")]);
        // A probe that the shell was not sent yet is dropped by the change behind it, and would hold up nobody.
        let wait =
            "for i in $(seq 200); do grep -qs '400[.]02' /proc/[0-9]*/cmdline && break; sleep 0.02; done";
        out(&shell.apart(), wait).await;
        let (impatient, script) = (shell.with_caller(), Script::new("true"));
        assert!(tokio::time::timeout(Duration::from_millis(100), impatient.run(&script)).await.is_err());
        let began = Instant::now();
        shell.free();
        assert_eq!(out(&shell, "echo next").await, "next");
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        // It is ended while others go on.
        let gone = "for i in $(seq 500); do grep -qs '400[.]02' /proc/[0-9]*/cmdline || break; sleep 0.02; done; grep -ls '400[.]02' /proc/[0-9]*/cmdline | wc -l";
        assert_eq!(out(&shell, gone).await, "0");
    })
    .await;
}

#[tokio::test]
async fn a_reply_that_is_too_long_is_cut_off_and_its_command_ended() {
    let Some(sshd) = Sshd::start("") else { return };
    for mut spec in [local(), sshd.spec()] {
        spec.limits.reply = 1 << 20;
        let target = Target::new(spec);
        let shell = target.shell(None);
        for text in ["yes 400.03", "yes 400.03 >&2", "head -c 3000000 /dev/zero"] {
            let error = shell.run(&Script::new(text)).await.unwrap_err();
            assert!(matches!(error, HostError::TooLong { limit: 1_048_576, .. }), "{text}: {error}");
            assert!(error.hint().is_some_and(|hint| hint.contains("max_reply_size")));
        }
        assert_eq!(
            shell.run(&Script::new("head -c 1000000 /dev/zero")).await.unwrap().stdout.len(),
            1_000_000
        );
        let error = shell.pipe(&Script::new("cat"), &mut &*vec![b'x'; 3 << 20]).await.unwrap_err();
        assert!(matches!(error, HostError::TooLong { .. }), "{error}");
        target.close().await;
        let left = Target::new(local());
        assert_eq!(out(&left.shell(None), "grep -ls '400[.]03' /proc/[0-9]*/cmdline | wc -l").await, "0");
    }
}
