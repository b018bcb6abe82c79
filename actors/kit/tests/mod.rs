//! The kit, proved under paused time. One room does what a test tells it.

mod crashes;
mod errands;
mod looking;
mod messages;
mod stopping;

use std::any::Any;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mill_model::Tempo;
use serde_json::{Value, json};

use super::*;

/// What a room does in its start.
type Begin = dyn Fn(&Me<Room>) -> Result<(), Crash> + Send + Sync;

/// What a test has a room do, with the room's hand and state.
type Deed = Box<dyn FnOnce(&Me<Room>, &mut State) -> Result<(), Crash> + Send>;

/// What happened, in order.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    fn write(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    fn read(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn count(&self, line: &str) -> usize {
        self.read().iter().filter(|written| *written == line).count()
    }
}

/// A room that obeys.
struct Room;

enum Msg {
    Do(Deed),
    Note(&'static str),
    Wait(Duration),
    Ask(Reply<u32>),
    /// A question that is put aside and answered by nobody.
    Ignore(Reply<u32>),
}

impl Message for Msg {
    fn name(&self) -> &'static str {
        match self {
            Self::Do(_) => "do",
            Self::Note(_) => "note",
            Self::Wait(_) => "wait",
            Self::Ask(_) => "ask",
            Self::Ignore(_) => "ignore",
        }
    }
}

#[derive(Clone)]
struct Args {
    diary: Diary,
    /// Run in each start; an error fails it.
    begin: Arc<Begin>,
    /// How long a start and a stop take.
    start_takes: Duration,
    stop_takes: Duration,
}

impl Args {
    fn new(diary: &Diary) -> Self {
        Self {
            diary: diary.clone(),
            begin: Arc::new(|_| Ok(())),
            start_takes: Duration::ZERO,
            stop_takes: Duration::ZERO,
        }
    }

    fn begins(diary: &Diary, begin: impl Fn(&Me<Room>) -> Result<(), Crash> + Send + Sync + 'static) -> Self {
        Self { begin: Arc::new(begin), ..Self::new(diary) }
    }
}

struct State {
    name: String,
    args: Args,
    notes: u32,
    kept: Vec<Box<dyn Any + Send>>,
}

impl Drop for State {
    fn drop(&mut self) {
        self.args.diary.write(format!("drop {}", self.name));
    }
}

impl Actor for Room {
    type Msg = Msg;
    type Args = Args;
    type State = State;
    const MAILBOX_MAX: usize = 4;

    async fn start(me: &Me<Self>, args: Args) -> Result<State, Crash> {
        let name = me.path().to_string();
        args.diary.write(format!("start {name}"));
        tokio::time::sleep(args.start_takes).await;
        (args.begin)(me)?;
        Ok(State { name, args, notes: 0, kept: vec![] })
    }

    async fn handle(me: &Me<Self>, msg: Msg, state: &mut State) -> Result<(), Crash> {
        match msg {
            Msg::Do(deed) => deed(me, state)?,
            Msg::Note(note) => {
                state.notes += 1;
                state.args.diary.write(note);
            }
            Msg::Wait(long) => tokio::time::sleep(long).await,
            Msg::Ask(reply) => reply.send(state.notes),
            Msg::Ignore(reply) => state.kept.push(Box::new(reply)),
        }
        Ok(())
    }

    async fn stop(_me: &Me<Self>, state: &mut State) {
        tokio::time::sleep(state.args.stop_takes).await;
        state.args.diary.write(format!("stop {}", state.name));
    }

    fn observe(state: &State) -> Value {
        json!({ "notes": state.notes })
    }
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A tree with an obeying root called `root`.
async fn tree(diary: &Diary) -> Tree<Msg> {
    Tree::start::<Room>("root", Args::new(diary), Arc::new(Tempo::default())).await.unwrap()
}

fn order(to: &Address<Msg>, deed: impl FnOnce(&Me<Room>, &mut State) -> Result<(), Crash> + Send + 'static) {
    to.tell(Msg::Do(Box::new(deed))).unwrap();
}

/// Has the room at `parent` start a child, and waits until that is up.
async fn child(parent: &Address<Msg>, name: &'static str, args: Args, restart: Restart) -> Address<Msg> {
    let (reply, made) = Reply::channel();
    order(parent, move |me, _| {
        reply.send(me.child::<Room>(name, args, restart));
        Ok(())
    });
    let address = made.await.unwrap().unwrap();
    address.ask(secs(60), Msg::Ask).await.unwrap();
    address
}

/// Polls until `so` holds; paused time passes meanwhile.
async fn until(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..100_000 {
        if so() {
            return;
        }
        tokio::time::sleep(ms(1)).await;
    }
    panic!("never came: {what}");
}

async fn info(tree: &Tree<Msg>, path: &str) -> ActorInfo {
    let all = tree.introspect().tree().await;
    all.find(path).unwrap_or_else(|| panic!("no {path} in {all:#?}")).clone()
}
