//! What happened in the cluster: a list, or with `follow` a stream.

use axum::Json;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;
use mill_api::events::{Event, EventQuery};
use mill_fsm::Cluster;
use mill_model::Role;

use super::{Gone, Kept, Out, answer, last_number};
use crate::http::backend::Backend;
use crate::http::body::Asked;
use crate::http::gate::Caller;
use crate::http::present;
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
        false => Json(after_id(&server.cluster().seen_by(&caller.role), after)).into_response(),
        true => {
            let role = caller.role.clone();
            answer(server.keeping(caller), |out| follow(server, role, after, out))
        }
    })
}

/// The events after one; all that are kept if that one isn't any more.
fn after_id(cluster: &Cluster, after: u64) -> Vec<Event> {
    let kept = cluster.events.iter().filter(|event| event.id > after);
    kept.map(|event| present::events::event(cluster, event)).collect()
}

async fn follow<B: Backend>(server: Server<B>, role: Role, mut after: u64, out: Out) -> Result<(), Gone> {
    let mut published = server.published.cluster.subscribe();
    loop {
        let cluster = published.borrow_and_update().seen_by(&role);
        let kept = Kept { first: cluster.oldest_event(), next: cluster.next_event() };
        if let Some(message) = kept.lacks(after) {
            out.reset(&after, Some(kept.first), message).await?;
            after = kept.first.saturating_sub(1);
        }
        for event in after_id(&cluster, after) {
            after = event.id;
            out.item(&event.id.to_string(), &event).await?;
        }
        // Those that it may not see are no gap when they are forgotten.
        after = after.max(kept.next.saturating_sub(1));
        published.changed().await.map_err(|_| Gone)?;
    }
}
