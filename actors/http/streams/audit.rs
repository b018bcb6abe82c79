//! What was done, on whose word: a list, or with `follow` a stream.

use axum::Json;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;
use mill_api::audit::AuditRecord;
use mill_api::events::EventQuery;
use mill_fsm::Cluster;

use super::{Gone, Kept, Out, answer, last_number};
use crate::http::backend::Backend;
use crate::http::body::Asked;
use crate::http::gate::Caller;
use crate::http::refusal::Refusal;
use crate::http::server::Server;

pub(in crate::http) async fn list_or_stream<B: Backend>(
    State(server): State<Server<B>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Asked(query): Asked<EventQuery>,
) -> Result<Response, Refusal> {
    let after = last_number(&headers)?.or(query.since_id).unwrap_or_default();
    Ok(match query.follow {
        false => Json(after_id(&server.cluster(), after)).into_response(),
        true => answer(server.keeping(caller), |out| follow(server, after, out)),
    })
}

/// The records after one; all that are kept if that one isn't any more.
fn after_id(cluster: &Cluster, after: u64) -> Vec<AuditRecord> {
    let record = |record: &mill_fsm::AuditRecord| AuditRecord {
        id: record.id,
        at: record.at,
        token: record.author.token.clone(),
        from: record.author.from.clone(),
        what: record.author.what.clone(),
        made: Some(record.made.clone()).filter(|made| !made.is_empty()),
    };
    cluster.audit_after(after).map(record).collect()
}

async fn follow<B: Backend>(server: Server<B>, mut after: u64, out: Out) -> Result<(), Gone> {
    let mut published = server.published.cluster.subscribe();
    loop {
        let cluster = published.borrow_and_update().clone();
        let next = cluster.next_audit();
        let kept = Kept { first: cluster.audit.front().map_or(next, |record| record.id), next };
        if let Some(message) = kept.lacks(after) {
            out.reset(&after, Some(kept.first), message).await?;
            after = kept.first.saturating_sub(1);
        }
        for record in after_id(&cluster, after) {
            after = record.id;
            out.item(&record.id.to_string(), &record).await?;
        }
        published.changed().await.map_err(|_| Gone)?;
    }
}
