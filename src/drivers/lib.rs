//! The outside world: one folder a foreign thing, each a small trait in Mill's words, the real one and a fake
//! that can be told to fail.

pub mod home;
pub mod host;
pub mod random;
