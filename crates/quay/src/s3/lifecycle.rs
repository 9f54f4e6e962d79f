use super::xml::{each, escape, tag};

/// What becomes of a bucket's objects with time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LifecycleRule {
    /// Unique in the bucket; without one the storage makes one.
    pub id: Option<String>,
    /// What the names of the rule's objects begin with.
    pub prefix: String,
    pub enabled: bool,
    pub actions: LifecycleActions,
    /// The whole rule as the storage wrote it, where it holds more than this.
    pub foreign: Option<String>,
}

/// Days after which something is removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LifecycleActions {
    /// An object, after it was written.
    pub expiration: Option<u32>,
    /// An old version of an object, after it was replaced.
    pub noncurrent: Option<u32>,
    /// The parts of an upload that was never ended, after it was begun.
    pub abandoned: Option<u32>,
}

impl LifecycleActions {
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// What a rule holds that is understood here.
const KNOWN: [&str; 11] = [
    "ID",
    "Filter",
    "Prefix",
    "Status",
    "Expiration",
    "Days",
    "NoncurrentVersionExpiration",
    "NoncurrentDays",
    "AbortIncompleteMultipartUpload",
    "DaysAfterInitiation",
    "And",
];

fn status(enabled: bool) -> &'static str {
    if enabled { "<Status>Enabled</Status>" } else { "<Status>Disabled</Status>" }
}

impl LifecycleRule {
    /// Reads what stands between `<Rule>` and `</Rule>`.
    fn read(xml: &str) -> Self {
        let days = |outer: &str, inner: &str| tag(each(xml, outer).next()?, inner)?.trim().parse().ok();
        let opened = xml.split('<').skip(1).filter(|part| !part.starts_with('/'));
        let mut names = opened.map(|part| part.split(['>', '/', ' ']).next().unwrap_or_default());
        Self {
            id: tag(xml, "ID").filter(|id| !id.is_empty()),
            prefix: tag(xml, "Prefix").unwrap_or_default(),
            enabled: tag(xml, "Status").is_some_and(|status| status == "Enabled"),
            actions: LifecycleActions {
                expiration: days("Expiration", "Days"),
                noncurrent: days("NoncurrentVersionExpiration", "NoncurrentDays"),
                abandoned: days("AbortIncompleteMultipartUpload", "DaysAfterInitiation"),
            },
            foreign: names.any(|name| !KNOWN.contains(&name)).then(|| xml.to_owned()),
        }
    }

    fn write(&self) -> String {
        if let Some(xml) = &self.foreign {
            return format!("<Rule>{xml}</Rule>");
        }
        let id = self.id.as_ref().map(|id| format!("<ID>{}</ID>", escape(id))).unwrap_or_default();
        let action = |days: Option<u32>, outer: &str, inner: &str| {
            days.map(|days| format!("<{outer}><{inner}>{days}</{inner}></{outer}>")).unwrap_or_default()
        };
        let actions = [
            action(self.actions.expiration, "Expiration", "Days"),
            action(self.actions.noncurrent, "NoncurrentVersionExpiration", "NoncurrentDays"),
            action(self.actions.abandoned, "AbortIncompleteMultipartUpload", "DaysAfterInitiation"),
        ]
        .concat();
        let (prefix, status) = (escape(&self.prefix), status(self.enabled));
        format!("<Rule>{id}<Filter><Prefix>{prefix}</Prefix></Filter>{status}{actions}</Rule>")
    }

    /// The same rule, in force or not.
    #[must_use]
    pub fn switched(&self, enabled: bool) -> Self {
        let foreign = self.foreign.as_ref().map(|xml| xml.replace(status(!enabled), status(enabled)));
        Self { enabled, foreign, ..self.clone() }
    }

    /// Whether it is for all objects with this prefix, and not for some of them only.
    pub fn is_for(&self, prefix: &str) -> bool {
        let narrower =
            self.foreign.as_ref().is_some_and(|xml| xml.contains("<Tag>") || xml.contains("<ObjectSize"));
        self.prefix == prefix && !narrower
    }
}

/// In words, for a person.
impl std::fmt::Display for LifecycleRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let id = self.id.as_deref().unwrap_or("(a new rule)");
        let on = if self.enabled { "" } else { ", not in force" };
        let of = if self.prefix.is_empty() { "all".to_owned() } else { format!("{}*", self.prefix) };
        write!(f, "{id}: {of}{on}")?;
        for (what, days) in [
            ("objects", self.actions.expiration),
            ("old versions", self.actions.noncurrent),
            ("abandoned uploads", self.actions.abandoned),
        ] {
            if let Some(days) = days {
                write!(f, "; {what} go after {days} days")?;
            }
        }
        if self.foreign.is_some() { f.write_str("; and what is not known here") } else { Ok(()) }
    }
}

/// The rules of a bucket, from what the storage says.
pub(super) fn read_rules(xml: &str) -> Vec<LifecycleRule> {
    each(xml, "Rule").map(LifecycleRule::read).collect()
}

/// All rules of a bucket as the storage takes them.
pub(super) fn write_rules(rules: &[LifecycleRule]) -> String {
    let rules: String = rules.iter().map(LifecycleRule::write).collect();
    format!(
        r#"<LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{rules}</LifecycleConfiguration>"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_and_written() {
        let rule = LifecycleRule {
            id: Some("a&b".into()),
            prefix: "logs/".into(),
            enabled: true,
            actions: LifecycleActions { expiration: Some(30), noncurrent: None, abandoned: Some(7) },
            foreign: None,
        };
        let xml = write_rules(std::slice::from_ref(&rule));
        assert_eq!(read_rules(&xml), std::slice::from_ref(&rule));
        assert_eq!(
            rule.to_string(),
            "a&b: logs/*; objects go after 30 days; abandoned uploads go after 7 days"
        );
        // As Ceph's gateway writes a rule for everything.
        let theirs = "<X><Rule><ID>x</ID><Prefix/><Status>Disabled</Status><NoncurrentVersionExpiration>\
                      <NoncurrentDays>3</NoncurrentDays></NoncurrentVersionExpiration></Rule></X>";
        let read = read_rules(theirs);
        let actions = LifecycleActions { noncurrent: Some(3), ..LifecycleActions::default() };
        assert_eq!(read, [LifecycleRule { id: Some("x".into()), actions, ..LifecycleRule::default() }]);
    }

    #[test]
    fn what_is_not_known_is_kept_as_it_is() {
        let inner = "<ID>x</ID><Filter><And><Prefix>a</Prefix><Tag><Key>k</Key><Value>v</Value></Tag></And></Filter>\
                     <Status>Enabled</Status><Expiration><Days>3</Days></Expiration>";
        let rules = read_rules(&format!("<Rule>{inner}</Rule>"));
        assert_eq!(rules[0].foreign.as_deref(), Some(inner));
        assert!(!rules[0].is_for("a"));
        assert!(write_rules(&rules).contains(inner));
        let off = rules[0].switched(false);
        assert_eq!(off.write(), format!("<Rule>{}</Rule>", inner.replace("Enabled", "Disabled")));
    }
}
