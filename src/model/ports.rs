//! Ports: the ones a program listens on, and the ones where the world reaches it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::PortName;

/// What is spoken on a port.
#[derive(
    Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// An alloc's private loopback on its node, by number: where ports go that it binds and doesn't declare (product.md §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Loopback(pub NonZeroU16);

impl fmt::Display for Loopback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A port that a program listens on, as its config declares it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Port {
    /// Its name, if it has one.
    pub name: Option<PortName>,
    /// The number that the program binds.
    pub number: NonZeroU16,
    /// What is spoken there.
    pub protocol: Protocol,
}

impl Port {
    /// Its name, else its number: how people and references call it.
    pub fn label(&self) -> String {
        self.name.as_ref().map_or_else(|| self.number.to_string(), ToString::to_string)
    }
}

/// A declared port and the number from the node's pool that stands for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct MappedPort {
    /// What the config declares.
    pub declared: Port,
    /// The number on the node, unique there among live allocs.
    pub mapped: NonZeroU16,
    /// Where the program was seen to listen instead, if it doesn't obey `PORT` or listens on one address only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<SocketAddr>,
}

impl MappedPort {
    /// A declared port, and the number that is to stand for it.
    pub const fn new(declared: Port, mapped: NonZeroU16) -> Self {
        Self { declared, mapped, seen: None }
    }

    /// Where it is reached, on a node with this address.
    pub fn reached_at(&self, node: IpAddr) -> SocketAddr {
        self.seen.unwrap_or_else(|| SocketAddr::new(node, self.mapped.get()))
    }
}
