//! Moments as `strptime` reads them.

use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;

use crate::ModuleError;

/// Seconds since 1970 of a moment in this format, in the controller's time zone unless it names another.
pub(super) fn seconds(format: &str, text: &str) -> Result<i64, ModuleError> {
    let wrong = |error: jiff::Error| {
        ModuleError::Arguments(format!("expiration: {text:?} is no moment as {format:?} has it: {error}"))
            .hint("write it like 203001011630.00, in quotes, or say how in expiration_format")
    };
    let parts = BrokenDownTime::parse(format, text).map_err(wrong)?;
    if parts.offset().is_some() {
        return parts.to_timestamp().map(jiff::Timestamp::as_second).map_err(wrong);
    }
    let civil = match parts.to_datetime() {
        Ok(moment) => moment,
        // A day alone begins at midnight.
        Err(_) => parts.to_date().map_err(wrong)?.at(0, 0, 0, 0),
    };
    civil.to_zoned(TimeZone::system()).map(|zoned| zoned.timestamp().as_second()).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_pythons() {
        let at = |format, text| seconds(format, text).ok();
        let plain = at("%Y%m%d%H%M.%S", "203001011630.00");
        assert!(plain.is_some());
        // YAML made a number of it.
        assert_eq!(at("%Y%m%d%H%M.%S", "203001011630.0"), plain);
        assert_eq!(at("%Y-%m-%d %H:%M", "2030-01-01 16:30"), plain);
        assert_eq!(at("%Y-%m-%dT%H:%M:%S%z", "2030-01-01T00:00:00+0000"), Some(1_893_456_000));
        assert!(at("%Y-%m-%d", "2030-01-01").is_some());
        assert_eq!(at("%Y-%m-%d", "tomorrow"), None);
    }
}
