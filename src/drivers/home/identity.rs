//! `node.kdl`: who this node is.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use kdl::{KdlDocument, KdlError, KdlValue};
use mill_model::{NodeId, NodeName};
use thiserror::Error;

/// Version of the file's form.
const VERSION: i128 = 1;

/// Who a node is. Never changes in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its id.
    pub node: NodeId,
    /// What people call it.
    pub name: NodeName,
    /// The cluster that it belongs to.
    pub cluster: String,
    /// Where others reach it.
    pub advertise: IpAddr,
}

/// Why `node.kdl` says nothing.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// It is no KDL.
    #[error("it isn't KDL")]
    Syntax(#[from] KdlError),
    /// It was written by a newer version of Mill, or by nobody.
    #[error("its version is not {VERSION}")]
    Version,
    /// A field is missing or makes no sense.
    #[error("`{field}` is missing or makes no sense")]
    Field {
        /// Which.
        field: &'static str,
    },
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "// Who this node is. Written by mill; to change it, remove the node and join it anew.")?;
        writeln!(f, "version {VERSION}")?;
        writeln!(f, "node {}", self.node)?;
        writeln!(f, "name \"{}\"", self.name)?;
        writeln!(f, "cluster \"{}\"", self.cluster)?;
        writeln!(f, "advertise \"{}\"", self.advertise)
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let document: KdlDocument = text.parse()?;
        if document.get_arg("version").and_then(KdlValue::as_integer) != Some(VERSION) {
            return Err(IdentityError::Version);
        }
        let id = document.get_arg("node").and_then(KdlValue::as_integer);
        let id = id.and_then(|id| u64::try_from(id).ok()).filter(|id| *id > 0);
        Ok(Self {
            node: NodeId(id.ok_or(IdentityError::Field { field: "node" })?),
            name: text_field(&document, "name")?,
            cluster: text_field(&document, "cluster")?,
            advertise: text_field(&document, "advertise")?,
        })
    }
}

fn text_field<T: FromStr>(document: &KdlDocument, field: &'static str) -> Result<T, IdentityError> {
    let text = document.get_arg(field).and_then(KdlValue::as_string);
    text.and_then(|text| text.parse().ok()).ok_or(IdentityError::Field { field })
}
