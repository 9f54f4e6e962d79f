//! What `to_datetime` gives: moments, and the time between two of them, as Python's `datetime` has them.

use std::fmt;
use std::sync::Arc;

use jiff::civil::DateTime;
use minijinja::value::{Object, ObjectRepr};
use minijinja::{Error, ErrorKind, State, Value};

use super::convert;
use super::environment;
use super::failure::error;

/// A moment without a time zone.
#[derive(Debug)]
pub(super) struct Moment(pub(super) DateTime);

/// The time between two moments, in microseconds.
#[derive(Debug)]
struct Span(i64);

const MICROSECOND: i64 = 1_000_000;
const DAY: i64 = 86_400;

/// `a - b` where one of them may be a moment.
pub(super) fn subtract(args: &[Value]) -> Result<Value, Error> {
    let (Some(a), Some(b)) = (args.first(), args.get(1)) else {
        return Err(error("an operand is missing"));
    };
    let (a, b) = (convert::checked(a.clone())?, convert::checked(b.clone())?);
    if let (Some(a), Some(b)) = (a.downcast_object_ref::<Moment>(), b.downcast_object_ref::<Moment>()) {
        let nanoseconds = a.0.duration_since(b.0).as_nanos();
        return Ok(Value::from_object(Span(i64::try_from(nanoseconds / 1000).unwrap_or(i64::MAX))));
    }
    let minus = environment::standard().compile_expression("a - b")?;
    minus.eval(minijinja::context! { a => a, b => b })
}

impl Object for Moment {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let number = |n: i64| Some(Value::from(n));
        match key.as_str()? {
            "year" => number(self.0.year().into()),
            "month" => number(self.0.month().into()),
            "day" => number(self.0.day().into()),
            "hour" => number(self.0.hour().into()),
            "minute" => number(self.0.minute().into()),
            "second" => number(self.0.second().into()),
            "microsecond" => number(i64::from(self.0.subsec_nanosecond() / 1000)),
            _ => None,
        }
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        match method {
            "strftime" => {
                let format = args.first().map(super::python::py_str).unwrap_or_default();
                let text = jiff::fmt::strtime::format(&format, self.0);
                text.map(Value::from).map_err(|e| error(format!("strftime: {e}")))
            }
            "isoformat" => Ok(Value::from(self.0.strftime("%Y-%m-%dT%H:%M:%S").to_string())),
            "weekday" => Ok(Value::from(i64::from(self.0.weekday().to_monday_zero_offset()))),
            "timestamp" => {
                let there =
                    self.0.to_zoned(jiff::tz::TimeZone::system()).map_err(|e| error(e.to_string()))?;
                #[expect(clippy::cast_precision_loss, reason = "seconds of any year fit")]
                let seconds = there.timestamp().as_second() as f64;
                Ok(Value::from(seconds))
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.strftime("%Y-%m-%d %H:%M:%S"))
    }
}

impl Span {
    /// Whole days, the seconds beside them and the microseconds beside these; only days may be negative.
    fn parts(&self) -> (i64, i64, i64) {
        let (seconds, rest) = (self.0.div_euclid(MICROSECOND), self.0.rem_euclid(MICROSECOND));
        (seconds.div_euclid(DAY), seconds.rem_euclid(DAY), rest)
    }
}

impl Object for Span {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let (days, seconds, rest) = self.parts();
        match key.as_str()? {
            "days" => Some(Value::from(days)),
            "seconds" => Some(Value::from(seconds)),
            "microseconds" => Some(Value::from(rest)),
            _ => None,
        }
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        _: &[Value],
    ) -> Result<Value, Error> {
        match method {
            #[expect(clippy::cast_precision_loss, reason = "microseconds of some centuries fit")]
            "total_seconds" => Ok(Value::from(self.0 as f64 / MICROSECOND as f64)),
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, seconds, rest) = self.parts();
        if days != 0 {
            write!(f, "{days} day{}, ", if days.abs() == 1 { "" } else { "s" })?;
        }
        write!(f, "{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)?;
        if rest == 0 { Ok(()) } else { write!(f, ".{rest:06}") }
    }
}
