//! `/v1/secrets` and `/v1/projects/{project}/secrets`: secrets. No answer holds a value but that of `…/value`.

use std::borrow::Cow;
use std::fmt;

use mill_model::{DeployId, Hidden, SecretId, Timestamp, Workload};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroize as _;

use crate::deploys::Deploy;
use crate::error::ApiError;
use crate::plan::Warning;

/// A secret: its name in the cluster, never its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Secret {
    /// `NAME` of a shared one, `PROJECT/NAME`.
    pub secret: SecretId,
    /// Number of its newest version.
    pub version: u32,
    /// When that was set.
    pub set_at: Timestamp,
    /// Name of the token that set it.
    #[serde(default)]
    pub by: Option<String>,
    /// Services and tasks whose config names it.
    #[serde(default)]
    pub used_by: Vec<SecretUse>,
}

/// A service or task that uses a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretUse {
    /// Which.
    #[serde(flatten)]
    pub workload: Workload,
    /// The version that it runs with; `None`: the next deploy brings it.
    #[serde(default)]
    pub version: Option<u32>,
}

/// `PUT`: a new value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetRequest {
    /// The value.
    pub value: Value,
}

/// What a `PUT` has done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretSet {
    /// The secret as it is now, with those who use it.
    pub secret: Secret,
    /// What should be known about the value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

/// A secret with its versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretHistory {
    /// The secret.
    pub secret: Secret,
    /// Versions that are kept, newest first.
    pub versions: Vec<Version>,
}

/// One version of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Version {
    /// Its number.
    pub version: u32,
    /// When it was set.
    pub set_at: Timestamp,
    /// Name of the token that set it.
    #[serde(default)]
    pub by: Option<String>,
    /// What runs with it now.
    #[serde(default)]
    pub used_by: Vec<Workload>,
    /// Deploys that it can be brought back by.
    #[serde(default)]
    pub deploys: Vec<DeployId>,
}

/// `GET …/value?version=`
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ValueQuery {
    /// Which version; `None`: the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
}

/// `POST …/roll`: a deploy for each project that uses the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rolled {
    /// Those that were begun.
    pub deploys: Vec<Deploy>,
    /// Why there is none for the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<ApiError>,
}

/// A secret's value: `{"text": "…"}`, or `{"base64": "…"}` for bytes that are no text. Gone from memory when dropped,
/// and not shown by `{:?}`.
#[derive(Clone, PartialEq, Eq)]
pub struct Value(Hidden<Vec<u8>>);

impl Value {
    /// These bytes.
    pub const fn new(bytes: Hidden<Vec<u8>>) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn bytes(&self) -> &Hidden<Vec<u8>> {
        &self.0
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Shape<T> {
    Text(T),
    Base64(T),
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match str::from_utf8(self.0.expose()) {
            Ok(text) => Shape::Text(text).serialize(serializer),
            Err(_) => {
                let text = Hidden::new(base64::encode(self.0.expose()));
                Shape::Base64(text.expose().as_str()).serialize(serializer)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = match Shape::<String>::deserialize(deserializer)? {
            Shape::Text(text) => text.into_bytes(),
            Shape::Base64(mut text) => {
                let bytes = base64::decode(&text);
                text.zeroize();
                // Without a word of it: what is almost a value says too much.
                bytes.ok_or_else(|| serde::de::Error::custom("`base64` isn't base64"))?
            }
        };
        Ok(Self(Hidden::new(bytes)))
    }
}

impl JsonSchema for Value {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("Value")
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let of = |field: &str, of: &str| {
            json_schema!({
                "type": "object", "description": of, "properties": { (field): { "type": "string" } },
                "required": [field], "additionalProperties": false
            })
        };
        json_schema!({
            "description": "A secret's value.",
            "oneOf": [of("text", "It is text."), of("base64", "It is other bytes: RFC 4648, with padding.")]
        })
    }
}

/// RFC 4648 §4, with padding: a few lines, and no copy of a value in somebody else's buffers.
mod base64 {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    pub(super) fn encode(bytes: &[u8]) -> String {
        let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
        for chunk in bytes.chunks(3) {
            let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or_default());
            let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
            for digit in 0..4_usize {
                let index = usize::try_from(bits >> (18 - 6 * digit) & 63).unwrap_or_default();
                text.push(match digit <= chunk.len() {
                    true => char::from(DIGITS.get(index).copied().unwrap_or_default()),
                    false => '=',
                });
            }
        }
        text
    }

    pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
        if !text.len().is_multiple_of(4) {
            return None;
        }
        let digits = text.trim_end_matches('=');
        let padding = text.len() - digits.len();
        if padding > 2 {
            return None;
        }
        let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
        let (mut bits, mut count) = (0_u32, 0);
        for digit in digits.bytes() {
            let value = DIGITS.iter().position(|known| *known == digit)?;
            bits = bits << 6 | u32::try_from(value).ok()?;
            count += 6;
            if count >= 8 {
                count -= 8;
                bytes.push(u8::try_from(bits >> count & 0xFF).ok()?);
                bits &= (1 << count) - 1;
            }
        }
        (bits == 0).then_some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(bytes: &[u8]) -> Value {
        Value::new(Hidden::new(bytes.to_vec()))
    }

    #[test]
    fn a_value_is_text_where_it_can_be_and_base64_where_not() {
        for (bytes, json) in [
            (&b"hunter2\n"[..], r#"{"text":"hunter2\n"}"#),
            (&[0xFF], r#"{"base64":"/w=="}"#),
            (&[0xFF, 0xFE], r#"{"base64":"//4="}"#),
            (&[0xFF, 0xFE, 0xFD], r#"{"base64":"//79"}"#),
            (&[0xFF, 0, 0, 1], r#"{"base64":"/wAAAQ=="}"#),
        ] {
            assert_eq!(serde_json::to_string(&value(bytes)).unwrap(), json);
            assert_eq!(serde_json::from_str::<Value>(json).unwrap(), value(bytes));
        }
        // Text may come as base64 too.
        assert_eq!(serde_json::from_str::<Value>(r#"{"base64":"aHVudGVyMg=="}"#).unwrap(), value(b"hunter2"));
    }

    #[test]
    fn what_is_no_value_is_refused_without_being_repeated() {
        for json in [
            r#"{"base64":"hunter2!"}"#,
            r#"{"base64":"a==="}"#,
            r#"{"base64":"QR=="}"#,
            r#"{"base64":"abc"}"#,
        ] {
            let error = serde_json::from_str::<Value>(json).unwrap_err().to_string();
            assert!(error.contains("isn't base64") && !error.contains("hunter2"), "{error}");
        }
        assert!(serde_json::from_str::<Value>(r#"{"text":"a","base64":"YQ=="}"#).is_err());
        assert!(!format!("{:?}", SetRequest { value: value(b"hunter2") }).contains("hunter2"));
    }
}
