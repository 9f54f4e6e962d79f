//! What a container wrote last, for those who must say why it does not serve.

use bollard::Docker;
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::StreamExt;
use serde::{Deserialize, Deserializer};

use super::engine;
use crate::host::Secret;

/// How many lines of what it wrote are told.
const LINES: usize = 8;

/// What to try where a container's disk is full.
pub const FULL: &str =
    "the disk is full: df -h on the target shows which; make room there or let it grow, then run this again";

pub fn secrets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Secret>, D::Error> {
    Ok(Vec::<String>::deserialize(deserializer)?.into_iter().map(Secret).collect())
}

/// Whether a program complains that there is no room, in any of the words that the lab's services have for it.
pub fn speaks_of_a_full_disk(said: &str) -> bool {
    let said = said.to_lowercase();
    [
        "no space left on device",
        "disk full",
        "disk is full",
        "errcode: 28",
        "error number 28",
        "with error 28",
    ]
    .iter()
    .any(|words| said.contains(words))
}

/// The last lines that the container wrote since it was started last, without secrets.
pub async fn last_words(docker: &Docker, container: &str, hide: &[Secret]) -> String {
    let answer = engine::container(docker, container).await;
    let started = answer.ok().flatten().and_then(|c| c.state?.started_at);
    let since = started.and_then(|s| s.parse::<jiff::Timestamp>().ok()).map(jiff::Timestamp::as_second);
    match words_since(docker, container, hide, since).await {
        // It has only just been started again.
        none if none.is_empty() => words_since(docker, container, hide, None).await,
        some => some,
    }
}

async fn words_since(docker: &Docker, container: &str, hide: &[Secret], since: Option<i64>) -> String {
    let since = since.and_then(|s| i32::try_from(s).ok()).unwrap_or(0);
    let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail("100").since(since).build();
    let mut output = std::pin::pin!(docker.logs(container, Some(options)));
    let mut bytes = Vec::new();
    while let Some(Ok(part)) = output.next().await {
        bytes.extend_from_slice(&part.into_bytes());
    }
    last_lines(&String::from_utf8_lossy(&bytes), hide)
}

/// The end of a log as people read it: no colours, no empty or repeated lines, no secrets.
pub fn last_lines(text: &str, hide: &[Secret]) -> String {
    let colours = fancy_regex::Regex::new("\u{1b}\\[[0-9;]*[A-Za-z]");
    let text = colours.map_or_else(|_| text.to_owned(), |c| c.replace_all(text, "").into_owned());
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines().map(str::trim_end).filter(|l| !l.trim().is_empty()) {
        let hidden = hide
            .iter()
            .filter(|s| !s.0.is_empty())
            .fold(line.to_owned(), |line, secret| line.replace(&secret.0, "********"));
        // A container that is started again and again says the same each time.
        lines.retain(|l| *l != hidden);
        lines.push(hidden);
    }
    // A service's start says of everything that it is well; what is not, is what counts.
    let complaints: Vec<String> = lines.iter().filter(|l| complains(l)).cloned().collect();
    let mut lines = if complaints.is_empty() { lines } else { complaints };
    lines.split_off(lines.len().saturating_sub(LINES)).join("\n")
}

fn complains(line: &str) -> bool {
    let line = line.to_lowercase();
    ["error", "fail", "fatal", "could not", "cannot", "refused", "denied", "required", "\u{1f534}"]
        .iter()
        .any(|word| line.contains(word))
        || speaks_of_a_full_disk(&line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_known_by_each_services_words() {
        for said in [
            "initdb: error: could not write to file: No space left on device",
            "PANIC:  could not write to file \"pg_wal/xlogtemp.1\": No space left on device",
            "[ERROR] InnoDB: preallocating 100663296 bytes for file ./ib_logfile101 failed with error 28",
            "[ERROR] InnoDB: Error number 28 means 'No space left on device'",
            "mariadbd: Disk full (/tmp/#sql); waiting for someone to free some space... (errno: 28)",
            "Can't create/write to file 'x' (Errcode: 28 \"No space left on device\")",
        ] {
            assert!(speaks_of_a_full_disk(said), "{said}");
        }
        assert!(!speaks_of_a_full_disk("the disk is fine"));
    }

    #[test]
    fn the_end_of_a_log_is_short_and_holds_no_secret() {
        let log = "\u{1b}[31mcannot log in with pw1\u{1b}[0m\n\nagain\ncannot log in with pw1\n";
        let hide = [Secret("pw1".into()), Secret(String::new())];
        assert_eq!(last_lines(log, &hide), "cannot log in with ********");
        assert_eq!(last_lines("starting\nstarting\n\nended\n", &[]), "starting\nended");
        let many: String = (0..20).map(|n| format!("{n}\n")).collect();
        assert_eq!(last_lines(&many, &[]).lines().count(), LINES);
    }
}
