use async_trait::async_trait;
use jiff::civil::Date;
use serde_json::json;

use super::call::{Call, text};
use super::place::{Place, asks_quay, whole_name};
use crate::args::require;
use crate::http::percent;
use crate::quay::Verb;
use crate::value::{Map, Value};
use crate::{Action, CheckMode, ModuleError, Outcome, TaskContext};

asks_quay! {
    /// Has Quay write its access logs into a file, and tell somebody where that is (`FEATURE_LOG_EXPORT`). Without
    /// `organization` and `repository` they are those of one's own namespace.
    pub(super) struct QuayLogsExport {
        organization: Option<String>,
        /// `NAMESPACE/NAME`, or `NAME` in one's own namespace.
        repository: Option<String>,
        /// From this day on (`2030-01-31`); yesterday where nothing is said.
        start: Option<String>,
        /// To the end of this day; today where nothing is said.
        end: Option<String>,
        /// Where Quay sends a link to the file.
        callback_url: Option<String>,
        /// To whom Quay mails a link to the file.
        callback_email: Option<String>,
    }
}

/// A day of a calendar.
fn day(name: &str, text: Option<&str>) -> Result<Option<Date>, ModuleError> {
    let read = |text: &str| {
        text.parse::<Date>().map_err(|error| {
            ModuleError::Arguments(format!("{name}: {text:?} is no day ({error})"))
                .hint("write it like 2030-01-31")
        })
    };
    text.map(read).transpose()
}

impl QuayLogsExport {
    fn days(&self) -> Result<[Option<Date>; 2], ModuleError> {
        Ok([day("start", self.start.as_deref())?, day("end", self.end.as_deref())?])
    }

    /// The days, as Quay wants them.
    fn query(&self) -> Result<String, ModuleError> {
        let [start, end] = self.days()?;
        let days = [("starttime", start), ("endtime", end)];
        let given = days.into_iter().filter_map(|(name, day)| Some((name, day?)));
        let words: Vec<String> = given
            .map(|(name, day)| format!("{name}={}", percent(&day.strftime("%m/%d/%Y").to_string(), false)))
            .collect();
        Ok(if words.is_empty() { String::new() } else { format!("?{}", words.join("&")) })
    }

    fn body(&self) -> Value {
        let fields = [("callback_url", &self.callback_url), ("callback_email", &self.callback_email)];
        let given =
            fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value.as_ref()?))));
        Value::Object(given.collect())
    }
}

#[async_trait]
impl Action for QuayLogsExport {
    const NAME: &'static str = "quay_logs_export";
    const FQCN: &'static [&'static str] =
        &["quaylab.lab.quay_logs_export", "infra.quay_configuration.quay_logs_export"];
    const CHECK: CheckMode = CheckMode::Runs;

    fn validate(&self) -> Result<(), ModuleError> {
        let one = self.organization.is_none() || self.repository.is_none();
        require(one, "give organization or repository, not both")?;
        let is_told = self.callback_url.is_some() != self.callback_email.is_some();
        require(is_told, "give callback_url or callback_email, and not both")?;
        let url = self.callback_url.as_deref();
        let is_web = url.is_none_or(|url| url.starts_with("https://") || url.starts_with("http://"));
        require(is_web, "callback_url: it begins with https:// or http://")?;
        let is_mail = self.callback_email.as_ref().is_none_or(|address| address.contains('@'));
        require(is_mail, "callback_email: that is no address")?;
        let [start, end] = self.days()?;
        let in_order = start.zip(end).is_none_or(|(start, end)| start <= end);
        require(in_order, "start is after end")
    }

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        if cx.mode.check {
            return Ok(Outcome::changed(Map::new()));
        }
        let quay = self.quay(cx)?;
        let name = match (&self.organization, &self.repository) {
            (Some(organization), _) => organization.clone(),
            (None, Some(repository)) => whole_name(cx, &quay, repository).await?,
            (None, None) => String::new(),
        };
        let (place, path) = match (&self.organization, &self.repository) {
            (Some(_), _) => (Place::namespace(&name), format!("organization/{}", percent(&name, false))),
            (None, Some(_)) => (Place::repository(&name), format!("repository/{}", percent(&name, true))),
            (None, None) => (Place::quay(), "user".to_owned()),
        };
        let path = format!("{path}/exportlogs{}", self.query()?);
        let call = Call::new(Verb::Post, path, Some(self.body()), "exporting access logs");
        let answer = place.needs("FEATURE_LOG_EXPORT").send(&quay, &call).await?;
        Ok(Outcome::changed(Map::from_iter([("export_id".to_owned(), json!(text(&answer, "export_id")))])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_args;

    #[test]
    fn days_and_whom_to_tell_are_checked() {
        let read = |args: Value| {
            let Value::Object(args) = args else { panic!("a mapping") };
            from_args::<QuayLogsExport>(args).and_then(|logs| logs.validate().map(|()| logs))
        };
        let days = json!({"organization": "lab", "start": "2030-01-02", "end": "2030-12-31", "callback_email": "a@b.c"});
        let logs = read(days).expect("arguments");
        assert_eq!(logs.query().expect("days"), "?starttime=01%2F02%2F2030&endtime=12%2F31%2F2030");
        assert_eq!(logs.body(), json!({"callback_email": "a@b.c"}));
        for wrong in [
            json!({"organization": "lab"}),
            json!({"callback_url": "ftp://q/x"}),
            json!({"callback_email": "nobody"}),
            json!({"callback_email": "a@b.c", "start": "2030-01-02", "end": "2030-01-01"}),
            json!({"callback_email": "a@b.c", "start": "01/02/2030"}),
            json!({"callback_email": "a@b.c", "organization": "lab", "repository": "lab/app"}),
        ] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
