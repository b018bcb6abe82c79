//! Where a cluster's API is: `https://10.0.0.1:4400`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The port of the API.
pub const DEFAULT_PORT: u16 = 4400;

/// Host and port of an API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// A name or an address, the latter without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AddressError {
    /// The API speaks TLS only; a token would travel in the clear.
    #[error("`{text}` isn't `https`; Mill's API speaks nothing else")]
    Scheme {
        /// As given.
        text: String,
    },
    /// No host, or something behind the port.
    #[error("`{text}` is no address: it is `https://HOST` or `https://HOST:PORT`")]
    Form {
        /// As given.
        text: String,
    },
}

impl FromStr for Address {
    type Err = AddressError;

    /// `https://HOST:PORT`, without scheme too, and without port.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let form = || AddressError::Form { text: text.to_owned() };
        let rest = match text.split_once("://") {
            Some(("https", rest)) => rest,
            Some(_) => return Err(AddressError::Scheme { text: text.to_owned() }),
            None => text,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.strip_prefix('[') {
            Some(bracketed) => {
                let (host, port) = bracketed.split_once(']').ok_or_else(form)?;
                host.parse::<std::net::Ipv6Addr>().map_err(|_| form())?;
                (host, port.strip_prefix(':').or(if port.is_empty() { None } else { Some("x") }))
            }
            None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
        };
        let sign = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '_');
        if host.is_empty() || !host.chars().all(sign) {
            return Err(form());
        }
        let port = match port {
            None => DEFAULT_PORT,
            Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or_else(form)?,
        };
        Ok(Self { host: host.to_owned(), port })
    }
}

impl Address {
    /// `HOST:PORT`, as in a URL.
    pub fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_leave_out_what_goes_without_saying() {
        for (text, url) in [
            ("https://10.0.0.1:4400", "https://10.0.0.1:4400"),
            ("10.0.0.1", "https://10.0.0.1:4400"),
            ("mill.example.com:443", "https://mill.example.com:443"),
            ("https://node-1/", "https://node-1:4400"),
            ("[fd00::1]", "https://[fd00::1]:4400"),
            ("https://[::1]:9", "https://[::1]:9"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), url, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in
            ["", "https://", "a:0", "a:b", "a:99999", "a/b", "a b", "[::1", "[x]:1", "[::1]4", "a:1:2", "u@h"]
        {
            assert!(matches!(bad.parse::<Address>(), Err(AddressError::Form { .. })), "{bad}");
        }
        assert!(matches!("http://a".parse::<Address>(), Err(AddressError::Scheme { .. })));
    }
}
