use std::path::PathBuf;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::lab::{ImageRequest, SourceImage, default_cache_dir};
use crate::value::{Map, Value};
use crate::{Diff, ModuleError, Plan, Resource, RunMode, TaskContext};

/// A disk image in the controller's cache: fetched once, checked, described.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VirtImage {
    /// `http://`, `https://`, `file://` or an absolute path on the controller.
    #[serde(alias = "url", alias = "src")]
    image_uri: String,
    /// `sha256:` and 64 hexadecimal digits, or the URL of a list of them; `none` takes whatever comes, also by http.
    checksum: Option<String>,
    /// Where images are kept; by default the user's cache folder.
    cache_dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fetch;

impl VirtImage {
    fn request(&self) -> ImageRequest {
        ImageRequest {
            uri: self.image_uri.clone(),
            checksum: self.checksum.clone(),
            cache_dir: self.cache_dir.clone().unwrap_or_else(default_cache_dir),
        }
    }
}

#[async_trait]
impl Resource for VirtImage {
    const NAME: &'static str = "virt_image";
    const FQCN: &'static [&'static str] = &["quaylab.lab.virt_image"];
    type Observed = Option<SourceImage>;
    type Step = Fetch;

    fn validate(&self) -> Result<(), ModuleError> {
        Ok(self.request().check()?)
    }

    async fn observe(&self, _cx: &TaskContext) -> Result<Self::Observed, ModuleError> {
        Ok(self.request().cached().await?)
    }

    fn warnings(&self, _: &Self::Observed, _: RunMode) -> Vec<String> {
        self.request().warning().into_iter().collect()
    }

    fn plan(&self, now: &Self::Observed, _: RunMode) -> Result<Plan<Fetch>, ModuleError> {
        Ok(match now {
            Some(_) => Plan::default(),
            None => {
                Plan::new(vec![Fetch], vec![Diff::new("image cache", "", format!("{}\n", self.image_uri))])
            }
        })
    }

    async fn apply(&self, _: &Fetch, cx: &TaskContext) -> Result<(), ModuleError> {
        self.request().fetch(&|text| cx.controller.progress(text)).await?;
        Ok(())
    }

    fn result(&self, after: &Self::Observed) -> Map {
        let mut map = Map::from_iter([(
            "path".into(),
            Value::from(self.request().path().to_string_lossy().into_owned()),
        )]);
        if let Some(image) = after {
            map.insert("digest".into(), image.digest.clone().into());
            map.insert("format".into(), image.format.word().into());
            map.insert("virtual_size".into(), image.virtual_size.into());
        }
        map
    }
}
