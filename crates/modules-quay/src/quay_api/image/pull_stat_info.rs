use async_trait::async_trait;

use super::place::{Place, asks_quay, whole_name};
use super::reference::{is_digest, is_tag};
use crate::args::{Presence, require};
use crate::http::percent;
use crate::value::{Map, Value};
use crate::{Action, CheckMode, ModuleError, Outcome, TaskContext};

asks_quay! {
    /// Tells how often an image was pulled (3.16 and later, `FEATURE_IMAGE_PULL_STATS`).
    pub(super) struct QuayPullStatInfo {
        /// `NAMESPACE/NAME`, or `NAME` in one's own namespace.
        repository: String,
        /// By which tag; `latest` where nothing is said.
        tag: Option<String>,
        /// The image itself, whatever tag it was pulled by.
        digest: Option<String>,
    }
}

#[async_trait]
impl Action for QuayPullStatInfo {
    const NAME: &'static str = "quay_pull_stat_info";
    const FQCN: &'static [&'static str] =
        &["quaylab.lab.quay_pull_stat_info", "infra.quay_configuration.quay_pull_stat_info"];
    const CHECK: CheckMode = CheckMode::Runs;

    fn validate(&self) -> Result<(), ModuleError> {
        require(self.tag.is_none() || self.digest.is_none(), "give tag or digest, not both")?;
        require(self.tag.as_deref().is_none_or(is_tag), "tag: that is no tag")?;
        let holds = self.digest.as_deref().is_none_or(is_digest);
        require(holds, "digest: write it like sha256: and 64 digits")
    }

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let quay = self.quay(cx)?;
        let name = whole_name(cx, &quay, &self.repository).await?;
        let part = match &self.digest {
            Some(digest) => format!("manifest/{}", percent(digest, false)),
            None => format!("tag/{}", percent(self.tag.as_deref().unwrap_or("latest"), false)),
        };
        let path = format!("repository/{}/{part}/pull_statistics", percent(&name, true));
        let place = Place::repository(&name).needs("FEATURE_IMAGE_PULL_STATS").list();
        let mut told = match place.look(cx, &quay, &path, Presence::Present).await? {
            Some(Value::Object(told)) => told,
            _ => Map::new(),
        };
        if let Some(digest) = told.shift_remove("current_manifest_digest") {
            told.insert("manifest_digest".into(), digest);
        }
        Ok(Outcome::ok(told))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_args;
    use serde_json::json;

    #[test]
    fn what_was_pulled_is_named_once() {
        let valid = |args: Value| {
            let Value::Object(args) = args else { panic!("a mapping") };
            from_args::<QuayPullStatInfo>(args).and_then(|info| info.validate()).is_ok()
        };
        assert!(valid(json!({"repository": "lab/app"})));
        assert!(valid(json!({"repository": "lab/app", "tag": "v1"})));
        assert!(!valid(json!({"repository": "lab/app", "tag": "a b"})));
        assert!(!valid(json!({"repository": "lab/app", "digest": "sha256:1"})));
    }
}
