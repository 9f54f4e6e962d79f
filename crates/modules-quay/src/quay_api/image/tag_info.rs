use async_trait::async_trait;
use serde_json::json;

use super::call::text;
use super::place::{asks_quay, whole_name};
use super::reference::{is_digest, tags};
use crate::args::{Presence, require};
use crate::value::Map;
use crate::{Action, CheckMode, ModuleError, Outcome, TaskContext};

asks_quay! {
    /// Tells the tags of a repository, also those that were removed or have expired.
    pub(super) struct QuayTagInfo {
        /// `NAMESPACE/NAME`, or `NAME` in one's own namespace.
        repository: String,
        /// Only of this name.
        tag: Option<String>,
        /// Only those that lead to this image.
        digest: Option<String>,
        /// Only those that lead to an image now.
        #[serde(default)]
        only_active_tags: bool,
    }
}

#[async_trait]
impl Action for QuayTagInfo {
    const NAME: &'static str = "quay_tag_info";
    const FQCN: &'static [&'static str] =
        &["quaylab.lab.quay_tag_info", "infra.quay_configuration.quay_tag_info"];
    const CHECK: CheckMode = CheckMode::Runs;

    fn validate(&self) -> Result<(), ModuleError> {
        require(self.tag.is_none() || self.digest.is_none(), "give tag or digest, not both")?;
        let holds = self.digest.as_deref().is_none_or(is_digest);
        require(holds, "digest: write it like sha256: and 64 digits")
    }

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let quay = self.quay(cx)?;
        let name = whole_name(cx, &quay, &self.repository).await?;
        // Where nothing is, there are no tags.
        let mut all =
            tags(cx, &quay, &name, self.tag.as_deref(), self.only_active_tags, Presence::Absent).await?;
        if let Some(digest) = &self.digest {
            all.retain(|tag| text(tag, "manifest_digest").as_ref() == Some(digest));
        }
        Ok(Outcome::ok(Map::from_iter([("tags".to_owned(), json!(all))])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_args;
    use crate::value::Value;

    #[test]
    fn a_tag_and_a_digest_are_too_much() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let valid = |args: Value| {
            let Value::Object(args) = args else { panic!("a mapping") };
            from_args::<QuayTagInfo>(args).and_then(|info| info.validate()).is_ok()
        };
        assert!(valid(json!({"repository": "lab/app"})));
        assert!(valid(json!({"repository": "lab/app", "digest": digest})));
        assert!(!valid(json!({"repository": "lab/app", "digest": digest, "tag": "v1"})));
        assert!(!valid(json!({"repository": "lab/app", "digest": "v1"})));
        assert!(!valid(json!({"tag": "v1"})));
        assert!(!valid(json!({"repository": "lab/app", "state": "present"})));
    }
}
