//! The plane's tables and their form on the wire and on disk.

use std::path::PathBuf;

use mill_drivers::logs::{Stream, StreamName};
use mill_model::Incarnation;
use mill_model::names::NameError;
use mill_rpc::v1;
use thiserror::Error;

/// All that a plane is fed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tables {
    /// Zero before the first.
    pub(crate) revision: u64,
    /// Output to be captured.
    pub(crate) streams: Vec<LogStream>,
}

/// A stream to be captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogStream {
    pub(crate) name: StreamName,
    pub(crate) fifo: PathBuf,
    /// Its container is gone.
    pub(crate) ended: bool,
}

/// Why tables can't be read: another version wrote them.
#[derive(Debug, Error)]
pub enum UnreadableTables {
    /// There are none.
    #[error("there are no tables")]
    Missing,
    /// A stream without a name.
    #[error("a stream has no name")]
    NoName,
    /// A stream of an alloc that can't be.
    #[error("`{alloc}` names no alloc")]
    Alloc {
        /// As sent.
        alloc: String,
        /// What is wrong with it.
        source: NameError,
    },
    /// A stream that is neither of the two.
    #[error("there is no stream number {stream}")]
    Stream {
        /// As sent.
        stream: i32,
    },
}

pub(crate) fn stream_id(name: &StreamName) -> v1::StreamId {
    let stream = match name.stream {
        Stream::Stdout => v1::Stream::Stdout,
        Stream::Stderr => v1::Stream::Stderr,
    };
    v1::StreamId { alloc_id: name.alloc.to_string(), incarnation: name.incarnation.0, stream: stream.into() }
}

pub(crate) fn stream_name(id: &v1::StreamId) -> Result<StreamName, UnreadableTables> {
    let stream = match id.stream() {
        v1::Stream::Stdout => Stream::Stdout,
        v1::Stream::Stderr => Stream::Stderr,
        v1::Stream::Unspecified => return Err(UnreadableTables::Stream { stream: id.stream }),
    };
    let alloc = id.alloc_id.parse();
    let alloc = alloc.map_err(|source| UnreadableTables::Alloc { alloc: id.alloc_id.clone(), source })?;
    Ok(StreamName { alloc, incarnation: Incarnation(id.incarnation), stream })
}

impl From<&Tables> for v1::Tables {
    fn from(tables: &Tables) -> Self {
        let stream = |stream: &LogStream| v1::LogStream {
            id: Some(stream_id(&stream.name)),
            // Paths are made of ids and of the data directory that the config names in text.
            fifo: stream.fifo.to_string_lossy().into_owned(),
            ended: stream.ended,
        };
        Self { revision: tables.revision, streams: tables.streams.iter().map(stream).collect() }
    }
}

impl TryFrom<&v1::Tables> for Tables {
    type Error = UnreadableTables;

    fn try_from(tables: &v1::Tables) -> Result<Self, UnreadableTables> {
        let stream = |stream: &v1::LogStream| {
            let name = stream_name(stream.id.as_ref().ok_or(UnreadableTables::NoName)?)?;
            Ok(LogStream { name, fifo: PathBuf::from(&stream.fifo), ended: stream.ended })
        };
        let streams = tables.streams.iter().map(stream);
        Ok(Self { revision: tables.revision, streams: streams.collect::<Result<_, _>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_read_back_what_was_written() {
        let name =
            |stream| StreamName { alloc: "web-7k2f".parse().unwrap(), incarnation: Incarnation(3), stream };
        let stream = |stream, ended| LogStream { name: name(stream), fifo: "/x/y.fifo".into(), ended };
        let streams = vec![stream(Stream::Stdout, false), stream(Stream::Stderr, true)];
        let tables = Tables { revision: 7, streams };
        let wire = v1::Tables::from(&tables);
        assert_eq!(Tables::try_from(&wire).unwrap(), tables);
        let told = |change: fn(&mut v1::LogStream)| {
            let mut wire = wire.clone();
            change(&mut wire.streams[0]);
            Tables::try_from(&wire).unwrap_err().to_string()
        };
        assert_eq!(told(|stream| stream.id = None), "a stream has no name");
        assert_eq!(
            told(|stream| stream.id.as_mut().unwrap().alloc_id = "../x".into()),
            "`../x` names no alloc"
        );
        assert_eq!(told(|stream| stream.id.as_mut().unwrap().stream = 9), "there is no stream number 9");
    }
}
