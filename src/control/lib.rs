//! Glue between deciders, pure like they are, so that the simulation runs the very same.

pub mod replica;
