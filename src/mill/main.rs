//! Mill.
fn main() {}
