use super::finding::Finding;
use super::reader::Reader;
use crate::yaml::Node;

/// A change of a configuration's text that is safe and the only one that can be meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mend {
    /// What is done, without any secret.
    pub says: String,
    line: u32,
    column: u32,
    was: String,
    with: String,
}

impl Mend {
    /// Writes a scalar anew. Only where the text still stands there will it be done.
    pub(super) fn scalar(
        reader: &Reader<'_>,
        node: &Node,
        with: impl Into<String>,
        says: String,
    ) -> Option<Self> {
        let was = reader.written(node);
        (!was.is_empty()).then(|| Self {
            says,
            line: node.origin.line,
            column: node.origin.column,
            was,
            with: with.into(),
        })
    }

    /// The line that it changes, from 1.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// Makes the change in one line; `None` where something else stands there.
    fn apply(&self, line: &str) -> Option<String> {
        let column = self.column.checked_sub(1)? as usize;
        let from = line.char_indices().nth(column).map(|(at, _)| at)?;
        let rest = line.get(from..)?.strip_prefix(self.was.as_str())?;
        Some(format!("{}{}{rest}", line.get(..from)?, self.with))
    }
}

/// A mended text and what was changed in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mended {
    pub text: String,
    /// What was done, each with its line in the text that was mended.
    pub changes: Vec<(u32, String)>,
    /// For each line of the mended text the line that it comes from.
    pub from: Vec<u32>,
}

/// Makes every change that the findings offer; the text they were found in is `text`.
pub fn mend(text: &str, findings: &[Finding]) -> Mended {
    let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
    let mut offered: Vec<&Mend> = findings.iter().filter_map(|f| f.mend.as_ref()).collect();
    // From the end of each line to its beginning, so that columns stay true.
    offered.sort_by(|a, b| (a.line, b.column).cmp(&(b.line, a.column)));
    offered.dedup_by_key(|m| (m.line, m.column));
    let mut changes = Vec::new();
    for one in offered {
        let Some(line) = (one.line as usize).checked_sub(1).and_then(|at| lines.get_mut(at)) else {
            continue;
        };
        if let Some(changed) = one.apply(line) {
            *line = changed;
            changes.push((one.line, one.says.clone()));
        }
    }
    // A change may add lines behind its own.
    let from = (1..).zip(&lines).flat_map(|(number, line)| line.split('\n').map(move |_| number)).collect();
    Mended { text: lines.join("\n"), changes, from }
}
