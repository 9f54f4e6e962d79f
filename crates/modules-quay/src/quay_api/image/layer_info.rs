use async_trait::async_trait;
use serde_json::json;

use super::place::{asks_quay, list};
use super::reference::Reference;
use crate::args::Presence;
use crate::value::{Map, Value};
use crate::{Action, CheckMode, ModuleError, Outcome, TaskContext};

asks_quay! {
    /// Tells the layers of an image, the uppermost first.
    pub(super) struct QuayLayerInfo {
        /// `NAMESPACE/REPOSITORY[:TAG]` or `NAMESPACE/REPOSITORY@DIGEST`.
        image: String,
    }
}

#[async_trait]
impl Action for QuayLayerInfo {
    const NAME: &'static str = "quay_layer_info";
    const FQCN: &'static [&'static str] =
        &["quaylab.lab.quay_layer_info", "infra.quay_configuration.quay_layer_info"];
    const CHECK: CheckMode = CheckMode::Runs;

    fn validate(&self) -> Result<(), ModuleError> {
        Reference::read(&self.image).map(drop)
    }

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let quay = self.quay(cx)?;
        let image = Reference::read(&self.image)?.whole(cx, &quay).await?;
        let mut layers = match image.digest(cx, &quay, Presence::Absent).await? {
            None => Vec::new(),
            Some(digest) => {
                let path = image.manifest_path(&digest);
                list(image.place().look(cx, &quay, &path, Presence::Absent).await?, "layers")
            }
        };
        layers.sort_by_key(|layer| std::cmp::Reverse(layer.get("index").and_then(Value::as_u64)));
        Ok(Outcome::ok(Map::from_iter([("layers".to_owned(), json!(layers))])))
    }
}
