//! Entries in the maps, which are opened by their pins each time: somebody may have removed them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use aya::maps::{Array, HashMap, Map, MapData, MapError};
use mill_model::ports::Protocol;

use super::layout::{
    ENTRIES, EntryBytes, EntryValue, Kind, NODE, Net, NodeBytes, NumberBytes, PORTS, PortBytes, PortKey,
    number, number_in,
};
use super::pins::Pins;
use super::{DatapathError, Entry, Mapping, Pair};
use crate::containers::ContainerName;

type Entries = HashMap<MapData, u64, EntryBytes>;
type Ports = HashMap<MapData, PortBytes, NumberBytes>;

/// Whether programs have anything to go by.
pub(super) fn are_there(pins: &Pins) -> bool {
    pins.map(ENTRIES).exists()
}

/// Writes what is so for all containers; whether it was something else.
pub(super) fn write_node(pins: &Pins, node: &NodeBytes) -> Result<bool, DatapathError> {
    let failed = failed(NODE);
    let map = Map::Array(MapData::from_pin(pins.map(NODE)).map_err(&failed)?);
    let mut map = Array::<_, NodeBytes>::try_from(map).map_err(&failed)?;
    if map.get(&0, 0).map_err(&failed)? == *node {
        return Ok(false);
    }
    map.set(0, node, 0).map_err(&failed)?;
    Ok(true)
}

/// Maps a container's ports, whose cgroup has this id.
pub(super) fn put(
    pins: &Pins,
    cgroup: u64,
    entry: &EntryValue,
    pairs: &BTreeSet<Pair>,
) -> Result<(), DatapathError> {
    let mut ports = ports(pins)?;
    for pair in pairs {
        for (key, to) in keys(cgroup, pair) {
            ports.insert(key.bytes(), number(to), 0).map_err(failed(PORTS))?;
        }
    }
    // Last: from here on its ports are asked for.
    entries(pins)?.insert(cgroup, entry.bytes(), 0).map_err(failed(ENTRIES))
}

/// Takes away a container's entries: there are several if it had several cgroups. Answers their addresses.
pub(super) fn remove(pins: &Pins, name: &ContainerName) -> Result<Vec<EntryValue>, DatapathError> {
    let mut map = entries(pins)?;
    let mut gone = vec![];
    for (cgroup, entry) in all(&map)?.into_iter().filter(|(_, entry)| entry.name == *name) {
        unless_gone(map.remove(&cgroup)).map_err(failed(ENTRIES))?;
        let mut ports = ports(pins)?;
        let pairs = pairs(&ports)?.remove(&cgroup).unwrap_or_default();
        for (key, _) in pairs.iter().flat_map(|pair| keys(cgroup, pair)) {
            unless_gone(ports.remove(&key.bytes())).map_err(failed(PORTS))?;
        }
        gone.push(entry);
    }
    Ok(gone)
}

/// All entries; `current` is asked for the id of a container's cgroup.
pub(super) fn list(
    pins: &Pins,
    net: Net,
    current: impl Fn(&ContainerName) -> Option<u64>,
) -> Result<BTreeMap<ContainerName, Entry>, DatapathError> {
    let mut pairs = pairs(&ports(pins)?)?;
    let mut found: BTreeMap<ContainerName, Entry> = BTreeMap::new();
    for (cgroup, entry) in all(&entries(pins)?)? {
        let Some(loopback) = net.loopback(entry.v4) else { continue };
        let is_current = current(&entry.name) == Some(cgroup);
        let mapping = Mapping { loopback, ports: pairs.remove(&cgroup).unwrap_or_default() };
        match found.get(&entry.name) {
            // Of a container with several cgroups the one that it has now counts.
            Some(other) if other.is_current => {}
            _ => drop(found.insert(entry.name, Entry { mapping, is_current })),
        }
    }
    Ok(found)
}

/// Private addresses that entries have.
pub(super) fn addresses(pins: &Pins) -> Result<BTreeSet<std::net::Ipv6Addr>, DatapathError> {
    Ok(all(&entries(pins)?)?.into_iter().map(|(_, entry)| entry.v6).collect())
}

/// What is written for a port.
fn keys(cgroup: u64, pair: &Pair) -> [(PortKey, u16); 3] {
    let (protocol, declared, mapped) = (pair.protocol, pair.declared.get(), pair.mapped.get());
    [
        (PortKey { cgroup, number: declared, protocol, kind: Kind::Declared }, mapped),
        (PortKey { cgroup, number: mapped, protocol, kind: Kind::Mapped }, declared),
        (PortKey { cgroup: 0, number: mapped, protocol, kind: Kind::Taken }, 1),
    ]
}

fn all(map: &Entries) -> Result<Vec<(u64, EntryValue)>, DatapathError> {
    let mut found = vec![];
    for cgroup in map.keys() {
        let cgroup = cgroup.map_err(failed(ENTRIES))?;
        match map.get(&cgroup, 0) {
            Ok(bytes) => found.extend(EntryValue::read(&bytes).map(|entry| (cgroup, entry))),
            // Removed meanwhile.
            Err(MapError::KeyNotFound) => {}
            Err(error) => return Err(failed(ENTRIES)(error)),
        }
    }
    Ok(found)
}

/// Declared ports by cgroup.
fn pairs(map: &Ports) -> Result<BTreeMap<u64, BTreeSet<Pair>>, DatapathError> {
    let mut found: BTreeMap<u64, BTreeSet<Pair>> = BTreeMap::new();
    for key in map.keys() {
        let bytes = key.map_err(failed(PORTS))?;
        let Some(key) = PortKey::declared(&bytes) else { continue };
        match map.get(&bytes, 0) {
            Ok(to) => {
                found.entry(key.cgroup).or_default().extend(pair(key.protocol, key.number, number_in(&to)));
            }
            Err(MapError::KeyNotFound) => {}
            Err(error) => return Err(failed(PORTS)(error)),
        }
    }
    Ok(found)
}

fn pair(protocol: Protocol, declared: u16, mapped: u16) -> Option<Pair> {
    Some(Pair { protocol, declared: declared.try_into().ok()?, mapped: mapped.try_into().ok()? })
}

fn entries(pins: &Pins) -> Result<Entries, DatapathError> {
    opened(&pins.map(ENTRIES)).map_err(failed(ENTRIES))
}

fn ports(pins: &Pins) -> Result<Ports, DatapathError> {
    opened(&pins.map(PORTS)).map_err(failed(PORTS))
}

fn opened<K: aya::Pod, V: aya::Pod>(path: &Path) -> Result<HashMap<MapData, K, V>, MapError> {
    HashMap::try_from(Map::HashMap(MapData::from_pin(path)?))
}

fn unless_gone(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        // That is what removing one that isn't there comes to.
        Err(MapError::SyscallError(error)) if error.io_error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn failed(name: &'static str) -> impl Fn(MapError) -> DatapathError + Copy {
    move |source| DatapathError::Map { name, source: Arc::new(source) }
}
