use fancy_regex::Regex;

use crate::ModuleError;
use crate::args::require;

/// Which of several texts are meant: those that match, those that hold a word, or the one that is equal.
#[derive(Debug)]
pub(super) enum Search<'a> {
    Pattern(Box<Regex>),
    Holds(&'a str),
    Equals(&'a str),
    /// Nothing was said of the text.
    Any,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        regexp: Option<&str>,
        search_string: Option<&'a str>,
        equal: Option<&'a str>,
    ) -> Result<Self, ModuleError> {
        require(regexp.is_none() || search_string.is_none(), "give regexp or search_string, not both")?;
        match (regexp, search_string, equal) {
            (Some(text), _, _) => {
                let pattern = Regex::new(text).map_err(|error| {
                    ModuleError::Arguments(format!("regexp {text:?} is not a regular expression: {error}"))
                })?;
                Ok(Self::Pattern(Box::new(pattern)))
            }
            (_, Some(text), _) => Ok(Self::Holds(text)),
            (_, _, Some(text)) => Ok(Self::Equals(text)),
            _ => Ok(Self::Any),
        }
    }

    pub(super) fn finds(&self, text: &str) -> Result<bool, ModuleError> {
        match self {
            Self::Pattern(pattern) => pattern
                .is_match(text)
                .map_err(|error| ModuleError::failed(format!("the regular expression gave up: {error}"))),
            Self::Holds(part) => Ok(text.contains(part)),
            Self::Equals(whole) => Ok(text == *whole),
            Self::Any => Ok(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found() {
        let finds = |search: Result<Search, ModuleError>, text| search.and_then(|s| s.finds(text)).ok();
        assert_eq!(finds(Search::new(Some(r"a\s+b"), None, Some("x")), "say a  b"), Some(true));
        assert_eq!(finds(Search::new(None, Some("a."), None), "ab"), Some(false));
        assert_eq!(finds(Search::new(None, None, Some("ab")), "abc"), Some(false));
        assert_eq!(finds(Search::new(None, None, None), "abc"), Some(true));
        assert_eq!(finds(Search::new(Some("("), None, None), ""), None);
        assert_eq!(finds(Search::new(Some("a"), Some("a"), None), ""), None);
    }
}
