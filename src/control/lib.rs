//! The deciders put together: what actors wrap, and what the simulation runs without them.

pub mod leader;
