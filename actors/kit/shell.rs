//! A room's behaviour as ractor wants it: counts, catches panics, refuses what was taken back.

use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::FutureExt as _;
use ractor::{ActorProcessingErr, ActorRef};
use tracing::{Instrument as _, Span, info_span};

use super::actor::{Actor, Crash, Message as _};
use super::address::{Aside, Envelope, Mailbox, Slot};
use super::life::{End, Life};
use super::me::Me;
use super::stats::Status;

/// What a panic says that was ordered ([`super::Introspect::panic`]).
const ORDERED: &str = "ordered to";

/// The ractor actor around a room.
pub(super) struct Shell<A>(PhantomData<fn() -> A>);

impl<A> Shell<A> {
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

/// What a life is born with.
pub(super) struct Birth<A: Actor> {
    pub(super) slot: Arc<Slot<A::Msg>>,
    pub(super) life: Arc<Life>,
    pub(super) args: A::Args,
}

/// What ractor holds for us.
pub(super) struct Inside<A: Actor> {
    me: Me<A>,
    state: A::State,
    span: Span,
}

impl<A: Actor> ractor::Actor for Shell<A> {
    type Msg = Envelope<A::Msg>;
    /// Empty once the life has ended in order: its end isn't put off by whoever still holds the shell.
    type State = Option<Inside<A>>;
    type Arguments = Birth<A>;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        birth: Birth<A>,
    ) -> Result<Self::State, ActorProcessingErr> {
        let Birth { slot, life, args } = birth;
        let mailbox = Mailbox { actor: myself, life: Arc::clone(&life) };
        embody(&mailbox);
        slot.set(Some(mailbox.clone()));
        let me = Me::new(mailbox, slot);
        let span = info_span!(parent: &life.world.span, "actor", path = %life.node.path);
        life.node.stats.begin("start");
        let started = caught(A::start(&me, args)).instrument(span.clone()).await;
        life.node.stats.idle();
        match started {
            Ok(state) => {
                life.node.stats.set_status(Status::Running);
                life.up.cancel();
                Ok(Some(Inside { me, state, span }))
            }
            Err(crash) => Err(ended_by(&life, crash)),
        }
    }

    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        envelope: Self::Msg,
        inside: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let Some(inside) = inside else { return Ok(()) };
        let life = Arc::clone(inside.me.life());
        match envelope {
            Envelope::Aside(Aside::Panic) => {
                life.node.stats.begin("panic");
                #[expect(clippy::panic, reason = "it is what was ordered")]
                let panicked = caught::<()>(async { panic!("{ORDERED}") });
                panicked.instrument(inside.span.clone()).await.map_err(|crash| ended_by(&life, crash))
            }
            Envelope::Aside(Aside::Observe(reply)) => {
                life.observing.store(false, Ordering::Release);
                let observed = std::panic::catch_unwind(AssertUnwindSafe(|| A::observe(&inside.state)));
                let _ = reply.send(observed.unwrap_or_else(|_| "its observe panicked".into()));
                Ok(())
            }
            Envelope::Work { msg, cancelled } => {
                life.depth.fetch_sub(1, Ordering::Relaxed);
                let taken_back = cancelled.is_some_and(|cancelled| cancelled.load(Ordering::Acquire));
                if taken_back || life.is_closed() {
                    return Ok(());
                }
                life.node.stats.begin(msg.name());
                let handled = caught(A::handle(&inside.me, msg, &mut inside.state));
                let handled = handled.instrument(inside.span.clone()).await;
                life.node.stats.handled();
                handled.map_err(|crash| ended_by(&life, crash))
            }
        }
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<Self::Msg>,
        inside: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let Some(Inside { me, mut state, span }) = inside.take() else { return Ok(()) };
        let life = Arc::clone(me.life());
        life.close();
        life.node.stats.begin("stop");
        let stopped = async {
            A::stop(&me, &mut state).await;
            Ok(())
        };
        let stopped = caught(stopped).instrument(span).await;
        life.node.stats.idle();
        match stopped {
            Ok(()) => life.note(End::Stopped),
            Err(crash) => return Err(ended_by(&life, crash)),
        }
        Ok(())
    }
}

/// Ties a life to its actor. Both the maker and the actor itself do, since either may be first.
pub(super) fn embody<M: super::actor::Message>(mailbox: &Mailbox<M>) {
    let asked = mailbox.actor.clone();
    let prompter = Box::new(move |aside| asked.send_message(Envelope::Aside(aside)).is_ok());
    mailbox.life.embody(mailbox.actor.get_cell(), prompter);
}

/// Runs a room's code: a panic is a crash with what it said.
async fn caught<T>(code: impl Future<Output = Result<T, Crash>> + Send) -> Result<T, Crash> {
    let done = AssertUnwindSafe(code).catch_unwind().await;
    done.unwrap_or_else(|panic| Err(Crash::panicked(&*panic)))
}

/// Notes how the life ended; ractor hears no more than that it did.
fn ended_by(life: &Life, crash: Crash) -> ActorProcessingErr {
    life.node.stats.crashed(&crash);
    let told = crash.to_string().into();
    life.note(End::Crashed(crash));
    told
}
