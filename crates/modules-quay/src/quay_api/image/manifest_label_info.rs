use async_trait::async_trait;
use serde_json::json;

use super::call::text;
use super::place::{asks_quay, list};
use super::reference::Reference;
use crate::args::Presence;
use crate::value::{Map, Value};
use crate::{Action, CheckMode, ModuleError, Outcome, TaskContext};

asks_quay! {
    /// Tells the labels of an image's manifest.
    pub(super) struct QuayManifestLabelInfo {
        /// `NAMESPACE/REPOSITORY[:TAG]` or `NAMESPACE/REPOSITORY@DIGEST`.
        image: String,
        /// Only labels of this key.
        key: Option<String>,
    }
}

#[async_trait]
impl Action for QuayManifestLabelInfo {
    const NAME: &'static str = "quay_manifest_label_info";
    const FQCN: &'static [&'static str] =
        &["quaylab.lab.quay_manifest_label_info", "infra.quay_configuration.quay_manifest_label_info"];
    const CHECK: CheckMode = CheckMode::Runs;

    fn validate(&self) -> Result<(), ModuleError> {
        Reference::read(&self.image).map(drop)
    }

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let told = |labels: Vec<Value>| Outcome::ok(Map::from_iter([("labels".to_owned(), json!(labels))]));
        let quay = self.quay(cx)?;
        let image = Reference::read(&self.image)?.whole(cx, &quay).await?;
        let Some(digest) = image.digest(cx, &quay, Presence::Absent).await? else {
            return Ok(told(Vec::new()));
        };
        let path = format!("{}/labels", image.manifest_path(&digest));
        let mut labels = list(image.place().look(cx, &quay, &path, Presence::Absent).await?, "labels");
        if let Some(key) = self.key.as_ref().filter(|key| !key.is_empty()) {
            labels.retain(|label| text(label, "key").as_ref() == Some(key));
        }
        Ok(told(labels))
    }
}
