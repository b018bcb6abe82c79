//! The conversations between Mill's processes, as tonic speaks them.
//!
//! What is stored or replicated is in `mill-protos`; here is only what lives as long as a connection, so unknown
//! fields may be skipped.

/// Generated from `protos/mill/v1`: its comments are the documentation.
#[expect(
    missing_docs,
    unused_qualifications,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    reason = "generated code"
)]
pub mod v1 {
    tonic::include_proto!("mill.v1");
}
