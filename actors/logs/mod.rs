//! Captures containers' output: one child per stream.
//!
//! - owns: the captures; publishes how far it is with the tables and which streams are drained
//! - told by: the tables (a watch: what it missed while it was down it sees when it starts), its children
//! - fails when: the tables' publisher is gone
//! - restarted by: the plane's root

mod stream;

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mill_drivers::logs::{Logs, StreamName};
use serde_json::{Value, json};
use tokio::sync::watch;
use tracing::debug;

use crate::kit::{self, Address, Crash, Me, Restart, Task};
use crate::plane::{LogStream, Tables};
use stream::Reader;

/// The room.
pub struct Readers<L>(PhantomData<fn() -> L>);

/// What it is told.
#[derive(Debug)]
pub enum Msg {
    /// There are other tables than before.
    Tables,
    /// The publisher of tables is gone.
    Orphaned,
    /// A stream whose container is gone has nothing more to read.
    Drained(StreamName),
}

impl kit::Message for Msg {
    fn name(&self) -> &'static str {
        match self {
            Self::Tables => "tables",
            Self::Orphaned => "orphaned",
            Self::Drained(_) => "drained",
        }
    }
}

/// How far it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// The revision whose streams are those it captures.
    pub revision: u64,
    /// Streams of it that have ended and have nothing more to read.
    pub drained: BTreeSet<StreamName>,
}

/// What it starts with.
#[derive(Clone)]
pub struct Args<L> {
    /// Where output goes.
    pub logs: L,
    /// What to capture.
    pub(crate) tables: watch::Receiver<Arc<Tables>>,
    /// Where progress is published.
    pub progress: watch::Sender<Progress>,
}

/// A stream under capture.
struct Captured {
    reader: Address<stream::Msg>,
    ended: Arc<AtomicBool>,
}

/// What it holds.
pub struct State<L> {
    args: Args<L>,
    captured: BTreeMap<StreamName, Captured>,
    _watching: Option<Task>,
}

impl<L: Logs> State<L> {
    /// Captures what the tables say, and nothing else.
    fn converge(&mut self, me: &Me<Readers<L>>) -> Result<(), Crash> {
        let tables = Arc::clone(&self.args.tables.borrow_and_update());
        let wanted: BTreeMap<&StreamName, &LogStream> =
            tables.streams.iter().map(|stream| (&stream.name, stream)).collect();
        let gone = |name: &StreamName, captured: &Captured| match wanted.get(name) {
            None => true,
            // Begun anew under the same name: a start that failed is tried again.
            Some(stream) => !stream.ended && captured.ended.load(Ordering::Acquire),
        };
        let gone: Vec<StreamName> = self
            .captured
            .iter()
            .filter(|(name, captured)| gone(name, captured))
            .map(|(name, _)| name.clone())
            .collect();
        for name in &gone {
            debug!(stream = %name, "no longer captured");
            self.captured.remove(name);
            me.drop_child(&name.to_string());
        }
        for stream in &tables.streams {
            match self.captured.get(&stream.name) {
                Some(captured) if stream.ended && !captured.ended.swap(true, Ordering::AcqRel) => {
                    // One that is between two lives sees it when it starts.
                    let _ = captured.reader.tell(stream::Msg::Ended);
                }
                Some(_) => {}
                None => {
                    let captured = self.capture(me, stream)?;
                    self.captured.insert(stream.name.clone(), captured);
                }
            }
        }
        // Before there are tables nobody knows what is wanted.
        if tables.revision > 0 {
            self.args.logs.keep_only(&wanted.keys().map(ToString::to_string).collect());
        }
        self.args.progress.send_modify(|progress| {
            progress.revision = tables.revision;
            progress.drained.retain(|name| wanted.contains_key(name) && !gone.contains(name));
        });
        self.watch(me);
        Ok(())
    }

    fn capture(&self, me: &Me<Readers<L>>, stream: &LogStream) -> Result<Captured, Crash> {
        let ended = Arc::new(AtomicBool::new(stream.ended));
        let args = stream::Args {
            name: stream.name.clone(),
            fifo: stream.fifo.clone(),
            ended: Arc::clone(&ended),
            logs: self.args.logs.clone(),
            readers: me.address(),
        };
        // One stream's trouble is its own.
        let reader = me.child::<Reader<L>>(stream.name.to_string(), args, Restart::Forever)?;
        Ok(Captured { reader, ended })
    }

    fn watch(&mut self, me: &Me<Readers<L>>) {
        let mut tables = self.args.tables.clone();
        let changed = async move { tables.changed().await.is_ok() };
        self._watching = Some(me.task("watch tables", changed, |changed| match changed {
            Ok(true) => Msg::Tables,
            Ok(false) | Err(_) => Msg::Orphaned,
        }));
    }

    fn drained(&self, name: StreamName) {
        let ended = self.captured.get(&name).is_some_and(|captured| captured.ended.load(Ordering::Acquire));
        if ended {
            self.args.progress.send_modify(|progress| {
                progress.drained.insert(name);
            });
        }
    }
}

impl<L: Logs> kit::Actor for Readers<L> {
    type Msg = Msg;
    type Args = Args<L>;
    type State = State<L>;

    async fn start(me: &Me<Self>, args: Args<L>) -> Result<State<L>, Crash> {
        // What an earlier life drained is drained again: its streams are captured anew.
        args.progress.send_modify(|progress| progress.drained.clear());
        let mut state = State { args, captured: BTreeMap::new(), _watching: None };
        state.converge(me)?;
        Ok(state)
    }

    async fn handle(me: &Me<Self>, msg: Msg, state: &mut State<L>) -> Result<(), Crash> {
        match msg {
            Msg::Tables => state.converge(me)?,
            Msg::Orphaned => return Err(Crash::because("nobody publishes tables any more")),
            Msg::Drained(name) => state.drained(name),
        }
        Ok(())
    }

    fn observe(state: &State<L>) -> Value {
        let progress = state.args.progress.borrow();
        json!({
            "revision": progress.revision,
            "streams": state.captured.len(),
            "drained": progress.drained.len(),
        })
    }
}
