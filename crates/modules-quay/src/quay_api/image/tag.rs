use async_trait::async_trait;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::call::{Call, plan, text, with_quay};
use super::moment;
use super::place::{Place, shown};
use super::reference::{Reference, Which, is_tag, tags};
use crate::args::{Presence, require};
use crate::http::percent;
use crate::quay::Verb;
use crate::value::{Map, Value};
use crate::{ModuleError, Plan, Recorded, Resource, RunMode, TaskContext, state_of};

with_quay! {
    /// A tag of an image: where it leads, when it expires, whether it may change. A tag that was removed comes back with
    /// `restore`, while the organization's time machine goes that far.
    pub(super) struct QuayTag {
        /// `NAMESPACE/REPOSITORY[:TAG]` or `NAMESPACE/REPOSITORY@DIGEST`.
        image: String,
        /// The tag that leads to the image, or that goes; by default the one of `image`. With a digest it must be given.
        tag: Option<String>,
        /// When the tag expires; an empty text is never. Quay takes an hour to two years from when the tag was made.
        expiration: Option<String>,
        /// How `expiration` is written, in the words of Python's `strftime`.
        #[serde(default = "compact")]
        expiration_format: String,
        /// Whether the tag can be neither moved nor removed (3.17 and later, `FEATURE_IMMUTABLE_TAGS`).
        immutable: Option<bool>,
        /// Bring `image` back where it was removed.
        #[serde(default)]
        restore: bool,
    }
}

fn compact() -> String {
    "%Y%m%d%H%M.%S".into()
}

/// How far from its beginning a tag's end may be, in seconds, unless config.yaml says otherwise.
const SOONEST: i64 = 3600;
const LATEST: i64 = 104 * 7 * 86_400;

/// A tag that is, or was.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Seen {
    name: String,
    digest: String,
    /// It leads to the image now.
    #[serde(default = "crate::args::yes")]
    active: bool,
    /// Seconds since 1970.
    #[serde(default)]
    start: Option<i64>,
    #[serde(default)]
    end: Option<i64>,
    /// `None` where Quay knows no immutable tags.
    #[serde(default)]
    immutable: Option<bool>,
}

impl Seen {
    fn read(tag: &Value, now: i64) -> Option<Self> {
        let number = |name: &str| tag.get(name).and_then(Value::as_i64);
        let end = number("end_ts");
        Some(Self {
            name: text(tag, "name")?,
            digest: text(tag, "manifest_digest")?,
            active: end.is_none_or(|end| end > now),
            start: number("start_ts"),
            end,
            immutable: tag.get("immutable").and_then(Value::as_bool),
        })
    }

    /// Whether the tag ends then, as far as Quay lets it.
    fn ends(&self, asked: Option<i64>) -> bool {
        match (asked, self.start) {
            (Some(asked), Some(start)) => {
                self.end == Some(asked) || self.end == Some(asked.clamp(start + SOONEST, start + LATEST))
            }
            _ => self.end == asked,
        }
    }
}

impl QuayTag {
    fn reference(&self) -> Result<Reference, ModuleError> {
        Reference::read(&self.image)
    }

    /// The tag that is declared.
    fn name(&self) -> Result<String, ModuleError> {
        match (&self.tag, self.reference()?.which) {
            (Some(tag), _) => Ok(tag.clone()),
            (None, Which::Tag(tag)) => Ok(tag),
            (None, Which::Digest(_)) => {
                Err(ModuleError::Arguments("tag is needed where image is told by its digest".into()))
            }
        }
    }

    /// When the tag is to end; `None` where nothing is said of it.
    #[expect(clippy::option_option, reason = "nothing is said, no end is said, or a moment")]
    fn end(&self) -> Result<Option<Option<i64>>, ModuleError> {
        match self.expiration.as_deref() {
            None => Ok(None),
            Some("") => Ok(Some(None)),
            Some(text) => moment::seconds(&self.expiration_format, text).map(|end| Some(Some(end))),
        }
    }

    fn change(&self, repository: &str, body: Value, what: &str) -> Result<Call, ModuleError> {
        let name = self.name()?;
        let path = format!("repository/{}/tag/{}", percent(repository, true), percent(&name, false));
        Ok(Call::new(Verb::Put, path, Some(body), format!("{what} {repository}:{name}")))
    }

    /// The image that is meant, and whether it must be brought back.
    fn source<'s>(&self, reference: &Reference, now: &'s [Seen]) -> Result<(&'s Seen, bool), ModuleError> {
        let is_it = |seen: &&Seen| match &reference.which {
            Which::Tag(tag) => seen.name == *tag,
            Which::Digest(digest) => seen.digest == *digest,
        };
        if let Some(seen) = now.iter().find(|seen| seen.active && is_it(seen)) {
            return Ok((seen, false));
        }
        // Quay tells what was last before what was earlier.
        match now.iter().find(is_it) {
            Some(seen) if self.restore => Ok((seen, true)),
            Some(_) => Err(ModuleError::failed(format!("the image {reference} was removed"))
                .hint("bring it back with restore: true, or push it again")),
            None => Err(ModuleError::failed(format!("there is no image {reference}"))
                .hint("push it first, or look at what there is (quay_tag_info)")),
        }
    }
}

#[async_trait]
impl Resource for QuayTag {
    const NAME: &'static str = "quay_tag";
    const FQCN: &'static [&'static str] = &["quaylab.lab.quay_tag", "infra.quay_configuration.quay_tag"];
    type Observed = Vec<Seen>;
    type Step = Call;

    fn validate(&self) -> Result<(), ModuleError> {
        let name = self.name()?;
        require(is_tag(&name), format!("tag: {name:?} is no tag"))?;
        self.end().map(drop)
    }

    async fn prepare(&mut self, cx: &TaskContext) -> Result<(), ModuleError> {
        let quay = self.quay(cx)?;
        self.image = self.reference()?.whole(cx, &quay).await?.to_string();
        Ok(())
    }

    async fn observe(&self, cx: &TaskContext) -> Result<Vec<Seen>, ModuleError> {
        let quay = self.quay(cx)?;
        let reference = self.reference()?;
        let name = self.name()?;
        let repository = reference.repository.as_str();
        let mut all = match &reference.which {
            // What a digest is called is not known before.
            Which::Digest(_) if self.state == Presence::Present => {
                tags(cx, &quay, repository, None, false, self.state).await?
            }
            _ => tags(cx, &quay, repository, Some(&name), false, self.state).await?,
        };
        if let Which::Tag(tag) = &reference.which
            && *tag != name
            && self.state == Presence::Present
        {
            all.extend(tags(cx, &quay, repository, Some(tag), false, self.state).await?);
        }
        let now = Timestamp::now().as_second();
        Ok(all.iter().filter_map(|tag| Seen::read(tag, now)).collect())
    }

    fn plan(&self, now: &Vec<Seen>, mode: RunMode) -> Result<Plan<Call>, ModuleError> {
        let (reference, name) = (self.reference()?, self.name()?);
        let repository = reference.repository.as_str();
        let title = format!("tag {name} of {repository}");
        let found = now.iter().find(|seen| seen.active && seen.name == name);
        let path = format!("repository/{}/tag/{}", percent(repository, true), percent(&name, false));
        let before = found.map_or_else(|| "absent".to_owned(), |f| lines(&f.digest, f.end, f.immutable));
        if self.state == Presence::Absent {
            let removal = |_| Call::new(Verb::Delete, path, None, format!("removing the {title}"));
            return Ok(plan(&title, found.map(removal).into_iter().collect(), &before, "absent"));
        }
        // What is pushed by an earlier task is not there yet in check mode.
        if now.is_empty() && mode.check {
            let call = self.change(repository, json!({"manifest_digest": null}), "setting")?;
            return Ok(plan(&title, vec![call], "absent", "present"));
        }
        let (source, is_gone) = self.source(&reference, now)?;
        let body = || json!({"manifest_digest": source.digest});
        let mut calls = Vec::new();
        let held = found.filter(|found| found.digest == source.digest);
        if held.is_none() && is_gone {
            let what = format!("bringing back {repository}:{name}");
            calls.push(Call::new(Verb::Post, format!("{path}/restore"), Some(body()), what));
        } else if held.is_none() {
            calls.push(self.change(repository, body(), "setting")?);
        }
        let may_be_immutable = held.or(found).or(Some(source)).and_then(|seen| seen.immutable);
        if self.immutable == Some(true) && may_be_immutable.is_none() {
            return Err(ModuleError::failed("this Quay keeps no tags from changing")
                .hint("immutable needs Quay 3.17 or later and FEATURE_IMMUTABLE_TAGS: true in config.yaml"));
        }
        let is_immutable = held.and_then(|held| held.immutable).unwrap_or(false);
        if self.immutable == Some(false) && is_immutable {
            calls.push(self.change(repository, json!({"immutable": false}), "changing")?);
        }
        let end = self.end()?;
        let is_right = |end: Option<i64>| held.map_or(end.is_none(), |held| held.ends(end));
        if let Some(end) = end.filter(|end| !is_right(*end)) {
            calls.push(self.change(repository, json!({"expiration": end}), "setting the end of")?);
        }
        if self.immutable == Some(true) && !is_immutable {
            calls.push(self.change(repository, json!({"immutable": true}), "changing")?);
        }
        let end = end.unwrap_or_else(|| held.and_then(|held| held.end));
        let immutable = self.immutable.or_else(|| held.and_then(|held| held.immutable));
        Ok(plan(&title, calls, &before, &lines(&source.digest, end, immutable)))
    }

    async fn apply(&self, step: &Call, cx: &TaskContext) -> Result<(), ModuleError> {
        let reference = self.reference()?;
        Place::repository(&reference.repository).send(&*self.quay(cx)?, step).await.map(drop)
    }

    fn shown(step: &Call) -> String {
        shown(step)
    }

    fn result(&self, after: &Vec<Seen>) -> Map {
        let name = self.name().unwrap_or_default();
        let found = after.iter().find(|seen| seen.active && seen.name == name);
        Map::from_iter([
            ("name".to_owned(), json!(name)),
            ("manifest_digest".to_owned(), json!(found.map(|f| &f.digest))),
            ("end_ts".to_owned(), json!(found.and_then(|f| f.end))),
        ])
    }

    fn recorded(&self, recorded: &Recorded) -> Option<Result<Self::Observed, ModuleError>> {
        state_of(recorded)
    }
}

fn lines(digest: &str, end: Option<i64>, immutable: Option<bool>) -> String {
    let mut text = digest.to_owned();
    if let Some(end) = end.and_then(|end| Timestamp::from_second(end).ok()) {
        text += &format!("\nexpires: {end}");
    }
    if immutable == Some(true) {
        text += "\nimmutable";
    }
    text
}
