use serde::Deserialize;

/// Reads cloud-init's own files: starting its Python on every look would slow down what is waited for.
pub(super) const CLOUD_INIT_PROBE: &str = r"
if ! command -v cloud-init >/dev/null 2>&1; then echo absent
elif [ -e /run/cloud-init/disabled ] || [ -e /etc/cloud/cloud-init.disabled ]; then echo disabled
elif [ -e /run/cloud-init/result.json ]; then echo result; cat /run/cloud-init/result.json
else echo running; cat /run/cloud-init/status.json 2>/dev/null
fi
";

/// Which boot it is, when it began, and when cloud-init asked for the restart.
pub(super) const REBOOT_PROBE: &str = r"
cat /proc/sys/kernel/random/boot_id
echo asked $(sed -n 's/^btime //p' /proc/stat)   $(stat -c %Y /var/lib/cloud/instance/sem/config_power_state_change 2>/dev/null || echo 0)
";

/// The boot that `REBOOT_PROBE` found to be the one before the restart.
pub(super) fn boot_to_end(answer: &str) -> Option<String> {
    let mut lines = answer.lines();
    let boot = lines.next()?.trim().to_owned();
    let mut words = lines.next()?.strip_prefix("asked ")?.split_whitespace();
    let (began, asked): (u64, u64) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    // Not asked yet, or asked during this boot: it is still to come.
    (asked == 0 || asked >= began).then_some(boot)
}

/// What the guest's cloud-init says of itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CloudInit {
    Absent,
    Disabled,
    /// Its present stage.
    Running(String),
    Done,
    Failed(Vec<String>),
}

#[derive(Debug, Deserialize)]
struct CloudInitFile {
    v1: serde_json::Map<String, serde_json::Value>,
}

impl CloudInit {
    pub(super) fn read(text: &str) -> Self {
        let (word, json) = text.split_once('\n').unwrap_or((text, ""));
        // A file that is being written is not JSON yet: the next look reads it.
        let file: Option<CloudInitFile> = serde_json::from_str(json).ok();
        let errors: Vec<String> = file.iter().flat_map(|f| errors_in(&f.v1)).collect();
        match word.trim() {
            "absent" => Self::Absent,
            "disabled" => Self::Disabled,
            _ if !errors.is_empty() => Self::Failed(errors),
            "result" if file.is_some() => Self::Done,
            _ => {
                let stage = file.as_ref().and_then(|f| f.v1.get("stage")).and_then(|s| s.as_str());
                Self::Running(stage.map_or_else(|| "not started".to_owned(), |s| format!("stage {s}")))
            }
        }
    }
}

/// `errors` of the whole, and of each stage.
fn errors_in(v1: &serde_json::Map<String, serde_json::Value>) -> Vec<String> {
    let own = v1.get("errors").into_iter();
    let stages = v1.values().filter_map(|stage| stage.get("errors"));
    own.chain(stages).filter_map(|e| e.as_array()).flatten().map(crate::value::plain).collect()
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cloud_inits_files_are_understood() {
        for (text, expected) in [
            ("absent\n", CloudInit::Absent),
            ("disabled\n", CloudInit::Disabled),
            ("result\n{\"v1\": {\"datasource\": \"DataSourceNoCloud\", \"errors\": []}}", CloudInit::Done),
            ("result\n{\"v1\": {\"errors\": [\"boom\"]}}", CloudInit::Failed(vec!["boom".into()])),
            ("result\n{\"v1\": {\"err", CloudInit::Running("not started".into())),
            (
                "running\n{\"v1\": {\"stage\": \"init\", \"init\": {\"errors\": []}}}",
                CloudInit::Running("stage init".into()),
            ),
            (
                "running\n{\"v1\": {\"stage\": \"modules-final\", \"init\": {\"errors\": [\"bad seed\"]}}}",
                CloudInit::Failed(vec!["bad seed".into()]),
            ),
            ("running\n", CloudInit::Running("not started".into())),
        ] {
            assert_eq!(CloudInit::read(text), expected, "{text}");
        }
    }

    #[test]
    fn a_restart_is_waited_for_once() {
        for (answer, boot) in [
            ("b-1\n", None),
            ("b-1\nasked 1000 1060\n", Some("b-1")),
            ("b-1\nasked 1000 0\n", Some("b-1")),
            ("b-2\nasked 2000 1060\n", None),
            ("", None),
        ] {
            assert_eq!(boot_to_end(answer).as_deref(), boot, "{answer:?}");
        }
    }
}
