//! Starting a `sh` on a host as one user, up to the point where it reads what to run.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;

use super::limits::{MOST_NOISE, excerpt};
use super::process::{Output, Process};
use super::shell_protocol::{Nonce, find, one_line};
use super::transport::Transport;
use super::{BecomeSpec, ConnectionSpec, HostError, r#become};

/// Starts programs on a host as one user.
#[derive(Debug, Clone)]
pub(super) struct Launcher {
    pub(super) spec: Arc<ConnectionSpec>,
    pub(super) transport: Arc<Transport>,
    /// `None` for the login user.
    pub(super) r#become: Option<BecomeSpec>,
    /// The host keeps input from programs: what they run is in the command line.
    pub(super) inline: bool,
}

/// The status of a program that was sent a text and could not read it.
pub(super) const NO_INPUT: i32 = 97;

/// A program that has said that it runs.
pub(super) struct Started {
    pub(super) process: Process,
    /// What it wrote right after its start, not yet seen by anyone.
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
    /// What login files printed before that.
    pub(super) noise: String,
    /// The process that runs the text.
    pub(super) pid: u32,
    /// How it ended, where it has ended already.
    pub(super) status: Option<i32>,
    /// What it says on standard error where it could not read what it was sent.
    pub(super) deaf: Vec<u8>,
}

/// What has been read of one stream up to the greeting.
#[derive(Default)]
struct Greeting {
    seen: Vec<u8>,
    /// No mark starts before this.
    scanned: usize,
    /// The greeting's words and what followed it.
    done: Option<(String, Vec<u8>)>,
}

impl Greeting {
    /// How many bytes have followed it.
    fn after(&self) -> usize {
        self.done.as_ref().map_or(0, |(_, rest)| rest.len())
    }

    fn feed(&mut self, bytes: &[u8], mark: &[u8]) {
        if let Some((_, rest)) = &mut self.done {
            rest.extend_from_slice(bytes);
            return;
        }
        self.seen.extend_from_slice(bytes);
        let Some(at) = find(&self.seen, mark, self.scanned) else {
            self.scanned = self.seen.len().saturating_sub(mark.len() - 1);
            return;
        };
        self.scanned = at;
        let after = at + mark.len();
        let Some(length) = self.seen.iter().skip(after).position(|&b| b == b'\n') else { return };
        let words =
            String::from_utf8_lossy(self.seen.get(after..after + length).unwrap_or_default()).into_owned();
        let rest = self.seen.split_off(after + length + 1);
        self.seen.truncate(at);
        self.done = Some((words, rest));
    }
}

impl Launcher {
    /// Starts `sh` as the user and has it evaluate `text`, whose standard input is what is written afterwards.
    pub(super) async fn start(&self, text: &str) -> Result<Started, HostError> {
        let limit = self.spec.login_timeout();
        let timeout = || match &self.r#become {
            // Another user's shell may wait for what only that user's login needs.
            Some(spec) => HostError::Timeout {
                host: self.spec.name.clone(),
                what: format!("starting a shell as {}", spec.user),
                seconds: limit.as_secs(),
            },
            None => self.no_shell(format!("no shell said within {} s that it runs", limit.as_secs())),
        };
        tokio::time::timeout(limit, self.greet(text)).await.map_err(|_| timeout())?
    }

    async fn greet(&self, text: &str) -> Result<Started, HostError> {
        // The marks show in the process list, so they are not the ones that frame replies.
        let mark = Nonce::random();
        let prompt = Nonce::random();
        // `read` takes its input byte by byte, so that all after the first line is left to the text.
        let line = one_line(text);
        let run = if self.inline {
            line.trim_end().to_owned()
        } else {
            // No program of the host knows the mark, so that nothing else can say this.
            format!(
                "if IFS= read -r quaylab;then eval \"$quaylab\";else echo {0} {0} >&2;exit {NO_INPUT};fi",
                mark.as_str()
            )
        };
        let inner = format!("echo {0} $$;echo {0} >&2;{run}", mark.as_str());
        let command = r#become::command_line(self.r#become.as_ref(), &inner, prompt.as_str());
        let mut process = self.transport.start(&self.spec, &command).await?;
        let password = self.r#become.as_ref().and_then(|b| b.password.as_ref());
        if password.is_none() && !self.inline {
            // Nobody but the shell can read it, so there is no need to wait for the greeting.
            self.write(&mut process, line.as_bytes()).await;
        }
        let deaf = format!("{0} {0}\n", mark.as_str()).into_bytes();
        let mark = mark.as_str().as_bytes();
        let (mut stdout, mut stderr) = (Greeting::default(), Greeting::default());
        let mut status = None;
        let mut answered = 0;
        let (pid, stdout, stderr, noise) = loop {
            match process.output.recv().await {
                Some(Output::Stdout(bytes)) => stdout.feed(&bytes, mark),
                Some(Output::Stderr(bytes)) => stderr.feed(&bytes, mark),
                Some(Output::Exit(code)) => status = Some(code),
                None => return Err(self.ended(status, &stderr.seen, answered > 0)),
            }
            // What follows a greeting on one stream waits for that on the other.
            if stdout.seen.len() + stderr.seen.len() > MOST_NOISE
                || stdout.after() + stderr.after() > self.spec.limits.reply
            {
                return Err(self.no_shell(format!(
                    "it printed more than {} MiB, and no shell said that it runs",
                    MOST_NOISE >> 20
                )));
            }
            if let (Some(spec), None) = (&self.r#become, &stderr.done)
                && r#become::asks_password(spec, &stderr.seen, prompt.as_str())
            {
                match password {
                    Some(password) if answered == 0 => {
                        let mut text = password.0.clone().into_bytes();
                        text.push(b'\n');
                        self.write(&mut process, &text).await;
                        stderr = Greeting::default();
                        answered += 1;
                    }
                    _ => return Err(self.ended(status, b"", true)),
                }
            }
            if let (Some(_), Some(_)) = (&stdout.done, &stderr.done)
                && let (Some((words, out)), Some((_, err))) = (stdout.done.take(), stderr.done.take())
            {
                let mut noise = String::from_utf8_lossy(&stdout.seen).into_owned();
                // What asked for the password stands there as well.
                if self.r#become.is_none() {
                    noise.push_str(&String::from_utf8_lossy(&stderr.seen));
                }
                let Some(pid) = words.trim().parse().ok().filter(|pid| *pid > 1) else {
                    let words = excerpt(words.as_bytes());
                    return Err(self.no_shell(format!("its shell says that its number is `{words}`")));
                };
                break (pid, out, err, noise);
            }
        };
        if password.is_some() && !self.inline {
            self.write(&mut process, line.as_bytes()).await;
        }
        Ok(Started { process, stdout, stderr, noise, pid, status, deaf })
    }

    /// What answers there is no shell.
    fn no_shell(&self, reason: String) -> HostError {
        let hint = "quaylab needs a login shell that runs commands, and /bin/sh: look at what `ssh HOST /bin/sh` does";
        HostError::Unreachable { host: self.spec.name.clone(), reason, hint: Some(hint.to_owned()) }
    }

    /// A program that has ended cannot be written to; its end is reported by its output.
    async fn write(&self, process: &mut Process, bytes: &[u8]) {
        if let Some(stdin) = &mut process.stdin {
            let _ = stdin.write_all(bytes).await;
            let _ = stdin.flush().await;
        }
    }

    fn ended(&self, status: Option<i32>, stderr: &[u8], prompted: bool) -> HostError {
        let host = &self.spec.name;
        let stderr = excerpt(stderr);
        match (&self.r#become, status) {
            (Some(spec), Some(code)) => r#become::refusal(host, spec, code, &stderr, prompted),
            (Some(spec), None) if prompted => r#become::refusal(host, spec, 1, &stderr, true),
            (None, Some(code)) => HostError::Unreachable {
                host: host.clone(),
                reason: format!("/bin/sh ended at once with status {code}: {stderr}"),
                hint: Some("quaylab needs a login shell that runs commands, and /bin/sh".to_owned()),
            },
            (_, None) => HostError::Lost {
                host: host.clone(),
                reason: "it closed while a shell was started".to_owned(),
            },
        }
    }
}
