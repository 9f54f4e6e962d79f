//! What an image is called, and which tags lead to it.

use super::call::text;
use super::place::{Place, list, whole_name};
use crate::args::Presence;
use crate::http::percent;
use crate::quay::Rest;
use crate::value::Value;
use crate::web::Web;
use crate::{ModuleError, TaskContext};

/// How many tags Quay shows at once at most.
const PAGE: usize = 100;
/// More pages than any repository has.
const PAGES: usize = 10_000;

/// Which image of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Which {
    Tag(String),
    Digest(String),
}

/// `NAMESPACE/REPOSITORY[:TAG]` or `NAMESPACE/REPOSITORY@DIGEST`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) repository: String,
    pub(super) which: Which,
}

impl Reference {
    pub(super) fn read(image: &str) -> Result<Self, ModuleError> {
        let wrong = || {
            ModuleError::Arguments(format!("image: {image:?} is no image"))
                .hint("write NAMESPACE/REPOSITORY:TAG or NAMESPACE/REPOSITORY@sha256:DIGEST")
        };
        let image = image.trim_matches('/');
        let (repository, which) = match (image.split_once('@'), image.rsplit_once(':')) {
            (Some((repository, digest)), _) => (repository, Which::Digest(digest.to_owned())),
            (None, Some((repository, tag))) => (repository, Which::Tag(tag.to_owned())),
            (None, None) => (image, Which::Tag("latest".into())),
        };
        let holds = match &which {
            Which::Tag(tag) => is_tag(tag),
            Which::Digest(digest) => is_digest(digest),
        };
        if !holds || repository.is_empty() || repository.contains([':', '@', ' ']) {
            return Err(wrong());
        }
        Ok(Self { repository: repository.to_owned(), which })
    }

    /// The same with the namespace of whoever asks, where none was written.
    pub(super) async fn whole(&self, cx: &TaskContext, quay: &Rest<Web>) -> Result<Self, ModuleError> {
        Ok(Self { repository: whole_name(cx, quay, &self.repository).await?, which: self.which.clone() })
    }

    /// The digest; `None` where no tag of that name leads to one.
    pub(super) async fn digest(
        &self,
        cx: &TaskContext,
        quay: &Rest<Web>,
        state: Presence,
    ) -> Result<Option<String>, ModuleError> {
        match &self.which {
            Which::Digest(digest) => Ok(Some(digest.clone())),
            Which::Tag(tag) => {
                let found = tags(cx, quay, &self.repository, Some(tag), true, state).await?;
                Ok(found.first().and_then(|tag| text(tag, "manifest_digest")))
            }
        }
    }

    pub(super) fn manifest_path(&self, digest: &str) -> String {
        format!("repository/{}/manifest/{}", percent(&self.repository, true), percent(digest, false))
    }

    pub(super) fn place(&self) -> Place<'_> {
        Place::repository(&self.repository)
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.which {
            Which::Tag(tag) => write!(f, "{}:{tag}", self.repository),
            Which::Digest(digest) => write!(f, "{}@{digest}", self.repository),
        }
    }
}

/// As the registry's protocol has it.
pub(super) fn is_tag(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=128).contains(&text.len()) && !text.starts_with(['.', '-']) && text.chars().all(good)
}

pub(super) fn is_digest(text: &str) -> bool {
    let digits = text.strip_prefix("sha256:");
    digits
        .is_some_and(|d| d.len() == 64 && d.chars().all(|c| c.is_ascii_hexdigit() && !c.is_ascii_uppercase()))
}

/// The tags of a repository, also those that were: all, or those of a name.
pub(super) async fn tags(
    cx: &TaskContext,
    quay: &Rest<Web>,
    repository: &str,
    name: Option<&str>,
    active: bool,
    state: Presence,
) -> Result<Vec<Value>, ModuleError> {
    let base = format!("repository/{}/tag/?limit={PAGE}&onlyActiveTags={active}", percent(repository, true));
    let specific = name.map(|name| format!("&specificTag={}", percent(name, false))).unwrap_or_default();
    let mut all = Vec::new();
    for page in 1..PAGES {
        let path = format!("{base}{specific}&page={page}");
        let answer = Place::repository(repository).list().look(cx, quay, &path, state).await?;
        let more = answer.as_ref().and_then(|a| a.get("has_additional")).and_then(Value::as_bool);
        all.extend(list(answer, "tags"));
        if more != Some(true) {
            break;
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_read() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let read = |text: &str| Reference::read(text).ok().map(|image| image.to_string());
        assert_eq!(read("lab/app").as_deref(), Some("lab/app:latest"));
        assert_eq!(read("/lab/deep/app:v1/").as_deref(), Some("lab/deep/app:v1"));
        assert_eq!(read("app:v1").as_deref(), Some("app:v1"));
        assert_eq!(read(&format!("lab/app@{digest}")), Some(format!("lab/app@{digest}")));
        for wrong in ["", ":v1", "lab/app@sha256:12", "lab/app:a b", "lab/app:-x", "lab/app:v1@sha256:1"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
