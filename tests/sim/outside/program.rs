//! How programs behave, by the image that they are in.

use mill_alloc::Exit;
use mill_model::Timestamp;

use crate::dice::Dice;

/// What is in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Serves. As long as the story is wild it may crash, fall ill, or ignore its stop signal.
    Good,
    /// Ends before it is ready.
    Crashes(Exit),
    /// Runs, and is never ready.
    NeverReady,
    /// Can't have its port.
    Clashes,
    /// The registry doesn't know it.
    NoImage,
    /// The registry never gives it.
    PullFails,
    /// It has no such program.
    NoCommand,
    /// The runtime can't start it.
    StartFails,
    /// A task that runs to its end.
    Runs,
    /// A task that fails.
    Fails,
    /// A task that never ends by itself.
    Hangs,
}

impl Kind {
    /// Whether a service of it never becomes healthy.
    pub(crate) const fn is_bad(self) -> bool {
        !matches!(self, Self::Good | Self::Runs)
    }
}

/// What one run of a program is going to do.
#[derive(Debug, Clone, Default)]
pub(crate) struct Program {
    /// From when on it is well; `None`: never.
    pub(crate) ready_at: Option<Timestamp>,
    /// While it is ill.
    pub(crate) ill: Option<(Timestamp, Timestamp)>,
    /// When it ends by itself, and how.
    pub(crate) ends: Option<(Timestamp, Exit)>,
    /// Milliseconds from the stop signal to its end; `None`: it ignores it.
    pub(crate) obeys_after: Option<u64>,
}

impl Program {
    pub(crate) fn is_well(&self, now: Timestamp) -> bool {
        let ready = self.ready_at.is_some_and(|at| at <= now);
        ready && self.ill.is_none_or(|(from, to)| now < from || to <= now)
    }

    pub(crate) fn draw(kind: Kind, now: Timestamp, wild: bool, dice: &mut Dice) -> Self {
        let at = |ms: u64| Timestamp(now.0 + ms);
        let longest = if dice.percent(80) { 500 } else { 8000 };
        let ready = at(dice.between(0, longest));
        let obeys_after = match wild && dice.percent(15) {
            true => None,
            false if dice.percent(80) => Some(dice.below(300)),
            false => Some(dice.below(9000)),
        };
        let program = Self { obeys_after, ..Self::default() };
        match kind {
            Kind::Good => {
                let mut program = Self { ready_at: Some(ready), ..program };
                if wild && dice.percent(15) {
                    program.ends = Some((at(dice.below(120_000)), any_exit(dice)));
                }
                if wild && dice.percent(15) {
                    let from = dice.below(60_000);
                    program.ill = Some((at(from), at(from + dice.below(90_000))));
                }
                program
            }
            // Before the second after which a service without a check counts as healthy.
            Kind::Crashes(exit) => Self { ends: Some((at(dice.below(600)), exit)), ..program },
            Kind::Runs => Self { ends: Some((at(dice.below(5000)), Exit::Code(0))), ..program },
            Kind::Fails => Self { ends: Some((at(dice.below(5000)), Exit::Code(3))), ..program },
            Kind::NeverReady | Kind::Clashes | Kind::Hangs => program,
            Kind::NoImage | Kind::PullFails | Kind::NoCommand | Kind::StartFails => program,
        }
    }
}

fn any_exit(dice: &mut Dice) -> Exit {
    match dice.below(5) {
        0 => Exit::Code(0),
        1 => Exit::Code(1),
        2 => Exit::Signal(11),
        3 => Exit::NodeOutOfMemory,
        _ => Exit::OutOfMemory,
    }
}
