//! What people are told of a state, an error or an event: what it means, and what to do about it.
//!
//! # Why
//! The words live beside the thing, in a `match` that names every case: one without words doesn't compile. What is
//! printed as a hint and what the operations page says are the same words, and [`crate::every!`] sees that none is
//! missing on the page.

/// What something means, and what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advice {
    /// What it means, in a sentence without a full stop.
    pub means: &'static str,
    /// What to do, in the same form; empty: nothing. `NAME` stands for what it is about.
    pub todo: &'static str,
}

impl Advice {
    /// Something that passes, or is as it should be.
    pub const fn fine(means: &'static str) -> Self {
        Self { means, todo: "" }
    }

    /// Something that a person may have to do something about.
    pub const fn mend(means: &'static str, todo: &'static str) -> Self {
        Self { means, todo }
    }
}

/// Gives an enum without fields a list of all its variants; one that is missing from it doesn't compile.
#[macro_export]
macro_rules! every {
    ($kind:ident: $($variant:ident),+ $(,)?) => {
        impl $kind {
            /// All of them.
            pub const EVERY: &'static [Self] = &[$(Self::$variant),+];
        }

        const _: fn($kind) = |one| match one {
            $($kind::$variant)|+ => {}
        };
    };
}
