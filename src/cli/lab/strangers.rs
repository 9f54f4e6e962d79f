//! Labs of others that have the same name: another user's, or one of another controller, on the same hypervisor.

use anyhow::Result;

use super::Lab;
use crate::diag::Diagnostic;
use crate::lab::{Doomed, Hypervisors, plan_destroy};

/// Refuses a lab that is called after its inventory's file and remembered by nobody here, where a hypervisor has something
/// of that name: whoever made that, it was not this inventory.
pub(in crate::cli) async fn refuse_anothers(
    lab: &Lab,
    uris: &[String],
    hypervisors: &Hypervisors,
) -> Result<()> {
    if lab.may_own() {
        return Ok(());
    }
    for uri in uris {
        // One that does not answer is told by what needs it.
        let Ok(hypervisor) = hypervisors.get(uri).await else { continue };
        check(lab, uri, &plan_destroy(&hypervisor, &lab.name, &lab.state_dir).await?)?;
    }
    Ok(())
}

/// The same, where it is known already what carries the lab's name there.
pub(super) fn check(lab: &Lab, uri: &str, found: &[Doomed]) -> Result<(), Diagnostic> {
    let things: Vec<String> =
        found.iter().filter(|d| !matches!(d, Doomed::State(_))).map(ToString::to_string).collect();
    if things.is_empty() || lab.may_own() {
        return Ok(());
    }
    let name = &lab.name;
    Err(Diagnostic::new(format!("{uri} has a lab {name} already, which this inventory did not make: {}", things.join(", ")))
        .note(format!(
            "nothing is remembered of it in {}: it is somebody else's, or what was remembered is lost",
            lab.state_dir.display()
        ))
        .hint(format!(
            "give this lab a name of its own with quaylab_lab in [all:vars]; quaylab_lab={name} takes the one that is there, and `quaylab destroy --lab {name}` removes it"
        )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lab_that_was_named_or_is_remembered_takes_what_is_there() {
        let home = tempfile::tempdir().expect("a folder");
        let vm = [Doomed::Vm { name: "quay".into(), running: true }];
        let state = [Doomed::State("/x".into())];
        let lab = |said: bool| Lab::for_test(home.path(), "hosts", said);
        let refused = check(&lab(false), "qemu:///system", &vm).expect_err("refused").to_string();
        assert!(refused.contains("has a lab hosts already") && refused.contains("VM quay"), "{refused}");
        assert_eq!(check(&lab(false), "u", &state), Ok(()));
        assert_eq!(check(&lab(true), "u", &vm), Ok(()));
        std::fs::create_dir_all(home.path().join("hosts/secrets")).expect("made");
        assert_eq!(check(&lab(false), "u", &vm), Ok(()));
    }
}
