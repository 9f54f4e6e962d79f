//! What `redhat_subscription` and `rhsm_repository` share: calling subscription-manager, with secrets or without.

use crate::host::{Script, quote};

/// Messages are read, so they must be English.
pub(super) const FIND: &str = "has subscription-manager || { echo 'this host has no subscription-manager; only RHEL needs it' >&2; exit 127; }\n";

/// The status with which `secretly` says that it found no way to keep a secret.
pub(super) const NO_WAY: i32 = 97;

/// A call whose arguments no process list shows.
///
/// subscription-manager takes passwords and activation keys as arguments only, and asks for them only on a
/// terminal. It is itself a Python program, so its own interpreter runs it with arguments read from standard input.
pub(super) fn secretly(arguments: &[String]) -> Script {
    const RUN: &str = "import json, runpy, sys
words = json.load(sys.stdin)
if sys.version_info[0] == 2:
    words = [w.encode(\"utf-8\") for w in words]
sys.argv = [sys.argv[1]] + words
runpy.run_path(sys.argv[0], run_name=\"__main__\")";
    let text = format!(
        "LC_ALL=C; export LC_ALL
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
cd / || exit 1
# On RHEL 7 the one in /usr/bin is a helper that asks for root's password; the program itself is in /usr/sbin.
program=
oldifs=$IFS; IFS=:
for d in $PATH; do
  [ -x \"$d/subscription-manager\" ] || continue
  read -r first <\"$d/subscription-manager\" 2>/dev/null
  case $first in '#!'*python*) program=$d/subscription-manager; break;; esac
done
IFS=$oldifs
[ -n \"$program\" ] || exit {NO_WAY}
interpreter=${{first#??}}
$interpreter -c {run} \"$program\"",
        run = quote(RUN)
    );
    let words = serde_json::Value::from(arguments.to_vec()).to_string();
    Script::new(text).stdin(words)
}

/// A text with every secret taken out.
pub(super) fn redacted(text: &str, secrets: &[&str]) -> String {
    secrets.iter().filter(|s| !s.is_empty()).fold(text.to_owned(), |t, s| t.replace(s, "********"))
}

/// The `Key: value` lines of subscription-manager's lists with this key.
pub(super) fn values<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |l| l.trim().strip_prefix(key)?.strip_prefix(':')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_travel_by_standard_input_only() {
        let script = secretly(&["register".into(), "--password".into(), "s3cret\"'x".into()]);
        assert!(!script.text.contains("s3cret"));
        assert_eq!(script.stdin, br#"["register","--password","s3cret\"'x"]"#);
    }

    #[test]
    fn texts_are_redacted() {
        assert_eq!(redacted("bad password s3cret!", &["s3cret", ""]), "bad password ********!");
    }

    #[test]
    fn lists_are_read() {
        let text = "+---+\nPool ID:   abc\nQuantity: 1\n\nPool ID: def\n";
        assert_eq!(values(text, "Pool ID").collect::<Vec<_>>(), ["abc", "def"]);
    }
}
