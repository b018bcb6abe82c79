//! The certificates that this node shows to whoever comes over TLS.

use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, State};
use mill_api::certs::{Certificate, Owner, RotateCa, RotatedCa};
use mill_api::trust::{Fingerprint, Trust};
use mill_api::{ApiError, Code};
use mill_drivers::home::{NextCa, Validity};
use mill_fsm::Command;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::backend::Backend;
use super::body::Body;
use super::gate::Caller;
use super::reads::Answer;
use super::server::Server;

pub(super) async fn list<B: Backend>(State(server): State<Server<B>>) -> Answer<Vec<Certificate>> {
    let member = server.member.borrow().clone();
    let chain = member.map(|member| member.certificate_chain.clone()).unwrap_or_default();
    // The new CA as the old one signed it is the way between the two, and no CA of its own.
    let cross = server
        .cluster()
        .retiring_ca
        .as_ref()
        .and_then(|old| CertificateDer::from_pem_slice(old.cross.as_bytes()).ok());
    let mut shown = vec![];
    for (index, certificate) in CertificateDer::pem_slice_iter(chain.as_bytes()).enumerate() {
        let certificate = certificate.map_err(|error| unreadable(&error))?;
        if cross.as_ref() == Some(&certificate) {
            continue;
        }
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

pub(super) async fn rotate<B: Backend>(
    State(server): State<Server<B>>,
    Extension(caller): Extension<Caller>,
    Body(RotateCa { keep_ms }): Body<RotateCa>,
) -> Answer<RotatedCa> {
    let keep = keep_ms.map_or(server.tempo.ca_kept, Duration::from_millis);
    if keep > server.tempo.certificate_life {
        let most = server.tempo.certificate_life.as_secs() / 86_400;
        return Err(ApiError::new(Code::BadRequest, "the CA before can't be trusted for so long")
            .because(format!("it is trusted for at most {most} days"))
            .hint("tokens can be given the new fingerprint in that time: `mill login`")
            .into());
    }
    let NextCa { certificate, cross, .. } = server.backend.next_ca().await?;
    let until = server.now().after(keep);
    let fingerprint = match Trust::from_pem(&certificate) {
        Ok(Trust::Certificate(ca)) => Fingerprint::of(&ca),
        Ok(Trust::Pinned(_)) | Err(_) => return Err(unreadable(&"the new CA's certificate is none").into()),
    };
    let command = Command::RotateCa { certificate: certificate.clone(), cross, until };
    let rotated = RotatedCa { fingerprint: fingerprint.to_string(), previous_until: until };
    let caller = caller.answering(&rotated);
    server.write(&caller, command, |cluster, _| cluster.ca_certificate == certificate).await?;
    Ok(Json(rotated))
}

fn unreadable(error: &dyn std::fmt::Display) -> ApiError {
    ApiError::new(Code::Crashed, "the node's certificates can't be read")
        .because(error.to_string())
        .hint("are the files in `keys/` of its data directory those that Mill wrote?")
}
