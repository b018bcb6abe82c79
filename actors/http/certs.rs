//! The certificates that this node shows to whoever comes over TLS.

use axum::Json;
use axum::extract::State;
use mill_api::certs::{Certificate, Owner};
use mill_api::trust::Fingerprint;
use mill_api::{ApiError, Code};
use mill_drivers::home::Validity;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::backend::Backend;
use super::reads::Answer;
use super::server::Server;

pub(super) async fn list<B: Backend>(State(server): State<Server<B>>) -> Answer<Vec<Certificate>> {
    let member = server.member.borrow().clone();
    let chain = member.map(|member| member.certificate_chain.clone()).unwrap_or_default();
    let mut shown = vec![];
    for (index, certificate) in CertificateDer::pem_slice_iter(chain.as_bytes()).enumerate() {
        let certificate = certificate.map_err(|error| unreadable(&error))?;
        let validity = Validity::of(&certificate).map_err(|error| unreadable(&error))?;
        let of = if index == 0 { Owner::Node } else { Owner::Ca };
        shown.push(Certificate {
            of,
            fingerprint: Fingerprint::of(&certificate).to_string(),
            from: validity.from,
            until: validity.until,
            renewed_at: (of == Owner::Node).then(|| validity.renewal()),
        });
    }
    Ok(Json(shown))
}

fn unreadable(error: &dyn std::error::Error) -> ApiError {
    ApiError::new(Code::Crashed, "the node's certificates can't be read")
        .because(error.to_string())
        .hint("are the files in `keys/` of its data directory those that Mill wrote?")
}
