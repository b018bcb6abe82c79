//! Writes that are done once.

use mill_model::{DeployId, TokenId};
use mill_protos::v1 as pb;

use super::Wire;
use super::read::{Malformed, required, text, time};
use crate::command::Done;
use crate::once::{DoneOnce, Once};

impl Wire for Once {
    type Message = pb::Once;

    fn wire(&self) -> pb::Once {
        let Self { key, request, answer } = self;
        pb::Once { key: key.to_vec(), request: request.to_vec(), answer: answer.clone() }
    }
}

pub(super) fn once(message: pb::Once) -> Result<Once, Malformed> {
    let hash = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).map_err(|_| "idempotency key");
    Ok(Once { key: hash(&message.key)?, request: hash(&message.request)?, answer: message.answer })
}

impl Wire for DoneOnce {
    type Message = pb::DoneOnce;

    fn wire(&self) -> pb::DoneOnce {
        let made = match &self.done {
            Done::Plain => pb::done_once::Made::Plain(pb::Plain {}),
            Done::Deploy(id) => pb::done_once::Made::Deploy(id.0),
            Done::SecretVersion(version) => pb::done_once::Made::SecretVersion(*version),
            Done::Token(id) => pb::done_once::Made::Token(id.0),
            Done::Task(id) => pb::done_once::Made::Task(id.to_string()),
        };
        pb::DoneOnce { once: Some(self.once.wire()), at_ms: self.at.0, made: Some(made) }
    }
}

pub(super) fn done_once(message: pb::DoneOnce) -> Result<DoneOnce, Malformed> {
    let done = match required(message.made, "what was made")? {
        pb::done_once::Made::Plain(pb::Plain {}) => Done::Plain,
        pb::done_once::Made::Deploy(id) => Done::Deploy(DeployId(id)),
        pb::done_once::Made::SecretVersion(version) => Done::SecretVersion(version),
        pb::done_once::Made::Token(id) => Done::Token(TokenId(id)),
        pb::done_once::Made::Task(id) => Done::Task(text(&id, "task id")?),
    };
    Ok(DoneOnce { once: once(required(message.once, "once")?)?, at: time(message.at_ms), done })
}
