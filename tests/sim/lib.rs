//! Empty yet.

#[cfg(test)]
mod replica;
