use serde_json::{Value, json};

use super::mended::Fixed;
use crate::quay::config::{Checked, Finding, QuayVersion, Severity};
use crate::quay::probe::{Answer, Probed};

/// What was found, for programs to read; docs/quay.md says what each field means.
pub(super) fn of(
    file: &str,
    version: QuayVersion,
    checked: &Checked,
    fixed: Option<&Fixed>,
    probed: Option<&[Probed]>,
) -> Value {
    let mut value = judged(file, checked);
    if let Value::Object(fields) = &mut value {
        fields.insert("quay_version".into(), version.to_string().into());
        if let Some(fixed) = fixed {
            fields.insert("fixed".into(), mended(fixed));
        }
        if let Some(probed) = probed {
            fields.insert("probes".into(), probed.iter().map(asked).collect());
        }
    }
    value
}

fn judged(file: &str, checked: &Checked) -> Value {
    let services = &checked.config.services;
    let verdict = match (checked.errors(), services.is_empty()) {
        (0, true) => "starts",
        (0, false) => "asks",
        _ => "refused",
    };
    let asks = services.iter().map(|s| json!({"key": s.key, "what": s.what, "place": s.place}));
    json!({
        "file": file,
        "verdict": verdict,
        "errors": checked.errors(),
        "warnings": checked.warnings(),
        "findings": checked.findings.iter().map(finding).collect::<Value>(),
        "asks": asks.collect::<Value>(),
    })
}

fn finding(finding: &Finding) -> Value {
    let said = &finding.diagnostic;
    let severity = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    json!({
        "severity": severity,
        "message": said.message,
        "line": said.origin.as_ref().map(|o| o.line),
        "column": said.origin.as_ref().map(|o| o.column),
        "notes": said.notes,
        "hint": said.hint,
        "mends": finding.mend.as_ref().map(|m| &m.says),
    })
}

fn mended(fixed: &Fixed) -> Value {
    let changes = fixed.changes.iter().map(|(line, says)| json!({"line": line, "says": says}));
    let file = fixed.file.as_ref().map(|file| file.display().to_string());
    json!({
        "file": file,
        "changes": changes.collect::<Value>(),
        "left": judged(file.as_deref().unwrap_or_default(), &fixed.left),
    })
}

fn asked(probed: &Probed) -> Value {
    let (serves, said, hint) = match &probed.answer {
        Answer::Serves(said) => (Some(true), said, None),
        Answer::But { found, hint } => (Some(true), found, Some(hint)),
        Answer::Fails { why, hint } => (Some(false), why, Some(hint)),
        Answer::NotAsked(why) => (None, why, None),
    };
    json!({
        "key": probed.key,
        "place": probed.place,
        "serves": serves,
        "said": said,
        "hint": hint,
        "milliseconds": probed.milliseconds,
    })
}
