use std::sync::Arc;

use super::{Action, Keywords, Play, Task};
use crate::yaml::{Kind, Node};

impl Task {
    /// The task that a play begins with unless it says `gather_facts: false`.
    /// Without `used` it finds out whether the host can be reached, and nothing else.
    pub fn gather_facts(play: &Play, used: bool) -> Self {
        let origin = &play.origin;
        // Unless the play has tags of its own, facts are always gathered.
        let tags =
            if play.keywords.tags.is_empty() { vec![Node::word("always", origin)] } else { Vec::new() };
        let mut args = play.gathering.clone().into_pairs();
        if !used && args.is_empty() {
            let none = ["!all", "!min"].map(|part| Node::word(part, origin)).to_vec();
            args.push((Node::word("gather_subset", origin), Node::new(Kind::Seq(none.into()), origin)));
        }
        Self {
            name: Some(Node::word("Gathering Facts", origin)),
            action: Action::Module("setup".into()),
            written: "setup".into(),
            args: Node::new(Kind::Map(args.into()), origin),
            keywords: Arc::new(Keywords { tags, ..Keywords::default() }),
            ..Self::bare(origin, &play.folder)
        }
    }
}
