//! What went wrong, told at the end of a program, under whichever name it runs.

use std::process::ExitCode;

use super::app::EXIT_INPUT;
use super::program::Program;
use super::tell;
use crate::bundle::BundleError;
use crate::diag::Diagnostic;
use crate::lab::LabError;
use crate::lab::private::PrivateError;
use crate::quay::QuayError;
use crate::vault::VaultError;

/// An error as a person reads it.
struct Told {
    text: String,
    /// What to try, where the text does not say it.
    hint: Option<String>,
    fault: Fault,
}

/// Whose fault it is, for the exit code.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Something is written wrongly, at a place that is known.
    Written,
    /// Something that was given is wrong.
    Input,
    /// Somebody who was asked did not do it.
    Refused,
    /// Somebody who was asked did not answer.
    Silent,
    Other,
}

impl Told {
    fn of(error: &anyhow::Error) -> Self {
        if let Some(diagnostic) = error.downcast_ref::<Diagnostic>() {
            let fault = if diagnostic.origin.is_some() { Fault::Written } else { Fault::Input };
            return Self { text: diagnostic.to_string(), hint: None, fault };
        }
        if let Some(bundle) = error.downcast_ref::<BundleError>() {
            let fault = if bundle.is_input() { Fault::Input } else { Fault::Other };
            // Its text names its cause already.
            return Self { text: bundle.to_string(), hint: bundle.hint(), fault };
        }
        if let Some(quay) = error.downcast_ref::<QuayError>() {
            let silent = matches!(quay, QuayError::Unreachable { .. } | QuayError::Starting);
            let fault = if silent { Fault::Silent } else { Fault::Refused };
            return Self { text: quay.to_string(), hint: Some(quay.hint().into()), fault };
        }
        let vault = error.downcast_ref::<VaultError>();
        let hint = vault
            .and_then(VaultError::hint)
            .map(Into::into)
            .or_else(|| error.downcast_ref::<PrivateError>()?.hint())
            .or_else(|| error.downcast_ref::<LabError>()?.hint());
        let fault = if vault.is_some() { Fault::Input } else { Fault::Other };
        Self { text: format!("{error:#}"), hint, fault }
    }
}

/// Tells an error with its hint; the exit code is Ansible's where the program has the name of one of Ansible's.
pub(super) fn report(error: &anyhow::Error, program: Program) -> ExitCode {
    let told = Told::of(error);
    let word = if program == Program::Quaylab { "error" } else { "[ERROR]" };
    tell(&format!("{word}: {}", told.text));
    if let Some(hint) = told.hint {
        tell(&format!("  hint: {hint}"));
    }
    ExitCode::from(match (program, told.fault) {
        (Program::Quaylab, Fault::Written | Fault::Input) => EXIT_INPUT,
        (_, Fault::Other | Fault::Input) => 1,
        (_, Fault::Refused) => 2,
        // Who does not answer; and what cannot be read, for which ansible-playbook gives 4 too.
        (_, Fault::Silent | Fault::Written) => 4,
    })
}
