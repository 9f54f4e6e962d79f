use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use super::case::Case;
use super::compare;
use super::outcome::{self, Asking, Runner};

/// How a case went.
pub(crate) struct Verdict {
    pub(crate) name: String,
    area: String,
    difference: Option<String>,
    /// Why it differs on purpose.
    differs: Option<String>,
    /// What is not mended yet.
    open: Option<String>,
}

impl Verdict {
    /// One verdict, or one for each play of a file that holds many cases.
    pub(crate) fn of(case: &Case, python: Option<&Path>, asking: Asking) -> Vec<Self> {
        let verdict = |name: String, difference: Option<String>| Self {
            name,
            area: case.area.clone(),
            difference,
            differs: case.spec.differs.clone(),
            open: case.spec.open.clone(),
        };
        let theirs = match outcome::theirs(case, python, asking) {
            Ok(theirs) => theirs,
            Err(why) => return vec![verdict(case.name(), Some(why))],
        };
        let ours = outcome::run(case, &Runner::Quaylab);
        if !case.spec.plays_are_cases {
            return vec![verdict(case.name(), compare::difference(&theirs, &ours, &case.spec))];
        }
        let each = compare::by_play(&theirs, &ours, &case.spec);
        each.into_iter()
            .map(|(play, difference)| verdict(format!("{}/{play}", case.name()), difference))
            .collect()
    }

    fn is_good(&self) -> bool {
        self.difference.is_some() == (self.differs.is_some() || self.open.is_some())
    }
}

pub(crate) struct Table<'a>(pub(crate) &'a [Verdict]);

impl Table<'_> {
    pub(crate) fn is_good(&self) -> bool {
        self.0.iter().all(Verdict::is_good)
    }

    /// Area, cases, same, different on purpose, different, and the first difference.
    pub(crate) fn render(&self) -> String {
        let mut areas: BTreeMap<&str, Vec<&Verdict>> = BTreeMap::new();
        for verdict in self.0 {
            areas.entry(&verdict.area).or_default().push(verdict);
        }
        areas.insert("~ all", self.0.iter().collect());
        let mut text = format!(
            "{:<14} {:>5} {:>5} {:>9} {:>5} {:>9}\n",
            "area", "cases", "same", "purposely", "open", "different"
        );
        for (area, verdicts) in areas {
            let same = verdicts.iter().filter(|v| v.difference.is_none()).count();
            let purposely = verdicts.iter().filter(|v| v.difference.is_some() && v.differs.is_some()).count();
            let open = verdicts.iter().filter(|v| v.difference.is_some() && v.open.is_some()).count();
            let different: Vec<_> = verdicts.iter().filter(|v| !v.is_good()).collect();
            let first = different.first().map(|v| v.name.clone()).unwrap_or_default();
            writeln!(
                text,
                "{area:<14} {:>5} {same:>5} {purposely:>9} {open:>5} {:>9} {first}",
                verdicts.len(),
                different.len()
            )
            .expect("a string takes everything");
        }
        for verdict in self.0 {
            if let (Some(_), Some(open)) = (&verdict.difference, &verdict.open) {
                writeln!(text, "open: {}: {open}", verdict.name).expect("a string takes everything");
            }
        }
        text
    }

    pub(crate) fn differences(&self) -> String {
        let wrong = self.0.iter().filter(|v| !v.is_good());
        wrong
            .map(|v| match &v.difference {
                Some(difference) => format!("\n== {}: {difference}\n", v.name),
                None => format!("\n== {} is said to differ, but does not\n", v.name),
            })
            .collect()
    }
}
