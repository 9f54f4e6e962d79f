use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::lab::{
    DEFAULT_URI, GIB, Hypervisor, Hypervisors, LabError, Ledger, Mark, SourceImage, VolumeFormat,
};
use crate::{Diff, ModuleError, Plan, TaskContext};

/// The libvirt URI that is meant when a task gives none.
pub(super) fn default_uri() -> String {
    DEFAULT_URI.to_owned()
}

/// The hypervisor, through the task's own connection where that leads to it.
pub(super) async fn connect(uri: &str, cx: &TaskContext) -> Result<Hypervisor, ModuleError> {
    let hypervisor = cx.run.get::<Hypervisors>().through(uri, &cx.shell).await?;
    // In check mode it is only asked: one that hangs is not waited for.
    Ok(if cx.mode.check { hypervisor.only_asked() } else { hypervisor })
}

/// What `virt_image` found out about an image.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
pub(super) struct Image {
    path: PathBuf,
    /// Missing in check mode, when the image is not there yet.
    digest: Option<String>,
    format: Option<VolumeFormat>,
    virtual_size: Option<u64>,
}

impl Image {
    pub(super) fn source(&self) -> SourceImage {
        SourceImage {
            path: self.path.clone(),
            digest: self.digest.clone().unwrap_or_else(|| "sha256:unknown".into()),
            format: self.format.unwrap_or(VolumeFormat::Qcow2),
            virtual_size: self.virtual_size.unwrap_or(GIB),
        }
    }
}

/// What this lab made on the hypervisor.
pub(super) fn ledger(hypervisor: &Hypervisor, cx: &TaskContext) -> Ledger {
    Ledger::new(hypervisor, cx.controller.state_dir(), cx.controller.lab())
}

pub(super) fn mark(cx: &TaskContext) -> Mark {
    Mark::new(cx.controller.lab())
}

/// A lab's plan as a module's.
pub(super) fn plan_of<S>(planned: Result<(Vec<S>, Option<Diff>), LabError>) -> Result<Plan<S>, ModuleError> {
    let (steps, diff) = planned?;
    Ok(Plan::new(steps, diff.into_iter().collect()))
}

/// A name that becomes part of a path, an XML document and a file name on the hypervisor.
pub(super) fn check_name(what: &str, name: &str) -> Result<(), ModuleError> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.starts_with(['.', '-']) || !name.chars().all(fine) {
        return Err(ModuleError::Arguments(format!(
            "{what} {name:?} may only hold letters, digits, dots, dashes and underscores"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_folder() {
        for (name, good) in
            [("quay-vdb.qcow2", true), ("../x", false), ("", false), ("-x", false), ("a b", false)]
        {
            assert_eq!(check_name("volume", name).is_ok(), good, "{name}");
        }
    }
}
