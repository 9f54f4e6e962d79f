use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{json, to_value};

use super::call::{Call, plan, with_quay};
use super::place::{list, shown};
use super::reference::Reference;
use crate::args::{Presence, require};
use crate::http::percent;
use crate::quay::Verb;
use crate::value::{Map, Value};
use crate::{ModuleError, Plan, Recorded, Resource, RunMode, TaskContext, state_of};

with_quay! {
    /// A label of an image's manifest. Labels that were built into the image stay: they are part of it.
    pub(super) struct QuayManifestLabel {
        /// `NAMESPACE/REPOSITORY[:TAG]` or `NAMESPACE/REPOSITORY@DIGEST`.
        image: String,
        key: String,
        /// Needed with `state: present`; without it all labels of the key go.
        value: Option<String>,
        /// Other labels of that key go.
        #[serde(default = "crate::args::yes")]
        replace: bool,
    }
}

/// A label as Quay tells it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, serde::Serialize)]
pub(super) struct Label {
    id: String,
    key: String,
    value: String,
    #[serde(default)]
    source_type: String,
    #[serde(default)]
    media_type: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Found {
    /// `None` where there is no such image.
    digest: Option<String>,
    labels: Vec<Label>,
}

impl QuayManifestLabel {
    fn reference(&self) -> Result<Reference, ModuleError> {
        Reference::read(&self.image)
    }

    fn is_this(&self, label: &Label) -> bool {
        label.key == self.key && self.value.as_ref().is_some_and(|value| *value == label.value)
    }
}

#[async_trait]
impl Resource for QuayManifestLabel {
    const NAME: &'static str = "quay_manifest_label";
    const FQCN: &'static [&'static str] =
        &["quaylab.lab.quay_manifest_label", "infra.quay_configuration.quay_manifest_label"];
    type Observed = Found;
    type Step = Call;

    fn validate(&self) -> Result<(), ModuleError> {
        require(
            self.state == Presence::Absent || self.value.is_some(),
            "value is needed with state=present",
        )?;
        self.reference().map(drop)
    }

    async fn prepare(&mut self, cx: &TaskContext) -> Result<(), ModuleError> {
        let quay = self.quay(cx)?;
        self.image = self.reference()?.whole(cx, &quay).await?.to_string();
        Ok(())
    }

    async fn observe(&self, cx: &TaskContext) -> Result<Found, ModuleError> {
        let quay = self.quay(cx)?;
        let image = self.reference()?;
        let Some(digest) = image.digest(cx, &quay, self.state).await? else { return Ok(Found::default()) };
        let path = format!("{}/labels", image.manifest_path(&digest));
        let Some(answer) = image.place().look(cx, &quay, &path, self.state).await? else {
            return Ok(Found::default());
        };
        let labels = list(Some(answer), "labels");
        let labels = labels.into_iter().filter_map(|label| serde_json::from_value(label).ok()).collect();
        Ok(Found { digest: Some(digest), labels })
    }

    fn plan(&self, now: &Found, mode: RunMode) -> Result<Plan<Call>, ModuleError> {
        let image = self.reference()?;
        let title = format!("label {} of {image}", self.key);
        let Some(digest) = &now.digest else {
            if self.state == Presence::Absent {
                return Ok(Plan::default());
            }
            if mode.check {
                let path = image.manifest_path("");
                let call = Call::new(Verb::Post, path, None, format!("making the {title}"));
                return Ok(plan(&title, vec![call], "absent", self.value.as_deref().unwrap_or_default()));
            }
            return Err(ModuleError::failed(format!("there is no image {image}"))
                .hint("push it first, or look at what there is (quay_tag_info)"));
        };
        let path = format!("{}/labels", image.manifest_path(digest));
        let of_key: Vec<&Label> = now.labels.iter().filter(|label| label.key == self.key).collect();
        let is_leaving = |label: &&&Label| {
            let goes = match self.state {
                Presence::Absent => self.value.is_none() || self.is_this(label),
                Presence::Present => self.replace && !self.is_this(label),
            };
            goes && label.source_type != "manifest"
        };
        let (leaving, staying): (Vec<&Label>, Vec<&Label>) =
            of_key.iter().partition(|label| is_leaving(label));
        let mut calls: Vec<Call> = leaving
            .iter()
            .map(|label| {
                let one = format!("{path}/{}", percent(&label.id, false));
                Call::new(Verb::Delete, one, None, format!("removing the {title}"))
            })
            .collect();
        let mut after: Vec<&str> = staying.iter().map(|label| label.value.as_str()).collect();
        if let (Presence::Present, Some(value)) = (self.state, &self.value)
            && !of_key.iter().any(|label| self.is_this(label))
        {
            let body = json!({"key": self.key, "value": value, "media_type": "text/plain"});
            calls.push(Call::new(Verb::Post, path, Some(body), format!("making the {title}")));
            after.push(value);
        }
        let before: Vec<&str> = of_key.iter().map(|label| label.value.as_str()).collect();
        let shown = |values: &[&str]| if values.is_empty() { "absent".to_owned() } else { values.join("\n") };
        Ok(plan(&title, calls, &shown(&before), &shown(&after)))
    }

    async fn apply(&self, step: &Call, cx: &TaskContext) -> Result<(), ModuleError> {
        self.reference()?.place().send(&*self.quay(cx)?, step).await.map(drop)
    }

    fn shown(step: &Call) -> String {
        shown(step)
    }

    fn result(&self, after: &Found) -> Map {
        let found = after.labels.iter().find(|label| self.is_this(label));
        match found.map(to_value) {
            Some(Ok(Value::Object(label))) => label,
            _ => Map::new(),
        }
    }

    fn recorded(&self, recorded: &Recorded) -> Option<Result<Self::Observed, ModuleError>> {
        state_of(recorded)
    }
}
