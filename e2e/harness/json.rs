//! Reading JSON as a script does: by the names it needs, deaf to the rest.

use serde_json::Value;

use super::{Context as _, Failed};

/// Reads the fields of an answer; says which one is missing.
pub trait Fields {
    /// The value at a pointer like `/services/0/name`.
    ///
    /// # Errors
    /// There is none.
    fn at(&self, pointer: &str) -> Result<&Value, Failed>;

    /// The text at a pointer.
    ///
    /// # Errors
    /// There is none.
    fn text(&self, pointer: &str) -> Result<&str, Failed>;

    /// The number at a pointer.
    ///
    /// # Errors
    /// There is none.
    fn number(&self, pointer: &str) -> Result<u64, Failed>;

    /// The list at a pointer.
    ///
    /// # Errors
    /// There is none.
    fn list(&self, pointer: &str) -> Result<&[Value], Failed>;

    /// Whether the text at a pointer is this.
    fn is(&self, pointer: &str, text: &str) -> bool;
}

impl Fields for Value {
    fn at(&self, pointer: &str) -> Result<&Value, Failed> {
        self.pointer(pointer).or_fail(format_args!("no `{pointer}` in {self}"))
    }

    fn text(&self, pointer: &str) -> Result<&str, Failed> {
        self.at(pointer)?.as_str().or_fail(format_args!("no text at `{pointer}` in {self}"))
    }

    fn number(&self, pointer: &str) -> Result<u64, Failed> {
        self.at(pointer)?.as_u64().or_fail(format_args!("no number at `{pointer}` in {self}"))
    }

    fn list(&self, pointer: &str) -> Result<&[Value], Failed> {
        let list = self.at(pointer)?.as_array();
        list.map(Vec::as_slice).or_fail(format_args!("no list at `{pointer}` in {self}"))
    }

    fn is(&self, pointer: &str, text: &str) -> bool {
        self.pointer(pointer).and_then(Value::as_str) == Some(text)
    }
}
