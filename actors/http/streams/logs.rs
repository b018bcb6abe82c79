//! What programs wrote.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use futures::StreamExt as _;
use http::HeaderMap;
use mill_api::logs::{LogLine, LogQuery};
use mill_api::names::Target;
use mill_api::{ApiError, Code};
use mill_fsm::{Alloc, Cluster};
use mill_model::limits::LOG_TAIL_LINES;
use mill_model::{AllocId, Incarnation, ProjectName, Workload};

use super::merge::{Cursor, Merge};
use super::{Gone, Out, answer, last_event_id};
use crate::http::backend::{Backend, Runs, Slice, Unreadable};
use crate::http::body::Asked;
use crate::http::refusal::Refusal;
use crate::http::server::Server;

/// How long an answer waits for log lines that merely add to it.
const TAIL_DEADLINE: Duration = Duration::from_secs(2);

/// The last lines that a run of an alloc wrote; of its last run if none is named. Nothing if they can't be had: they
/// only add to what is told.
pub(in crate::http) async fn tail<B: Backend>(
    backend: &B,
    alloc: &AllocId,
    run: Option<Incarnation>,
) -> Vec<String> {
    let runs = run.map_or(Runs::Current, Runs::Only);
    let slice = Slice { tail: Some(LOG_TAIL_LINES), runs, ..Slice::default() };
    let read = async {
        let lines = backend.logs(alloc, slice).await?;
        let lines: Vec<_> = lines.take(LOG_TAIL_LINES).collect().await;
        lines.into_iter().map(|line| line.map(|line| line.text)).collect::<Result<Vec<_>, Unreadable>>()
    };
    let read = tokio::time::timeout(TAIL_DEADLINE, read).await;
    read.ok().and_then(Result::ok).unwrap_or_default()
}

pub(in crate::http) async fn stream<B: Backend>(
    State(server): State<Server<B>>,
    headers: HeaderMap,
    Asked(query): Asked<LogQuery>,
) -> Result<Response, Refusal> {
    let cluster = server.cluster();
    let known = server.view(&cluster).known();
    let whose = match known.resolve(&query.name).map_err(ApiError::from)? {
        Target::Workload(workload) => Whose::Workload(workload),
        Target::Alloc(alloc) => Whose::Alloc(alloc),
        Target::Project(project) => Whose::Project(project),
        target @ (Target::Node(_) | Target::Deploy(_)) => {
            return Err(ApiError::new(Code::BadRequest, format!("{target} has no log"))
                .because("services, tasks, allocs and projects have one")
                .hint("`mill services` lists them; `mill inspect` shows what is known of a node or deploy")
                .into());
        }
    };
    let from = last_event_id(&headers).map(|id| cursor(id)).transpose()?;
    Ok(answer(server.keeping(), |out| {
        let merge = Merge::new(server.tempo.log_window, query.follow, from.clone());
        Reading { server, whose, query, from, merge, out }.to_the_end()
    }))
}

fn cursor(id: &str) -> Result<Cursor, ApiError> {
    id.parse().map_err(|_| {
        ApiError::new(Code::BadRequest, "there is no such place in a log")
            .because("`last-event-id` isn't an id of an earlier stream")
            .hint("leave it out to begin anew")
    })
}

/// Whose lines are asked for.
enum Whose {
    Workload(Workload),
    Alloc(AllocId),
    Project(ProjectName),
}

struct Reading<B: Backend> {
    server: Server<B>,
    whose: Whose,
    query: LogQuery,
    from: Option<Cursor>,
    merge: Merge<B::Lines>,
    out: Out,
}

impl<B: Backend> Reading<B> {
    async fn to_the_end(mut self) -> Result<(), Gone> {
        let mut published = self.server.published.cluster.subscribe();
        let mut slice = self.first_slice();
        loop {
            let cluster = published.borrow_and_update().clone();
            if let Err(refused) = self.open_new(&cluster, slice).await {
                return self.out.fail(&refused).await;
            }
            // Whoever comes while it is watched is heard from its first line on.
            slice = Slice { tail: None, runs: Runs::All, ..slice };
            loop {
                let server = self.server.clone();
                tokio::select! {
                    line = self.merge.next(|| server.now()) => match line {
                        None => return self.out.end().await,
                        Some(Ok((alloc, line))) => self.tell(&cluster, alloc, line).await?,
                        Some(Err(error)) => return self.out.fail(&unreadable(&error)).await,
                    },
                    changed = published.changed(), if self.query.follow => {
                        changed.map_err(|_| Gone)?;
                        break;
                    }
                }
            }
        }
    }

    fn first_slice(&self) -> Slice {
        let query = &self.query;
        let since = query.since.map(|since| {
            let since = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
            mill_model::Timestamp(self.server.now().0.saturating_sub(since))
        });
        let runs = match (query.all, query.previous) {
            (true, _) => Runs::All,
            (false, true) => Runs::Previous,
            (false, false) => Runs::Current,
        };
        let tail = query.n.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        let slice = Slice { tail, since, runs, follow: query.follow };
        match &self.from {
            None => slice,
            // Of whatever run it is: the one that was current then may have ended since.
            Some(from) => {
                let runs = if runs == Runs::Current { Runs::All } else { runs };
                Slice { tail: None, since: since.max(Some(from.at)), runs, ..slice }
            }
        }
    }

    /// Opens the logs of allocs that aren't read yet, and forgets those that have ended.
    async fn open_new(&mut self, cluster: &Cluster, slice: Slice) -> Result<(), ApiError> {
        let settled = self.server.now().0.saturating_sub(millis(self.server.tempo.log_window * 4));
        self.merge.forget(|id| {
            cluster.allocs.get(id).is_none_or(|alloc| !alloc.is_live() && alloc.status.since.0 < settled)
        });
        for alloc in self.members(cluster) {
            if self.merge.has(&alloc.id) {
                continue;
            }
            let lines = self.server.backend.logs(&alloc.id, slice).await;
            self.merge.add(alloc.id.clone(), lines.map_err(|error| unreadable(&error))?);
        }
        Ok(())
    }

    /// The allocs whose lines are asked for: those that live; if none does, the last one; with `all` every one that is
    /// listed.
    fn members<'a>(&self, cluster: &'a Cluster) -> Vec<&'a Arc<Alloc>> {
        match &self.whose {
            Whose::Alloc(id) => cluster.allocs.get(id).into_iter().collect(),
            Whose::Workload(workload) => self.of_workload(cluster, workload),
            Whose::Project(project) => {
                let mine = cluster.workloads_with_allocs().filter(|workload| workload.project == *project);
                mine.flat_map(|workload| self.of_workload(cluster, workload)).collect()
            }
        }
    }

    fn of_workload<'a>(&self, cluster: &'a Cluster, workload: &Workload) -> Vec<&'a Arc<Alloc>> {
        let listed = cluster.allocs_of(workload);
        if self.query.all {
            return listed.collect();
        }
        let live: Vec<&Arc<Alloc>> = cluster.allocs_of(workload).filter(|alloc| alloc.is_live()).collect();
        match live.is_empty() {
            true => listed.max_by_key(|alloc| (alloc.placed_at, alloc.status.since)).into_iter().collect(),
            false => live,
        }
    }

    async fn tell(
        &mut self,
        cluster: &Cluster,
        alloc: AllocId,
        line: crate::http::backend::Line,
    ) -> Result<(), Gone> {
        if self.query.stream.is_some_and(|wanted| wanted != line.stream) {
            return Ok(());
        }
        let Some(known) = cluster.allocs.get(&alloc) else { return Ok(()) };
        let id = self.merge.cursor().map(ToString::to_string).unwrap_or_default();
        let line = LogLine {
            at: line.at,
            workload: known.workload.clone(),
            alloc,
            incarnation: line.incarnation,
            stream: line.stream,
            text: line.text,
        };
        self.out.item(&id, &line).await
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn unreadable(error: &Unreadable) -> ApiError {
    ApiError::new(Code::Crashed, error.to_string())
        .because(error.source.to_string())
        .hint("`mill doctor` on its node looks at the disk")
}
