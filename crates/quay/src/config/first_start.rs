use super::reader::Reader;
use crate::diag::Diagnostic;
use crate::yaml::{Kind, Node};

/// Longer keys are cut by the documentation's own word.
const LONGEST_DATABASE_KEY: usize = 63;

const KEY: &str = "DATABASE_SECRET_KEY";
const SECRET: &str = "SECRET_KEY";
const DONE: &str = "SETUP_COMPLETE";

/// What Quay takes for granted and nobody means.
pub(super) fn read(reader: &mut Reader<'_>) {
    // A string is true to Quay, unless it is empty.
    let done = reader.get(DONE).is_some_and(|node| match &node.kind {
        Kind::Bool(on) => *on,
        _ => node.as_str() != Some(""),
    });
    secrets(reader, done);
    if !done {
        let said = reader.about(DONE, format!("{DONE} is not true"));
        reader.warning(
            said.note("Quay takes itself for one that is not set up yet").hint(format!("set {DONE}: true")),
        );
    }
    if reader.flag("TESTING", true) {
        let said = reader.about("TESTING", "TESTING is on, which is also Quay's default");
        reader.warning(said.hint("set TESTING: false"));
    }
    superusers(reader);
}

/// The keys that sign and encrypt.
fn secrets(reader: &mut Reader<'_>, done: bool) {
    let missing = |node: Option<&Node>| node.is_none_or(|n| n.as_str() == Some(""));
    if missing(reader.get(KEY)) {
        let hint = "a random text that never changes: Quay encrypts fields of its database with it";
        let said = reader.about(KEY, format!("{KEY} is required")).hint(hint);
        if done || reader.get(KEY).is_some() {
            reader.error(said);
        } else {
            reader.warning(said.note("Quay starts without it, and can keep no robot and no token"));
        }
    }
    if missing(reader.get(SECRET)) {
        let said = reader.about(SECRET, format!("{SECRET} is missing: Quay makes another one at each start"));
        reader.warning(
            said.note("who is logged in then is so no longer")
                .hint("a random text, the same on every node: Quay signs sessions with it"),
        );
    }
    if let Some((key, at)) = reader.text(KEY)
        && key.chars().count() > LONGEST_DATABASE_KEY
    {
        reader.warning(
            Diagnostic::new(format!("{KEY} has more than {LONGEST_DATABASE_KEY} characters"))
                .at(at)
                .hint("a shorter one is as good; but never change the key of a database that is in use"),
        );
    }
}

fn superusers(reader: &mut Reader<'_>) {
    let initialize = "FEATURE_USER_INITIALIZE";
    let nobody = match reader.get("SUPER_USERS") {
        None => true,
        Some(node) => node.as_seq().is_some_and(<[Node]>::is_empty) || node.as_str() == Some(""),
    };
    if reader.flag(initialize, false) && nobody {
        let said = reader.about(initialize, "nobody is a superuser");
        reader.warning(
            said.note("the first user that FEATURE_USER_INITIALIZE lets in would be an ordinary one")
                .hint("name it in SUPER_USERS"),
        );
    }
}
