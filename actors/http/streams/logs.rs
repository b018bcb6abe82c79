//! What programs wrote.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, State};
use axum::response::Response;
use futures::StreamExt as _;
use http::HeaderMap;
use mill_api::logs::{LogLine, LogQuery, LogStream};
use mill_api::names::Target;
use mill_api::{ApiError, Code};
use mill_drivers::logs::{Line, Lines, LogError, Logs as _, Query, Runs, Stream};
use mill_fsm::{Alloc, Cluster};
use mill_model::limits::LOG_TAIL_LINES;
use mill_model::{AllocId, Incarnation, ProjectName, Timestamp, Workload};

use tokio::time::{Instant, sleep_until};

use super::merge::{Cursor, Merge};
use super::{Gone, Out, answer, last_event_id};
use crate::http::backend::Backend;
use crate::http::body::Asked;
use crate::http::gate::{Caller, Seen};
use crate::http::refusal::Refusal;
use crate::http::server::Server;

/// The last lines that a run of an alloc wrote. Nothing if they can't be had: they only add to what is told.
pub(in crate::http) async fn tail<B: Backend>(
    server: &Server<B>,
    alloc: &AllocId,
    run: Option<Incarnation>,
) -> Vec<String> {
    let Some(run) = run else { return vec![] };
    let query = Query { tail: Some(LOG_TAIL_LINES), runs: Runs::Only(run), ..Query::default() };
    let read = async {
        let lines = server.backend.logs().read(alloc, query).await?;
        let lines: Vec<_> = lines.take(LOG_TAIL_LINES).collect().await;
        lines.into_iter().map(|line| line.map(|line| line.text)).collect::<Result<Vec<_>, LogError>>()
    };
    let read = tokio::time::timeout(server.tempo.log_tail_deadline, read).await;
    read.ok().and_then(Result::ok).unwrap_or_default()
}

pub(in crate::http) async fn stream<B: Backend>(
    State(server): State<Server<B>>,
    Extension(caller): Extension<Caller>,
    Seen(cluster): Seen,
    headers: HeaderMap,
    Asked(query): Asked<LogQuery>,
) -> Result<Response, Refusal> {
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
    let from = last_event_id(&headers).map(cursor).transpose()?;
    Ok(answer(server.keeping(caller), |out| {
        // What was, doesn't go on.
        let query = LogQuery { follow: query.follow && !query.previous, ..query };
        let merge = Merge::new(server.tempo.log_window, query.follow, from.clone());
        let (missing, runs) = (vec![], BTreeMap::new());
        let reading = Reading { server, whose, query, from, merge, missing, runs, quiet_since: None, out };
        reading.run()
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

struct Reading<B> {
    server: Server<B>,
    whose: Whose,
    query: LogQuery,
    from: Option<Cursor>,
    merge: Merge<Lines>,
    /// What a client that comes back can't be told any more.
    missing: Vec<String>,
    /// The first run of each alloc whose lines are asked for.
    runs: BTreeMap<AllocId, Incarnation>,
    /// Since when the one alloc that is followed has ended and nothing more came.
    quiet_since: Option<Instant>,
    out: Out,
}

impl<B: Backend> Reading<B> {
    async fn run(mut self) -> Result<(), Gone> {
        let mut published = self.server.published.cluster.subscribe();
        let mut is_first = true;
        loop {
            let cluster = published.borrow_and_update().clone();
            if let Err(refused) = self.open_new(&cluster, is_first).await {
                return self.out.fail(&refused).await;
            }
            if let Some(from) = self.from.as_ref().filter(|_| !self.missing.is_empty()) {
                let message = format!("{}; it goes on with those that are kept", self.missing.join("; "));
                self.out.reset(from, None, message).await?;
                self.missing.clear();
            }
            is_first = false;
            loop {
                let server = self.server.clone();
                if self.is_over(&cluster) {
                    self.quiet_since.get_or_insert_with(Instant::now);
                }
                let rest = self.server.tempo.log_window * 2;
                let end = self.quiet_since.map(|since| since + rest);
                tokio::select! {
                    // Its last lines may be on their way still; then nothing can follow any more.
                    () = sleep_until(end.unwrap_or_else(Instant::now)), if end.is_some() => return self.out.end().await,
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

    /// Whether one alloc's log is followed, and that one has ended.
    fn is_over(&self, cluster: &Cluster) -> bool {
        match &self.whose {
            Whose::Alloc(id) if self.query.follow => {
                cluster.allocs.get(id).is_none_or(|alloc| !alloc.is_live())
            }
            _ => false,
        }
    }

    /// Opens the logs of allocs that aren't read yet, and forgets those that have ended.
    async fn open_new(&mut self, cluster: &Cluster, is_first: bool) -> Result<(), ApiError> {
        let settled = self.server.now().0.saturating_sub(millis(self.server.tempo.log_window * 4));
        self.merge.forget(|id| {
            cluster.allocs.get(id).is_none_or(|alloc| !alloc.is_live() && alloc.status.since.0 < settled)
        });
        if let Some(from) = self.from.as_ref().filter(|_| is_first)
            && !cluster.allocs.contains_key(&from.alloc)
        {
            self.missing.push(format!("{} is forgotten, and its lines with it", from.alloc));
        }
        for alloc in self.members(cluster) {
            if self.merge.has(&alloc.id) {
                continue;
            }
            let run = alloc.status.incarnation;
            let first_run = if self.is_anew() && is_first { run } else { Incarnation(0) };
            self.runs.insert(alloc.id.clone(), first_run);
            let lines = self.server.backend.logs().read(&alloc.id, self.slice(run, is_first)).await;
            let lines = lines.map_err(|error| unreadable(&error))?;
            let removed = lines.removed_until(self.query.stream.map(output));
            if is_first
                && let Some((from, until)) = self.from.as_ref().zip(removed)
                && until >= from.at
            {
                self.missing.push(format!("lines of {} up to {until} were removed to make room", alloc.id));
            }
            self.merge.add(alloc.id.clone(), lines);
        }
        Ok(())
    }

    /// Whether it begins with the current runs.
    fn is_anew(&self) -> bool {
        self.from.is_none() && !self.query.all && !self.query.previous
    }

    /// What to read of an alloc that is in its `run`.
    fn slice(&self, run: Incarnation, is_first: bool) -> Query {
        let LogQuery { n, since, previous, follow, .. } = &self.query;
        let before = || Incarnation(run.0.saturating_sub(1));
        let runs = match (previous, self.is_anew() && is_first && !follow) {
            (true, _) => Runs::Only(before()),
            (false, true) => Runs::Only(run),
            // The runs to come are asked for too, and after a cut those that ended meanwhile.
            (false, false) => Runs::All,
        };
        let since = since.map(|since| Timestamp(self.server.now().0.saturating_sub(millis(since))));
        let since = since.max(self.from.as_ref().map(|from| from.at));
        let tail = n.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        // Whoever comes while it is watched is heard from the first line on.
        let tail = tail.filter(|_| is_first && self.from.is_none());
        Query { tail, since, runs, follow: *follow }
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

    async fn tell(&mut self, cluster: &Cluster, alloc: AllocId, line: Line) -> Result<(), Gone> {
        let stream = match line.stream {
            Stream::Stdout => LogStream::Stdout,
            Stream::Stderr => LogStream::Stderr,
        };
        let other_run = self.runs.get(&alloc).is_some_and(|first| line.incarnation < *first);
        if other_run || self.query.stream.is_some_and(|wanted| wanted != stream) {
            return Ok(());
        }
        if let Some(since) = &mut self.quiet_since {
            *since = Instant::now();
        }
        let Some(known) = cluster.allocs.get(&alloc) else { return Ok(()) };
        let id = self.merge.cursor().map(ToString::to_string).unwrap_or_default();
        let line = LogLine {
            at: line.at,
            workload: known.workload.clone(),
            alloc,
            incarnation: line.incarnation,
            stream,
            text: line.text,
        };
        self.out.item(&id, &line).await
    }
}

const fn output(stream: LogStream) -> Stream {
    match stream {
        LogStream::Stdout => Stream::Stdout,
        LogStream::Stderr => Stream::Stderr,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn unreadable(error: &LogError) -> ApiError {
    let why = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    ApiError::new(Code::Crashed, format!("a log can't be read: {error}"))
        .because(why)
        .hint("`mill doctor` on its node looks at the disk")
}
