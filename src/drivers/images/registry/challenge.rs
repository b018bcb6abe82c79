//! A registry's `WWW-Authenticate: Bearer realm="…",service="…",scope="…"` and the token that answers it.

use reqwest::header::HeaderValue;
use serde::Deserialize;

use crate::images::error::Unusable;
use crate::images::manifest::not_json;

/// Where a token is had, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Challenge {
    realm: String,
    service: Option<String>,
    scope: Option<String>,
}

impl Challenge {
    /// The first challenge that a token answers.
    pub(super) fn of<'a>(headers: impl IntoIterator<Item = &'a HeaderValue>) -> Option<Self> {
        headers.into_iter().filter_map(|value| value.to_str().ok()).find_map(Self::parse)
    }

    fn parse(text: &str) -> Option<Self> {
        let (scheme, mut rest) = text.trim().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service, mut scope) = (None, None, None);
        while let Some((name, after)) = rest.split_once('=') {
            let (value, after) = match after.trim_start().strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => after.split_once(',').unwrap_or((after, "")),
            };
            match name.trim_matches([' ', ',']).to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value.to_owned()),
                "service" => service = Some(value.to_owned()),
                "scope" => scope = Some(value.to_owned()),
                _ => {}
            }
            rest = after;
        }
        Some(Self { realm: realm?, service, scope })
    }

    /// Where to get the token.
    pub(super) fn url(&self, repository: &str) -> String {
        let scope = self.scope.clone().unwrap_or_else(|| format!("repository:{repository}:pull"));
        let service = self.service.iter().map(|service| ("service", service.as_str()));
        let pairs = service.chain([("scope", scope.as_str())]);
        match reqwest::Url::parse_with_params(&self.realm, pairs) {
            Ok(url) => url.into(),
            // Asking it will fail, and the failure names it.
            Err(_) => self.realm.clone(),
        }
    }
}

/// Whether user and password answer one of the challenges.
pub(super) fn wants_basic<'a>(headers: impl IntoIterator<Item = &'a HeaderValue>) -> bool {
    let scheme = |value: &'a HeaderValue| value.to_str().ok()?.split_whitespace().next();
    headers.into_iter().filter_map(scheme).any(|scheme| scheme.eq_ignore_ascii_case("basic"))
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
}

/// The token in an answer; either of its two names.
pub(super) fn token(body: &[u8]) -> Result<String, Unusable> {
    let answer: Answer = serde_json::from_slice(body).map_err(|error| not_json(&error))?;
    answer.token.or(answer.access_token).ok_or(Unusable::Json { line: 1, column: body.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let docker = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/nginx:pull""#;
        let spaced = r#"bearer realm="https://a.test/t?x=1", service=plain"#;
        let table = [
            (
                docker,
                "https://auth.docker.io/token?service=registry.docker.io&scope=repository%3Alibrary%2Fnginx%3Apull",
            ),
            (spaced, "https://a.test/t?x=1&service=plain&scope=repository%3Ar%3Apull"),
            (
                r#"Bearer realm="https://a.test/t",scope="repository:r:pull,push""#,
                "https://a.test/t?scope=repository%3Ar%3Apull%2Cpush",
            ),
        ];
        for (header, url) in table {
            let header = HeaderValue::from_static(header);
            assert_eq!(Challenge::of([&header]).unwrap().url("r"), url);
        }
        for none in [r#"Basic realm="x""#, "Bearer", "Bearer service=\"x\"", "Bearer realm=\"open"] {
            let header = HeaderValue::from_static(none);
            assert_eq!(Challenge::of([&header]), None, "{none}");
            assert_eq!(wants_basic([&header]), none.starts_with("Basic"), "{none}");
        }
    }

    #[test]
    fn a_token_has_two_names() {
        assert_eq!(token(br#"{"token":"a","access_token":"b"}"#).unwrap(), "a");
        assert_eq!(token(br#"{"access_token":"b"}"#).unwrap(), "b");
        assert!(token(b"{}").is_err());
    }
}
