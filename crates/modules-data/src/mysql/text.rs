use mysql_async::consts::ColumnType;
use mysql_async::{Row, Value as Cell};
use serde_json::json;

use crate::value::{Map, Value};

/// Quotes an identifier.
pub(super) fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Quotes a string, for a session in which backslashes escape.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// Writes a value as SQL.
pub(super) fn value(value: &Value) -> String {
    match value {
        Value::Null => "NULL".into(),
        Value::Bool(b) => u8::from(*b).to_string(),
        Value::Number(n) => n.to_string(),
        Value::String(s) => literal(s),
        Value::Array(items) => format!("({})", items.iter().map(self::value).collect::<Vec<_>>().join(", ")),
        Value::Object(_) => literal(&value.to_string()),
    }
}

/// A row as a mapping of its columns.
pub(super) fn row(row: &Row) -> Value {
    let columns = row.columns_ref();
    let cells = columns.iter().enumerate().map(|(index, column)| {
        let name = column.name_str().into_owned();
        (name, row.as_ref(index).map_or(Value::Null, |held| cell(held, column.column_type())))
    });
    Value::Object(cells.collect::<Map>())
}

fn cell(held: &Cell, of: ColumnType) -> Value {
    match held {
        Cell::NULL => Value::Null,
        Cell::Int(n) => json!(n),
        Cell::UInt(n) => json!(n),
        Cell::Float(n) => json!(n),
        Cell::Double(n) => json!(n),
        Cell::Bytes(bytes) => {
            let text = String::from_utf8_lossy(bytes);
            let number = matches!(
                of,
                ColumnType::MYSQL_TYPE_TINY
                    | ColumnType::MYSQL_TYPE_SHORT
                    | ColumnType::MYSQL_TYPE_INT24
                    | ColumnType::MYSQL_TYPE_LONG
                    | ColumnType::MYSQL_TYPE_LONGLONG
                    | ColumnType::MYSQL_TYPE_FLOAT
                    | ColumnType::MYSQL_TYPE_DOUBLE
            );
            if number { serde_json::from_str(&text).unwrap_or_else(|_| json!(text)) } else { json!(text) }
        }
        dated => json!(dated.as_sql(true).trim_matches('\'')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_strings_cannot_break_out() {
        assert_eq!(identifier("a`; drop"), "`a``; drop`");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"a\'b"), r"'a\\''b'");
        assert_eq!(value(&json!([1, true, null])), "(1, 1, NULL)");
    }
}
