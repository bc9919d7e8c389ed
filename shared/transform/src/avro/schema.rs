//! A schema as Avro writes it in JSON, within limits.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use weir_contract::limits::MAX_AVRO_TYPES;

use crate::json::quoted;

#[derive(Debug, Clone)]
pub(crate) enum Schema {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Date,
    /// How many of them a second has.
    Time(Number, i64),
    /// The same; and whether it is an instant rather than a local time.
    Timestamp(i64, bool),
    /// Two's complement, in bytes or in a fixed.
    Decimal(Option<usize>, usize),
    /// 16 bytes, shown as text.
    Uuid,
    /// 12 bytes.
    Duration,
    Fixed(usize),
    /// As JSON strings. Shared by all places that name it: an enum may be large, and may be named often.
    Enum(Arc<[String]>),
    Array(Box<Schema>),
    Map(Box<Schema>),
    Union(Vec<Schema>),
    /// By its index, so that it may hold itself.
    Record(usize),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Number {
    Int,
    Long,
}

#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) fields: Vec<Field>,
}

#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    /// As JSON, with its colon.
    pub(crate) quoted: String,
    pub(crate) schema: Schema,
}

#[derive(Debug)]
pub(crate) struct Schemas {
    records: Vec<Record>,
    top: usize,
}

impl Schema {
    /// Whether its JSON is a number or a word, and no text, object or array.
    pub(crate) fn is_plain(&self) -> bool {
        !matches!(
            self,
            Self::Null
                | Self::String
                | Self::Bytes
                | Self::Fixed(_)
                | Self::Uuid
                | Self::Duration
                | Self::Union(_)
                | Self::Record(_)
                | Self::Array(_)
                | Self::Map(_)
        )
    }

    pub(crate) fn holds_bytes(&self) -> bool {
        match self {
            Self::Bytes | Self::String | Self::Null => true,
            Self::Union(branches) => branches.iter().all(Self::holds_bytes),
            _ => false,
        }
    }
}

impl Schemas {
    /// # Errors
    /// The reason to refuse the file with. It shows nothing of the schema.
    pub(crate) fn parse(text: &str) -> std::result::Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|_| "the Avro file's schema is not JSON".to_owned())?;
        let mut parser = Parser { records: Vec::new(), named: HashMap::new(), types: 0 };
        let top = parser.schema(&value, "").map_err(|problem| format!("the Avro file's schema: {problem}"))?;
        let Schema::Record(top) = top else {
            return Err("the Avro file's schema is not a record: it has no fields".to_owned());
        };
        Ok(Self { records: parser.records, top })
    }

    pub(crate) fn top(&self) -> &Record {
        &self.records[self.top]
    }

    pub(crate) fn record(&self, index: usize) -> &Record {
        &self.records[index]
    }
}

struct Parser {
    records: Vec<Record>,
    named: HashMap<String, Schema>,
    types: usize,
}

type Result<T> = std::result::Result<T, &'static str>;

impl Parser {
    /// JSON's own parser bounds the depth. `namespace` is the one around.
    fn schema(&mut self, value: &Value, namespace: &str) -> Result<Schema> {
        self.types += 1;
        if self.types > MAX_AVRO_TYPES {
            return Err("it has more than 10,000 types");
        }
        match value {
            Value::String(name) => self.by_name(name, namespace),
            Value::Array(branches) => {
                let branches: Result<Vec<Schema>> =
                    branches.iter().map(|branch| self.schema(branch, namespace)).collect();
                Ok(Schema::Union(branches?))
            }
            Value::Object(object) => {
                let get = |key: &str| object.get(key).and_then(Value::as_str);
                let Some(kind) = object.get("type") else { return Err("a type is missing") };
                let Some(kind) = kind.as_str() else { return self.schema(kind, namespace) };
                let items = |key: &str| object.get(key).ok_or("an array or a map does not say of what");
                match kind {
                    "array" => Ok(Schema::Array(Box::new(self.schema(items("items")?, namespace)?))),
                    "map" => Ok(Schema::Map(Box::new(self.schema(items("values")?, namespace)?))),
                    "record" | "error" | "enum" | "fixed" => self.define(kind, object, namespace),
                    _ => Ok(logical(self.by_name(kind, namespace)?, get("logicalType"), object.get("scale"))),
                }
            }
            _ => Err("a type is neither a name, a list nor an object"),
        }
    }

    fn by_name(&self, name: &str, namespace: &str) -> Result<Schema> {
        Ok(match name {
            "null" => Schema::Null,
            "boolean" => Schema::Boolean,
            "int" => Schema::Int,
            "long" => Schema::Long,
            "float" => Schema::Float,
            "double" => Schema::Double,
            "bytes" => Schema::Bytes,
            "string" => Schema::String,
            _ => {
                let found = self.named.get(&full_name(name, namespace)).or_else(|| self.named.get(name));
                return found.cloned().ok_or("a type has an unknown name");
            }
        })
    }

    fn define(&mut self, kind: &str, object: &serde_json::Map<String, Value>, around: &str) -> Result<Schema> {
        let get = |key: &str| object.get(key).and_then(Value::as_str);
        let name = get("name").ok_or("a record, an enum or a fixed has no name")?;
        let name = full_name(name, get("namespace").unwrap_or(around));
        let namespace = name.rsplit_once('.').map_or("", |(namespace, _)| namespace).to_owned();
        if kind == "enum" {
            let symbols = object.get("symbols").and_then(Value::as_array).ok_or("an enum has no symbols")?;
            let symbols: Option<Vec<String>> = symbols.iter().map(|symbol| symbol.as_str().map(quoted)).collect();
            let schema = Schema::Enum(symbols.ok_or("an enum's symbol is no string")?.into());
            self.named.insert(name, schema.clone());
            return Ok(schema);
        }
        if kind == "fixed" {
            let size = object.get("size").and_then(Value::as_u64).ok_or("a fixed has no size")?;
            let size = usize::try_from(size).map_err(|_| "a fixed is too large")?;
            let schema = logical(Schema::Fixed(size), get("logicalType"), object.get("scale"));
            self.named.insert(name, schema.clone());
            return Ok(schema);
        }
        let index = self.records.len();
        self.records.push(Record { fields: Vec::new() });
        self.named.insert(name, Schema::Record(index));
        let mut fields = Vec::new();
        for field in object.get("fields").and_then(Value::as_array).ok_or("a record has no fields")? {
            let name = field.get("name").and_then(Value::as_str).ok_or("a field has no name")?.to_owned();
            let schema = self.schema(field.get("type").ok_or("a field has no type")?, &namespace)?;
            let quoted = quoted(&name) + ":";
            fields.push(Field { name, quoted, schema });
        }
        self.records[index].fields = fields;
        Ok(Schema::Record(index))
    }
}

fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") }
}

/// The logical type; the plain one when it is unknown or does not fit, as the specification wants it. Precision is not asked
/// for: what the bytes say is the value.
fn logical(plain: Schema, name: Option<&str>, scale: Option<&Value>) -> Schema {
    const MAX_SCALE: u64 = 4_096;
    let scale = scale.map_or(Some(0), Value::as_u64).filter(|scale| *scale <= MAX_SCALE);
    let scale = scale.and_then(|scale| usize::try_from(scale).ok());
    match (name, plain, scale) {
        (Some("date"), Schema::Int, _) => Schema::Date,
        (Some("time-millis"), Schema::Int, _) => Schema::Time(Number::Int, 1_000),
        (Some("time-micros"), Schema::Long, _) => Schema::Time(Number::Long, 1_000_000),
        (Some("timestamp-millis"), Schema::Long, _) => Schema::Timestamp(1_000, true),
        (Some("timestamp-micros"), Schema::Long, _) => Schema::Timestamp(1_000_000, true),
        (Some("timestamp-nanos"), Schema::Long, _) => Schema::Timestamp(1_000_000_000, true),
        (Some("local-timestamp-millis"), Schema::Long, _) => Schema::Timestamp(1_000, false),
        (Some("local-timestamp-micros"), Schema::Long, _) => Schema::Timestamp(1_000_000, false),
        (Some("local-timestamp-nanos"), Schema::Long, _) => Schema::Timestamp(1_000_000_000, false),
        (Some("decimal"), Schema::Bytes, Some(scale)) => Schema::Decimal(None, scale),
        (Some("decimal"), Schema::Fixed(size), Some(scale)) => Schema::Decimal(Some(size), scale),
        (Some("uuid"), Schema::Fixed(16), _) => Schema::Uuid,
        (Some("duration"), Schema::Fixed(12), _) => Schema::Duration,
        (_, plain, _) => plain,
    }
}
