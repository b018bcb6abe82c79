//! A container's name: which alloc, which run of it.

use std::fmt;
use std::str::FromStr;

use mill_model::{AllocId, Incarnation};
use thiserror::Error;

/// One run of an alloc: `web-7k2f.3`. Late news about one run never touches the next (product.md §3).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerName {
    /// Which alloc.
    pub alloc: AllocId,
    /// Which run of it.
    pub incarnation: Incarnation,
}

/// A text that names no container of Mill's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a container's name is an alloc's id, a dot and a number: `web-7k2f.3`")]
pub struct ContainerNameError;

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.alloc, self.incarnation)
    }
}

impl FromStr for ContainerName {
    type Err = ContainerNameError;
    fn from_str(text: &str) -> Result<Self, ContainerNameError> {
        let (alloc, number) = text.rsplit_once('.').ok_or(ContainerNameError)?;
        let alloc = alloc.parse().map_err(|_| ContainerNameError)?;
        let name = Self { alloc, incarnation: Incarnation(number.parse().map_err(|_| ContainerNameError)?) };
        // One text per name: no `+3`, no `03`.
        if name.to_string() == text { Ok(name) } else { Err(ContainerNameError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back_what_it_prints_and_nothing_else_is_one() {
        let name: ContainerName = "web-7k2f.3".parse().unwrap();
        assert_eq!((name.alloc.as_str(), name.incarnation), ("web-7k2f", Incarnation(3)));
        assert_eq!(name.to_string(), "web-7k2f.3");
        for bad in
            ["web-7k2f", "web-7k2f.", ".3", "web-7k2f.x", "web-7k2f.03", "web-7k2f.+3", "web.3", "a/b-c.1"]
        {
            assert!(bad.parse::<ContainerName>().is_err(), "{bad}");
        }
    }
}
