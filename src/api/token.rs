//! Tokens: `mill_t_SECRET_CA`, for people and programs, and `mill_j_SECRET_CA`, for machines that join.
//!
//! A token carries the fingerprint of the cluster's CA, so that whoever has it can tell the cluster from an
//! impostor at the first connection. Only the hash of the secret is ever stored by the cluster.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::trust::{Fingerprint, FingerprintError};

/// Bytes of a token's secret: 160 bits can't be guessed, whatever the rate.
pub const SECRET_BYTES: usize = 20;

/// A token. Its `Debug` hides the secret; its `Display` is the whole token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Token {
    /// What it is good for.
    pub kind: TokenKind,
    /// What proves it.
    secret: [u8; SECRET_BYTES],
    /// The CA of the cluster that it belongs to.
    pub ca: Fingerprint,
}

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// The API.
    Api,
    /// Joining.
    Join,
}

/// Why a text is no token. The text itself is never shown: it may be almost one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TokenError {
    /// It doesn't begin like one.
    #[error("a token begins with `mill_t_` or `mill_j_`")]
    Kind,
    /// Its parts are missing or misspelt: it was cut or changed on the way.
    #[error(
        "a token is `mill_t_`, 40 hexadecimal digits, `_` and 64 more; this one is incomplete or misspelt"
    )]
    Form,
    /// Its second part is no fingerprint.
    #[error("the second part of the token is misspelt")]
    Fingerprint(#[from] FingerprintError),
}

impl Token {
    /// A token of the cluster whose CA is `ca`. `secret` comes from the system's random source.
    pub const fn new(kind: TokenKind, secret: [u8; SECRET_BYTES], ca: Fingerprint) -> Self {
        Self { kind, secret, ca }
    }

    /// What the cluster keeps of it: a hash suffices, since the secret is random and long.
    pub fn secret_hash(&self) -> [u8; 32] {
        Sha256::digest(self.secret).into()
    }
}

impl TokenKind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Api => "mill_t_",
            Self::Join => "mill_j_",
        }
    }
}

impl FromStr for Token {
    type Err = TokenError;
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let (kind, rest) = [TokenKind::Api, TokenKind::Join]
            .into_iter()
            .find_map(|kind| Some((kind, text.strip_prefix(kind.prefix())?)))
            .ok_or(TokenError::Kind)?;
        let (secret, ca) = rest.split_once('_').ok_or(TokenError::Form)?;
        let secret = unhex::<SECRET_BYTES>(secret).ok_or(TokenError::Form)?;
        Ok(Self { kind, secret, ca: ca.parse()? })
    }
}

impl TryFrom<String> for Token {
    type Error = TokenError;
    fn try_from(text: String) -> Result<Self, TokenError> {
        text.parse()
    }
}

impl From<Token> for String {
    fn from(token: Token) -> Self {
        token.to_string()
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}_{}", self.kind.prefix(), hex(&self.secret), self.ca)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}…)", self.kind.prefix())
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != N * 2 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}

impl JsonSchema for Token {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("Token")
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A token: `mill_t_SECRET_CA`, or `mill_j_SECRET_CA` for machines that join.",
            "pattern": "^mill_[tj]_[0-9a-f]{40}_[0-9a-f]{64}$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        Token::new(TokenKind::Api, [0xab; SECRET_BYTES], Fingerprint::of(b"ca"))
    }

    #[test]
    fn a_token_reads_back_what_it_prints() {
        assert_eq!(token().to_string().parse(), Ok(token()));
        assert_eq!(format!(" {}\n", token()).parse(), Ok(token()), "pasted with a line end");
    }

    #[test]
    fn a_token_in_a_log_shows_no_secret() {
        let shown = format!("{:?}", token());
        assert_eq!(shown, "Token(mill_t_…)");
    }

    #[test]
    fn a_text_that_is_no_token_is_refused_without_being_repeated() {
        let good = token().to_string();
        let mut cut = good.clone();
        cut.pop();
        for (bad, why) in [
            (String::new(), "a token begins"),
            ("hunter2".into(), "a token begins"),
            ("mill_t_".into(), "incomplete"),
            ("mill_t_hunter2_x".into(), "incomplete"),
            (cut, "misspelt"),
            (good.replace("_ab", "_äb"), "incomplete"),
        ] {
            let error = bad.parse::<Token>().unwrap_err().to_string();
            assert!(error.contains(why), "{bad}: {error}");
            assert!(!error.contains("hunter2"));
        }
    }

    #[test]
    fn the_stored_hash_tells_tokens_apart() {
        let other = Token::new(TokenKind::Api, [0xac; SECRET_BYTES], Fingerprint::of(b"ca"));
        assert_ne!(token().secret_hash(), other.secret_hash());
        assert_eq!(token().secret_hash(), token().to_string().parse::<Token>().unwrap().secret_hash());
    }
}
