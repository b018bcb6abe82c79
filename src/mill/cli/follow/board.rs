//! What a deploy's progress looks like so far: one reducer, from which the live drawing and the plain lines are made.

use std::time::Duration;

use mill_api::progress::{Outcome, Progress, Step};
use mill_model::{AllocId, Failure, NodeName, Timestamp, WorkloadName};

/// What a deploy's progress looks like so far.
#[derive(Debug, Default)]
pub(crate) struct Board {
    open: Vec<Row>,
    service_width: usize,
    /// Of each alloc that isn't healthy since, the latest last.
    failures: Vec<(WorkloadName, LastFailure)>,
    gaps: Vec<(WorkloadName, Duration)>,
    changed: bool,
    finished: Option<(Outcome, Duration)>,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    key: Key,
    pub(crate) service: Option<WorkloadName>,
    pub(crate) verb: &'static str,
    pub(crate) subject: String,
    /// Bytes done, and all; 0 where not known.
    pub(crate) bytes: Option<(u64, u64)>,
    /// What the bytes don't tell, while it is open.
    pub(crate) beside: Option<String>,
    pub(crate) mood: Mood,
    since: Timestamp,
    /// How long it took; `None` while open, and for what takes no time.
    pub(crate) took: Option<Duration>,
}

/// How a row is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Under way.
    Busy,
    /// Good news.
    Good,
    /// Bad news.
    Bad,
    /// No news.
    Quiet,
}

/// What a row is about: at most one is open for each.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    Queue,
    Wait,
    Pull(NodeName),
    Start(AllocId),
    Check(AllocId),
    Stop(AllocId),
    Rollback,
    /// Written at once, never open.
    News,
}

/// The last failed attempt of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LastFailure {
    /// Whose; `None`: it never came to an alloc.
    pub(crate) alloc: Option<AllocId>,
    pub(crate) failure: Failure,
    pub(crate) attempt: u32,
    pub(crate) log_tail: Vec<String>,
}

impl Board {
    /// Takes the next event. What comes back is written for good; the rest stays open.
    pub(crate) fn apply(&mut self, progress: &Progress) -> Vec<Row> {
        Here { board: self, progress }.apply()
    }

    /// What is under way, oldest first.
    pub(crate) fn open(&self) -> &[Row] {
        &self.open
    }

    /// The row of this service's image on its way to a node.
    pub(crate) fn pull(&self, service: Option<&WorkloadName>, node: &NodeName) -> Option<&Row> {
        let of_it =
            |row: &&Row| row.service.as_ref() == service && matches!(&row.key, Key::Pull(on) if on == node);
        self.open.iter().find(of_it)
    }

    /// How long an open row has been open.
    pub(crate) fn open_for(row: &Row, now: Timestamp) -> Duration {
        now.since(row.since)
    }

    /// How wide the longest name of a service is.
    pub(crate) const fn service_width(&self) -> usize {
        self.service_width
    }

    /// The last failed attempt of a service.
    pub(crate) fn failure(&self, service: &WorkloadName) -> Option<&LastFailure> {
        self.failures.iter().rev().find(|(of, _)| of == service).map(|(_, last)| last)
    }

    /// Services that had no healthy replica for a while, and how long.
    pub(crate) fn gaps(&self) -> &[(WorkloadName, Duration)] {
        &self.gaps
    }

    /// Whether anything was done at all.
    pub(crate) const fn changed(&self) -> bool {
        self.changed
    }

    /// How it ended, and how long it took.
    pub(crate) const fn finished(&self) -> Option<&(Outcome, Duration)> {
        self.finished.as_ref()
    }
}

impl Row {
    fn is_pull(&self) -> bool {
        matches!(self.key, Key::Pull(_))
    }

    /// Whether it may stay open for so long that it is written when it opens, where nothing can be drawn.
    pub(crate) fn is_announced(&self) -> bool {
        matches!(self.key, Key::Queue | Key::Wait)
    }
}

/// An event on its board.
struct Here<'a> {
    board: &'a mut Board,
    progress: &'a Progress,
}

impl Here<'_> {
    fn apply(mut self) -> Vec<Row> {
        let changes = !matches!(
            self.progress.step,
            Step::Queued { .. }
                | Step::Planned { .. }
                | Step::Unchanged
                | Step::Waiting { .. }
                | Step::Finished { .. }
                | Step::Unknown
        );
        self.board.changed |= changes;
        if let Some(service) = self.progress.service.clone() {
            self.board.service_width = self.board.service_width.max(service.as_str().chars().count());
            // Images come while others are waited for.
            if !matches!(self.progress.step, Step::Pulling { .. } | Step::Pulled { .. }) {
                self.close(&Key::Wait);
            }
        }
        match &self.progress.step {
            Step::Queued { .. }
            | Step::Planned { .. }
            | Step::Unchanged
            | Step::Removed
            | Step::Waiting { .. }
            | Step::Unplaced { .. }
            | Step::Skipped { .. }
            | Step::RollingBack { .. }
            | Step::RolledBack { .. }
            | Step::Done { .. } => self.of_service(),
            Step::Pulling { .. } | Step::Pulled { .. } => self.of_image(),
            Step::Finished { outcome, took_ms } => {
                self.board.finished = Some((outcome.clone(), Duration::from_millis(*took_ms)));
                self.board.open.clear();
                vec![]
            }
            Step::Unknown => vec![],
            _ => match self.progress.alloc.clone() {
                Some(alloc) => self.of_alloc(&alloc),
                None => self.failed(None),
            },
        }
    }

    fn of_service(mut self) -> Vec<Row> {
        match &self.progress.step {
            Step::Queued { behind } => {
                let subject = format!("for deploy #{behind} to end; `--replace` would call it off");
                self.open(&Key::Queue, "waiting", subject)
            }
            Step::Planned { services } => {
                let widest = services.iter().map(|name| name.as_str().chars().count()).max();
                self.board.service_width = widest.unwrap_or_default();
                self.board.open.retain(|row| row.key != Key::Queue);
                vec![]
            }
            Step::Unchanged => self.news("unchanged", String::new(), Mood::Quiet),
            Step::Removed => self.news("removed", String::new(), Mood::Good),
            Step::Waiting { on } => {
                let on: Vec<&str> = on.iter().map(WorkloadName::as_str).collect();
                self.open(&Key::Wait, "waiting", format!("for {}", on.join(", ")))
            }
            Step::Unplaced { nodes } => {
                let nodes: Vec<String> = nodes.iter().map(|n| format!("{}: {}", n.node, n.reason)).collect();
                self.open(&Key::Wait, "unplaced", format!("no node fits; {}", nodes.join("; ")))
            }
            Step::Skipped { because } => self.news("skipped", because.clone(), Mood::Bad),
            Step::RollingBack { reason } => self.open(&Key::Rollback, "rollback", reason.clone()),
            Step::RolledBack { gap_ms } => {
                self.note_gap(*gap_ms);
                let row = self.row(Key::Rollback, "rollback", "all is as before".into());
                self.end(&Key::Rollback, Row { mood: Mood::Bad, ..row })
            }
            Step::Done { gap_ms, .. } => {
                self.note_gap(*gap_ms);
                let service = self.progress.service.clone();
                self.board.open.retain(|row| row.service != service);
                vec![]
            }
            _ => vec![],
        }
    }

    fn of_image(mut self) -> Vec<Row> {
        match &self.progress.step {
            Step::Pulling { node, pulling } => {
                let key = Key::Pull(node.clone());
                let bytes = Some((pulling.bytes_done, pulling.bytes_total));
                let beside = pulling.beside_bytes();
                match self.find(&key) {
                    Some(row) => (row.bytes, row.beside) = (bytes, beside),
                    None => {
                        let row = self.row(key, "pulling", node.to_string());
                        self.board.open.push(Row { bytes, beside, ..row });
                    }
                }
                vec![]
            }
            Step::Pulled { node, bytes } => {
                let key = Key::Pull(node.clone());
                let row = self.row(key.clone(), "pulling", node.to_string());
                self.end(&key, Row { bytes: bytes.map(|bytes| (bytes, bytes)), mood: Mood::Quiet, ..row })
            }
            _ => vec![],
        }
    }

    fn of_alloc(mut self, alloc: &AllocId) -> Vec<Row> {
        let (start, check, stop) =
            (Key::Start(alloc.clone()), Key::Check(alloc.clone()), Key::Stop(alloc.clone()));
        match &self.progress.step {
            Step::Starting { node } => {
                self.close(&check);
                self.open(&start, "starting", format!("{alloc} on {node}"))
            }
            Step::Running => {
                let subject = self.find(&start).map_or_else(|| alloc.to_string(), |row| row.subject.clone());
                let row = self.row(start.clone(), "starting", subject);
                let written = self.end(&start, Row { mood: Mood::Quiet, ..row });
                self.open(&check, "checking", alloc.to_string());
                written
            }
            Step::NotYetHealthy { last, attempt, log_tail } => {
                let failure = Failure::Unhealthy { last: last.clone() };
                self.note_failure(Some(alloc.clone()), failure, *attempt, log_tail);
                self.news("checking", format!("{alloc}: not healthy yet: {last}"), Mood::Quiet)
            }
            Step::Healthy | Step::Succeeded => {
                self.forget_failure(Some(alloc));
                let verb = if self.progress.step == Step::Healthy { "healthy" } else { "done" };
                let row = self.row(check.clone(), verb, alloc.to_string());
                self.end(&check, Row { mood: Mood::Good, ..row })
            }
            Step::Unhealthy { last } => self.news("unhealthy", format!("{alloc}: {last}"), Mood::Bad),
            Step::Stopping { old } => {
                if !old {
                    self.close_pulls();
                }
                self.close(&start);
                self.close(&check);
                self.open(&stop, "stopping", named(alloc, *old))
            }
            Step::Stopped { old } => {
                let row = self.row(stop.clone(), "stopped", named(alloc, *old));
                self.end(&stop, Row { mood: Mood::Quiet, ..row })
            }
            _ => {
                self.close(&start);
                self.close(&check);
                self.failed(Some(alloc.clone()))
            }
        }
    }

    /// Nobody says of a pull that it ended without the image. If another node goes on, it says so.
    fn close_pulls(&mut self) {
        let service = &self.progress.service;
        self.board.open.retain(|row| !(row.is_pull() && row.service == *service));
    }

    fn failed(mut self, alloc: Option<AllocId>) -> Vec<Row> {
        let Step::Failed { failure, attempt, log_tail } = &self.progress.step else { return vec![] };
        self.close_pulls();
        let who = alloc.as_ref().map(|alloc| format!("{alloc}: ")).unwrap_or_default();
        let subject = format!("{who}{failure} (attempt {attempt})");
        self.note_failure(alloc, failure.clone(), *attempt, log_tail);
        self.news("failed", subject, Mood::Bad)
    }

    fn note_gap(&mut self, gap_ms: Option<u64>) {
        if let (Some(gap), Some(service)) = (gap_ms, self.progress.service.clone()) {
            self.board.gaps.push((service, Duration::from_millis(gap)));
        }
    }

    fn note_failure(&mut self, alloc: Option<AllocId>, failure: Failure, attempt: u32, log_tail: &[String]) {
        self.forget_failure(alloc.as_ref());
        if let Some(service) = self.progress.service.clone() {
            let last = LastFailure { alloc, failure, attempt, log_tail: log_tail.to_vec() };
            self.board.failures.push((service, last));
        }
    }

    fn forget_failure(&mut self, alloc: Option<&AllocId>) {
        let service = self.progress.service.as_ref();
        self.board.failures.retain(|(of, last)| (Some(of), last.alloc.as_ref()) != (service, alloc));
    }

    fn row(&self, key: Key, verb: &'static str, subject: String) -> Row {
        let service = self.progress.service.clone();
        Row {
            key,
            service,
            verb,
            subject,
            bytes: None,
            beside: None,
            mood: Mood::Busy,
            since: self.progress.at,
            took: None,
        }
    }

    fn news(&self, verb: &'static str, subject: String, mood: Mood) -> Vec<Row> {
        vec![Row { mood, ..self.row(Key::News, verb, subject) }]
    }

    fn find(&mut self, key: &Key) -> Option<&mut Row> {
        let service = &self.progress.service;
        self.board.open.iter_mut().find(|row| row.key == *key && row.service == *service)
    }

    /// Opens a row, in place of the one that is open for the same.
    fn open(&mut self, key: &Key, verb: &'static str, subject: String) -> Vec<Row> {
        let row = self.row(key.clone(), verb, subject);
        match self.find(key) {
            Some(old) => *old = row,
            None => self.board.open.push(row),
        }
        vec![]
    }

    /// Takes away what is open, without a word.
    fn close(&mut self, key: &Key) -> Option<Row> {
        let service = &self.progress.service;
        let index = self.board.open.iter().position(|row| row.key == *key && row.service == *service)?;
        Some(self.board.open.remove(index))
    }

    /// Writes `row` with the time that passed since it was opened.
    fn end(&mut self, key: &Key, row: Row) -> Vec<Row> {
        let took = self.close(key).map(|old| self.progress.at.since(old.since));
        vec![Row { took, ..row }]
    }
}

fn named(alloc: &AllocId, old: bool) -> String {
    match old {
        true => format!("{alloc} (old)"),
        false => alloc.to_string(),
    }
}
