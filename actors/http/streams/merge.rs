//! Lines of several allocs as one stream, by time.
//!
//! What is there already is merged exactly: the earliest line of all goes first. What is written while it is watched
//! comes when it comes, so a fresh line waits a moment (`Tempo::log_window`) for earlier ones of others; an alloc that
//! has had nothing to say for that long holds nobody up. That order makes a line's [`Cursor`] short: everything before
//! it was sent, nothing after it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use mill_drivers::logs::{Line, LogError};
use mill_model::{AllocId, Timestamp};
use tokio::time::Instant;

/// A place between two lines of a stream: after the `count`-th line of `alloc` with the time `at`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) at: Timestamp,
    pub(super) alloc: AllocId,
    pub(super) count: u64,
}

/// A text that is no cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NoCursor;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.at.0, self.count, self.alloc)
    }
}

impl FromStr for Cursor {
    type Err = NoCursor;
    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let mut parts = text.splitn(3, '.');
        let mut part = || parts.next().ok_or(NoCursor);
        let (at, count, alloc) = (part()?, part()?, part()?);
        let number = |text: &str| text.parse().map_err(|_| NoCursor);
        Ok(Self {
            at: Timestamp(number(at)?),
            count: number(count)?,
            alloc: alloc.parse().map_err(|_| NoCursor)?,
        })
    }
}

impl Cursor {
    /// How many of the lines of `alloc` with this cursor's time were sent; `None`: all of them.
    fn sent_of(&self, alloc: &AllocId) -> Option<u64> {
        match alloc.cmp(&self.alloc) {
            std::cmp::Ordering::Less => None,
            std::cmp::Ordering::Equal => Some(self.count),
            std::cmp::Ordering::Greater => Some(0),
        }
    }
}

/// What is merged.
pub(super) struct Merge<L> {
    sources: BTreeMap<AllocId, Source<L>>,
    /// Everything that was ever added: what is forgotten isn't read again.
    seen: BTreeSet<AllocId>,
    window: Duration,
    follow: bool,
    /// Where the client has been before.
    from: Option<Cursor>,
    /// After the last line that was given out.
    at: Option<Cursor>,
    /// A source that couldn't be read, not told yet.
    failed: Option<LogError>,
}

struct Source<L> {
    lines: L,
    head: Option<Head>,
    /// Since when it has been asked for its next line.
    asked: Instant,
    /// It had nothing to say for a while: nobody waits for it.
    is_quiet: bool,
    has_ended: bool,
    /// Lines with the resumed cursor's time that were passed over.
    passed: u64,
}

struct Head {
    line: Line,
    arrived: Instant,
}

/// What to wait for.
enum Step {
    Give(AllocId),
    WaitUntil(Instant),
    Wait,
    Ended,
}

impl<L: Stream<Item = Result<Line, LogError>> + Unpin> Merge<L> {
    pub(super) fn new(window: Duration, follow: bool, from: Option<Cursor>) -> Self {
        Self { sources: BTreeMap::new(), seen: BTreeSet::new(), window, follow, from, at: None, failed: None }
    }

    /// Whether it is or was merged.
    pub(super) fn has(&self, alloc: &AllocId) -> bool {
        self.seen.contains(alloc)
    }

    pub(super) fn add(&mut self, alloc: AllocId, lines: L) {
        let asked = Instant::now();
        let source = Source { lines, head: None, asked, is_quiet: false, has_ended: false, passed: 0 };
        self.seen.insert(alloc.clone());
        self.sources.insert(alloc, source);
    }

    /// Forgets the sources that `is_over` says are, once they have nothing more to say.
    pub(super) fn forget(&mut self, is_over: impl Fn(&AllocId) -> bool) {
        self.sources.retain(|alloc, source| source.head.is_some() || !source.is_quiet || !is_over(alloc));
    }

    /// After the last line that was given out: where a client that lost the connection goes on.
    pub(super) fn cursor(&self) -> Option<&Cursor> {
        self.at.as_ref()
    }

    /// The next line; `None`: all have been read, and nobody follows. May be dropped at any time without losing one.
    pub(super) async fn next(
        &mut self,
        now: impl Fn() -> Timestamp,
    ) -> Option<Result<(AllocId, Line), LogError>> {
        loop {
            std::future::poll_fn(|context| Poll::Ready(self.fill(context))).await;
            if let Some(error) = self.failed.take() {
                return Some(Err(error));
            }
            match self.step(now()) {
                Step::Give(alloc) => {
                    if let Some(line) = self.give(&alloc) {
                        return Some(Ok((alloc, line)));
                    }
                }
                Step::Ended => return None,
                Step::WaitUntil(until) => {
                    let _ = tokio::time::timeout_at(until, self.filled()).await;
                }
                Step::Wait => self.filled().await,
            }
        }
    }

    /// Waits until a source has something new.
    async fn filled(&mut self) {
        std::future::poll_fn(|context| if self.fill(context) { Poll::Ready(()) } else { Poll::Pending })
            .await;
    }

    /// Asks every source without a line for its next; whether any had news.
    fn fill(&mut self, context: &mut Context<'_>) -> bool {
        let mut news = false;
        for source in self.sources.values_mut().filter(|source| source.head.is_none() && !source.has_ended) {
            match source.lines.poll_next_unpin(context) {
                Poll::Pending => {}
                Poll::Ready(None) => {
                    source.has_ended = true;
                    news = true;
                }
                Poll::Ready(Some(Err(error))) => {
                    source.has_ended = true;
                    self.failed = Some(error);
                    news = true;
                }
                Poll::Ready(Some(Ok(line))) => {
                    source.head = Some(Head { line, arrived: Instant::now() });
                    source.is_quiet = false;
                    news = true;
                }
            }
        }
        news
    }

    fn step(&mut self, now: Timestamp) -> Step {
        let here = Instant::now();
        let mut waits = false;
        for source in self.sources.values_mut().filter(|source| source.head.is_none() && !source.has_ended) {
            source.is_quiet |= self.follow && source.asked + self.window <= here;
            waits |= !source.is_quiet;
        }
        let heads = self.sources.iter().filter_map(|(alloc, source)| Some((alloc, source.head.as_ref()?)));
        let earliest = heads.min_by_key(|(alloc, head)| (head.line.at, *alloc));
        let Some((alloc, head)) = earliest else {
            return if self.follow || waits { Step::Wait } else { Step::Ended };
        };
        // One that others may still undercut waits for them; nobody waits for longer than the window.
        let age = if waits { Duration::ZERO } else { now.since(head.line.at) };
        let ripe = head.arrived + self.window.saturating_sub(age);
        match (self.follow, waits) {
            (false, true) => Step::Wait,
            (true, _) if ripe > here => Step::WaitUntil(ripe),
            _ => Step::Give(alloc.clone()),
        }
    }

    /// Takes a line out; `None`: the client has it already.
    fn give(&mut self, alloc: &AllocId) -> Option<Line> {
        let source = self.sources.get_mut(alloc)?;
        let line = source.head.take()?.line;
        source.asked = Instant::now();
        if let Some(from) = &self.from {
            let sent = from.sent_of(alloc);
            let again =
                line.at < from.at || line.at == from.at && sent.is_none_or(|sent| source.passed < sent);
            if again {
                source.passed += u64::from(line.at == from.at);
                return None;
            }
        }
        self.note(alloc, line.at);
        Some(line)
    }

    /// Moves the cursor behind a line. A line that came too late to be in order doesn't move it back.
    fn note(&mut self, alloc: &AllocId, at: Timestamp) {
        let start = self.from.clone().filter(|from| from.at == at && from.alloc == *alloc);
        let last = self.at.take().or(start);
        self.at = Some(match last {
            Some(last) if (last.at, &last.alloc) == (at, alloc) => Cursor { count: last.count + 1, ..last },
            Some(last) if (last.at, &last.alloc) > (at, alloc) => last,
            _ => Cursor { at, alloc: alloc.clone(), count: 1 },
        });
    }
}

#[cfg(test)]
mod tests {
    use std::convert::identity;

    use futures::stream::{self, BoxStream};
    use mill_drivers::logs::Stream as LogStream;
    use mill_model::Incarnation;
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::UnboundedReceiverStream;

    use super::*;

    type Lines = BoxStream<'static, Result<Line, LogError>>;

    const WINDOW: Duration = Duration::from_millis(250);

    fn id(name: &str) -> AllocId {
        name.parse().unwrap()
    }

    fn line(at: u64, text: &str) -> Line {
        let text = text.to_owned();
        let (alloc, stream) = (id("x-2"), LogStream::Stdout);
        Line { at: Timestamp(at), alloc, incarnation: Incarnation(1), stream, text, dropped: None }
    }

    fn kept(lines: &[(u64, &str)]) -> Lines {
        let lines: Vec<_> = lines.iter().map(|(at, text)| Ok(line(*at, text))).collect();
        stream::iter(lines).boxed()
    }

    fn sources() -> Vec<(AllocId, Lines)> {
        vec![
            (id("a-2"), kept(&[(1, "a1"), (5, "a2"), (5, "a3"), (9, "a4")])),
            (id("b-2"), kept(&[(2, "b1"), (5, "b2"), (5, "b3"), (5, "b4")])),
            (id("c-2"), kept(&[])),
        ]
    }

    async fn all(from: Option<Cursor>) -> Vec<(String, String)> {
        let mut merge = Merge::new(WINDOW, false, from);
        for (alloc, lines) in sources() {
            merge.add(alloc, lines);
        }
        let mut seen = vec![];
        while let Some(line) = merge.next(|| Timestamp(100)).await {
            let (_, line) = line.unwrap();
            seen.push((line.text, merge.cursor().unwrap().to_string()));
        }
        seen
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_cut_after_any_line_goes_on_with_the_next() {
        let whole = all(None).await;
        let texts: Vec<&str> = whole.iter().map(|(text, _)| &**text).collect();
        assert_eq!(texts, ["a1", "b1", "a2", "a3", "b2", "b3", "b4", "a4"]);
        for (index, (_, cursor)) in whole.iter().enumerate() {
            let from: Cursor = cursor.parse().unwrap();
            assert_eq!(from.to_string(), *cursor);
            assert_eq!(all(Some(from)).await, whole[index + 1..], "cut after line {index}");
        }
    }

    #[test]
    fn a_text_that_is_no_cursor_is_refused() {
        for bad in ["", "1", "1.2", "x.1.a-2", "1.x.a-2", "1.2.", "1.2.a", "1.2.A-2", "-1.2.a-2"] {
            assert_eq!(bad.parse::<Cursor>(), Err(NoCursor), "{bad:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_fresh_line_waits_for_an_earlier_one_and_a_quiet_alloc_holds_nobody_up() {
        let mut merge: Merge<Lines> = Merge::new(WINDOW, true, None);
        let mut writers = vec![];
        for name in ["a-2", "b-2", "c-2"] {
            let (writer, reader) = mpsc::unbounded_channel();
            merge.add(id(name), UnboundedReceiverStream::new(reader).map(identity).boxed());
            writers.push(writer);
        }
        let begun = Instant::now();
        writers[1].send(Ok(line(1000, "later"))).unwrap();
        let late = writers[0].clone();
        let writing = tokio::spawn(async move {
            tokio::time::sleep(WINDOW / 2).await;
            late.send(Ok(line(999, "earlier"))).unwrap();
        });
        let first = merge.next(|| Timestamp(1000)).await.unwrap().unwrap();
        let second = merge.next(|| Timestamp(1000)).await.unwrap().unwrap();
        assert_eq!((first.1.text.as_str(), second.1.text.as_str()), ("earlier", "later"));
        assert!(begun.elapsed() <= WINDOW * 2, "{:?}", begun.elapsed());
        writing.await.unwrap();

        // An old line needn't wait, once the others are known to be quiet.
        tokio::time::timeout(WINDOW * 2, merge.next(|| Timestamp(5000))).await.unwrap_err();
        let begun = Instant::now();
        writers[2].send(Ok(line(2000, "old"))).unwrap();
        merge.next(|| Timestamp(5000)).await.unwrap().unwrap();
        assert_eq!(begun.elapsed(), Duration::ZERO);
        merge.forget(|alloc| alloc.as_str() == "b-2");
        assert_eq!(merge.sources.keys().map(AllocId::as_str).collect::<Vec<_>>(), ["a-2", "c-2"]);
        assert!(merge.has(&id("b-2")), "what is forgotten isn't read again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_that_fails_says_so() {
        let mut merge: Merge<Lines> = Merge::new(WINDOW, false, None);
        merge.add(id("a-2"), stream::iter([Err(LogError::Interrupted)]).boxed());
        assert!(merge.next(|| Timestamp(0)).await.unwrap().is_err());
        assert!(merge.next(|| Timestamp(0)).await.is_none());
    }
}
