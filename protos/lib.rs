//! The messages that Mill stores and replicates, generated from `mill/v1/*.proto`.
//!
//! `src/fsm` turns them into the model's types and back; nobody else needs them.

/// Version 1 of every message.
#[expect(missing_docs, clippy::all, reason = "generated: the .proto files hold the documentation")]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/mill.v1.rs"));
}
