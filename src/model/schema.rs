//! JSON Schemas (2020-12) of the types that are written as texts: what a text of each looks like, for those who make
//! programs from the API's description. The types themselves hold to more than a pattern can say.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::image::{Digest, ImageRef, RegistryHost};
use crate::limits::{NAME_LENGTH_MAX, SECRET_NAME_LENGTH_MAX};
use crate::names::{AllocId, NodeName, PortName, ProjectName, SpecHash, TokenName, VolumeName, WorkloadName};
use crate::secret::{SecretId, SecretName};
use crate::time::Timestamp;

/// A DNS label in lower case.
const LABEL: &str = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$";
/// Labels with a dash between them.
const ALLOC: &str = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?-[a-z0-9]+$";
const SECRET: &str = "^[A-Za-z0-9_][A-Za-z0-9._-]*$";

macro_rules! texts {
    ($($name:ident $doc:literal $schema:tt)*) => {$(
        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($name))
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let mut schema = json_schema!($schema);
                schema.insert("type".to_owned(), "string".into());
                schema.insert("description".to_owned(), $doc.into());
                schema
            }
        }
    )*};
}

texts! {
    ProjectName "What one config file describes." { "pattern": LABEL, "maxLength": NAME_LENGTH_MAX }
    WorkloadName "A service or a task within its project." { "pattern": LABEL, "maxLength": NAME_LENGTH_MAX }
    NodeName "What people call a machine." { "pattern": LABEL, "maxLength": NAME_LENGTH_MAX }
    PortName "A declared port within its service." { "pattern": LABEL, "maxLength": NAME_LENGTH_MAX }
    VolumeName "A volume within its project." { "pattern": LABEL, "maxLength": NAME_LENGTH_MAX }
    TokenName "What people call a token." { "pattern": LABEL, "maxLength": NAME_LENGTH_MAX }
    AllocId "One placed instance of a service or task: `web-7k2f`." { "pattern": ALLOC }
    SpecHash "The hash of everything that a running container depends on." { "pattern": "^[0-9a-fA-F]{64}$" }
    Digest "The SHA-256 of a blob or manifest." { "pattern": "^sha256:[0-9a-f]{64}$" }
    RegistryHost "A registry by its host, with a port if need be." { "minLength": 1 }
    ImageRef "Where an image is: `registry.example.com:5000/team/web:v1`, or with `@sha256:…`." { "minLength": 1 }
    SecretName "What a secret is called in a config." { "pattern": SECRET, "maxLength": SECRET_NAME_LENGTH_MAX }
    SecretId "`NAME` of a shared secret, `PROJECT/NAME` of one project's." {
        "pattern": "^([a-z0-9]([a-z0-9-]*[a-z0-9])?/)?[A-Za-z0-9_][A-Za-z0-9._-]*$"
    }
    Timestamp "A moment, UTC, RFC 3339." { "format": "date-time" }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;

    fn pattern<T: JsonSchema>() -> String {
        let schema = T::json_schema(&mut SchemaGenerator::default());
        schema.get("pattern").and_then(|pattern| pattern.as_str()).unwrap_or_default().to_owned()
    }

    #[test]
    fn texts_are_schemas_of_their_own_names() {
        fn check<T: JsonSchema + Serialize>(name: &str) {
            assert_eq!(T::schema_name(), name);
            let schema = T::json_schema(&mut SchemaGenerator::default());
            assert_eq!(schema.get("type").and_then(|kind| kind.as_str()), Some("string"), "{name}");
        }
        check::<ProjectName>("ProjectName");
        check::<SecretId>("SecretId");
        check::<Timestamp>("Timestamp");
        assert_eq!(pattern::<ProjectName>(), LABEL);
        assert!(pattern::<Digest>().starts_with("^sha256:"));
    }
}
