use std::fmt::Write as _;

use super::mended::Fixed;
use crate::quay::config::{Checked, Severity};
use crate::quay::probe::{Answer, Probed};

/// The findings, what the start asks, and a line that sums them up.
pub(super) fn report(checked: &Checked, name: &str, asks: bool) -> String {
    let mut text = String::new();
    for finding in &checked.findings {
        let word = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let _ = writeln!(text, "{word}: {}\n", finding.diagnostic);
    }
    let services = &checked.config.services;
    for service in services {
        let _ = writeln!(text, "asks: {} at {} ({})", service.what, service.place, service.key);
    }
    if !services.is_empty() {
        let how = if asks { "" } else { "; --probe asks from here what has an address" };
        let _ = writeln!(text, "      Quay's start ends where one does not answer as it should{how}\n");
    }
    let sum = match (checked.errors(), checked.warnings()) {
        (0, 0) => "Quay would take it".to_owned(),
        (0, warnings) => format!("Quay would take it; {}", count(warnings, "warning")),
        (errors, warnings) => format!("{}, {}", count(errors, "error"), count(warnings, "warning")),
    };
    let _ = write!(text, "{name}: {sum}");
    text
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// What was mended, and what is left.
pub(super) fn changes(fixed: &Fixed, checked: &Checked, name: &str, asks: bool) -> String {
    let Some(file) = &fixed.file else {
        let none = if checked.findings.is_empty() {
            "nothing is to be mended"
        } else {
            "nothing can be mended safely"
        };
        return format!("{}; {none}", report(checked, name, asks));
    };
    let mut text = String::new();
    for (line, says) in &fixed.changes {
        let _ = writeln!(text, "mended: line {line}: {says}");
    }
    let file = file.display();
    let _ = writeln!(text, "{file} is written; {name} is as it was\n");
    text + &report(&fixed.left, &file.to_string(), asks)
}

/// What was asked, a line each, and below what failed why and what to try.
pub(super) fn table(probed: &[Probed]) -> String {
    let width = |pick: fn(&Probed) -> &str| probed.iter().map(|p| pick(p).chars().count()).max().unwrap_or(0);
    let (keys, places) = (width(|p| &p.key), width(|p| &p.place));
    let mut text = String::new();
    for one in probed {
        let (word, said, hint) = match &one.answer {
            Answer::Serves(said) => ("serves", said, None),
            Answer::But { found, hint } => ("serves", found, Some(hint)),
            Answer::Fails { why, hint } => ("FAILS", why, Some(hint)),
            Answer::NotAsked(why) => ("-", why, None),
        };
        let _ = writeln!(
            text,
            "{word:6}  {:keys$}  {:places$}  {:>5} ms  {said}",
            one.key, one.place, one.milliseconds
        );
        if let Some(hint) = hint {
            let _ = writeln!(text, "        hint: {hint}");
        }
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_a_table() {
        let one = |key: &str, place: &str, answer: Answer| Probed {
            key: key.into(),
            place: place.into(),
            answer,
            milliseconds: 12,
        };
        let fails = Answer::Fails { why: "Redis refused the password".into(), hint: "mend it".into() };
        let table = table(&[
            one("DB_URI", "db:5432/quay", Answer::Serves("PostgreSQL 15 with pg_trgm".into())),
            one("BUILDLOGS_REDIS", "redis:6379", fails),
            one("SERVER_HOSTNAME", "q.lan:80", Answer::NotAsked("plain HTTP has no certificate".into())),
        ]);
        insta::assert_snapshot!(table, @r"
        serves  DB_URI           db:5432/quay     12 ms  PostgreSQL 15 with pg_trgm
        FAILS   BUILDLOGS_REDIS  redis:6379       12 ms  Redis refused the password
                hint: mend it
        -       SERVER_HOSTNAME  q.lan:80         12 ms  plain HTTP has no certificate
        ");
    }
}
