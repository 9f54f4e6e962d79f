/// The texts between each `<name>` and `</name>`; the answers hold none of their own kind within.
pub(super) fn each<'a>(xml: &'a str, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let mut rest = xml;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once(&open)?;
        let (inner, tail) = after.split_once(&close)?;
        rest = tail;
        Some(inner)
    })
}

/// The first text of that name.
pub(super) fn tag(xml: &str, name: &str) -> Option<String> {
    let inner = each(xml, name).next()?;
    let text =
        quick_xml::escape::unescape(inner).map_or_else(|_| inner.to_owned(), std::borrow::Cow::into_owned);
    Some(text)
}

pub(super) fn escape(text: &str) -> String {
    quick_xml::escape::escape(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let xml = "<R><Buckets><Bucket><Name>a&amp;b</Name><CreationDate>1</CreationDate></Bucket>\
                   <Bucket><Name>c</Name></Bucket></Buckets></R>";
        let names: Vec<String> = each(xml, "Bucket").filter_map(|e| tag(e, "Name")).collect();
        assert_eq!(names, ["a&b", "c"]);
        assert_eq!(tag(xml, "Nothing"), None);
    }
}
