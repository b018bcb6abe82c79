//! Everything foreign: one folder each, with a trait in Mill's words, the real thing, and a fake that can be
//! told to fail, be slow, forget, and lie.

pub mod disk;
