//! Server-sent events (WHATWG HTML §9.2), as far as Mill uses them: both ends.
//!
//! An event is `id`, maybe `event`, and one JSON `data`. Four names have a meaning: none (an item), [`END`] (the
//! stream is complete: what stops without it was cut), [`ERROR`] (an [`crate::ApiError`]; the stream ends) and [`RESET`]
//! (where the client wanted to go on is forgotten; the stream goes on). Comments keep the connection alive.
//!
//! Ids are made of what outlives a daemon: numbers that the replicated state counts, moments and lines of kept logs.

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The content type of a stream.
pub const CONTENT_TYPE: &str = "text/event-stream";
/// The header that says where to go on.
pub const LAST_EVENT_ID: &str = "last-event-id";
/// Name of the event that ends a complete stream.
pub const END: &str = "end";
/// Name of the event that ends a stream with an error.
pub const ERROR: &str = "error";

/// Name of the event that says what the stream can't tell any more: a [`Reset`].
pub const RESET: &str = "reset";

/// Where a client wanted to go on is forgotten: something is missing in between.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reset {
    /// The id that it named; what came after it is forgotten, at least in part.
    pub after: String,
    /// The id of the first thing that is still there, which comes next; absent: there is none yet, or what comes next
    /// tells how things stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// What is missing, in a sentence.
    pub message: String,
}

/// Says that something is missing. It has no id: what the client knows stays what it knows.
pub fn reset(reset: &Reset) -> Bytes {
    let data = serde_json::to_string(reset).unwrap_or_default();
    Bytes::from(format!("event: {RESET}\ndata: {data}\n\n"))
}

/// One item, as bytes for the wire.
///
/// # Errors
/// The item can't be JSON.
pub fn item(id: &str, item: &impl Serialize) -> Result<Bytes, serde_json::Error> {
    let data = serde_json::to_string(item)?;
    Ok(Bytes::from(format!("id: {id}\ndata: {data}\n\n")))
}

/// The end of a complete stream.
pub fn end() -> Bytes {
    Bytes::from_static(b"event: end\ndata: {}\n\n")
}

/// The end of a stream that failed.
pub fn error(error: &crate::ApiError) -> Bytes {
    let data = serde_json::to_string(error).unwrap_or_default();
    Bytes::from(format!("event: {ERROR}\ndata: {data}\n\n"))
}

/// Says that the connection lives. Sent every [`mill_model::Tempo::api_keepalive`].
pub fn keepalive() -> Bytes {
    Bytes::from_static(b": alive\n\n")
}

/// An event as it was read.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its id; `None`: it had none.
    pub id: Option<String>,
    /// Its name; empty: it had none.
    pub name: String,
    /// Its data, several lines joined by line ends.
    pub data: String,
}

/// An event that is longer than a reader takes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("an event of the stream is longer than {max} bytes")]
pub struct TooLong {
    /// The longest that it takes.
    pub max: usize,
}

/// Reads events from bytes, however they are cut.
#[derive(Debug)]
pub struct Reader {
    max: usize,
    line: Vec<u8>,
    /// The last byte was a carriage return: a line feed that follows belongs to it.
    after_return: bool,
    event: Event,
    has_data: bool,
    ready: std::collections::VecDeque<Event>,
}

impl Reader {
    /// A reader of events of at most `max` bytes.
    pub fn new(max: usize) -> Self {
        Self {
            max,
            line: vec![],
            after_return: false,
            event: Event::default(),
            has_data: false,
            ready: std::collections::VecDeque::new(),
        }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// An event is too long; nothing after it can be trusted.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        for &byte in bytes {
            match byte {
                b'\n' if self.after_return => self.after_return = false,
                b'\n' | b'\r' => {
                    self.after_return = byte == b'\r';
                    self.end_line();
                }
                _ => {
                    self.after_return = false;
                    if self.line.len() + self.event.data.len() >= self.max {
                        return Err(TooLong { max: self.max });
                    }
                    self.line.push(byte);
                }
            }
        }
        Ok(())
    }

    /// The next whole event.
    pub fn pop(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            if std::mem::take(&mut self.has_data) {
                self.ready.push_back(event);
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                self.has_data = true;
            }
            "event" => value.clone_into(&mut self.event.name),
            "id" if !value.contains('\0') => self.event.id = Some(value.to_owned()),
            // A comment (empty field), `retry` (the client has its own pauses), or a field of a later version.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(parts: &[&[u8]]) -> Vec<Event> {
        let mut reader = Reader::new(1000);
        for part in parts {
            reader.push(part).unwrap();
        }
        std::iter::from_fn(|| reader.pop()).collect()
    }

    fn event(id: Option<&str>, name: &str, data: &str) -> Event {
        Event { id: id.map(Into::into), name: name.into(), data: data.into() }
    }

    #[test]
    fn what_the_server_writes_is_read_back_at_every_cut() {
        let error = crate::ApiError::new(crate::Code::NotFound, "gone");
        let wire = [item("7", &"a\nb").unwrap(), keepalive(), super::error(&error), end()].concat();
        let whole = read(&[&wire]);
        assert_eq!(whole.len(), 3);
        assert_eq!(whole[0], event(Some("7"), "", r#""a\nb""#));
        assert_eq!(whole[1].name, ERROR);
        assert_eq!(whole[2].name, END);
        for cut in 0..wire.len() {
            assert_eq!(read(&[&wire[..cut], &wire[cut..]]), whole, "cut at {cut}");
        }
        let bytewise: Vec<&[u8]> = wire.chunks(1).collect();
        assert_eq!(read(&bytewise), whole);
    }

    #[test]
    fn the_standards_odd_forms_are_read() {
        for (wire, events) in [
            ("data:x\r\n\r\n", vec![event(None, "", "x")]),
            ("data: x\r\rdata: y\n\n", vec![event(None, "", "x"), event(None, "", "y")]),
            ("data: a\ndata:  b\n\n", vec![event(None, "", "a\n b")]),
            ("data\n\n", vec![event(None, "", "")]),
            ("id: 1\n\n", vec![]),
            ("event: end\n\ndata: x\n\n", vec![event(None, "", "x")]),
            ("retry: 5\nfuture: 1\ndata: x\n\n", vec![event(None, "", "x")]),
            ("data: unfinished\n", vec![]),
            ("\u{feff}", vec![]),
        ] {
            assert_eq!(read(&[wire.as_bytes()]), events, "{wire:?}");
        }
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut reader = Reader::new(100);
        assert_eq!(reader.push(&[b'x'; 101]), Err(TooLong { max: 100 }));
        let mut reader = Reader::new(100);
        let many = "data: 0123456789\n".repeat(20);
        assert_eq!(reader.push(many.as_bytes()), Err(TooLong { max: 100 }));
    }
}
