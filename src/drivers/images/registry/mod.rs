//! A client of registries (OCI distribution specification, which is Docker's registry API v2).
//!
//! Plain HTTP is spoken with loopback addresses and the registries that Mill was told are insecure, HTTPS with all
//! others, with the node's certificate authorities.
//!
//! A challenge is answered as it asks: by a token that is fetched where the challenge says, with the node's login for the
//! registry if it has one, else anonymously; or by that login itself. Before a challenge nothing is shown, and a login is
//! shown only to its registry, or to whom that sends for a token; over plain HTTP only where the registry is plain.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use mill_model::image::DEFAULT_REGISTRY;
use mill_model::{Digest, ImageRef, limits};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, RANGE, WWW_AUTHENTICATE};
use reqwest::{Client, Method, Response, StatusCode};

use super::config::sha256;
use super::error::{PullError, Unusable};
use super::logins::{Login, Logins};
use super::manifest;
use challenge::Challenge;
use proofs::{Proof, Proofs};

mod challenge;
mod proofs;

/// Docker's registry answers at another name than the one its images carry.
const DOCKER_HOST: &str = "registry-1.docker.io";

/// Hops to where a blob really is. Registries use one.
const REDIRECTS_MAX: usize = 5;

/// Bytes of a token's answer: a token has a few kilobytes.
const TOKEN_BYTES_MAX: u64 = 256 << 10;

/// Asks registries.
#[derive(Debug)]
pub(super) struct Registry {
    insecure: BTreeSet<String>,
    stalled_after: Duration,
    plain: OnceLock<Client>,
    secure: OnceLock<Client>,
    /// What registries want to see.
    proofs: Proofs,
}

/// A manifest or index as a registry gave it.
pub(super) struct Given {
    pub(super) digest: Digest,
    pub(super) media_type: Option<String>,
    pub(super) body: Vec<u8>,
}

/// What to ask for: relative to the repository, `/manifests/v1`.
struct Ask<'a> {
    image: &'a ImageRef,
    method: Method,
    path: String,
    headers: HeaderMap,
}

impl Registry {
    pub(super) fn new(insecure: BTreeSet<String>, stalled_after: Duration) -> Self {
        Self {
            insecure,
            stalled_after,
            plain: OnceLock::new(),
            secure: OnceLock::new(),
            proofs: Proofs::default(),
        }
    }

    /// From now on the node is known so to registries.
    pub(super) fn know(&self, logins: Logins) {
        self.proofs.know(logins);
    }

    /// The digest that the reference's tag means now.
    pub(super) async fn resolve(&self, image: &ImageRef) -> Result<Digest, PullError> {
        let answer = self.send(&manifest_of(image, Method::HEAD, image.reference())).await?;
        let told = answer.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
        match told.and_then(|digest| digest.parse().ok()) {
            Some(digest) => Ok(digest),
            // The header is optional: the body always has a digest.
            None => Ok(self.manifest(image, image.reference()).await?.digest),
        }
    }

    /// A manifest or index by tag or digest. A digest asked for is checked.
    pub(super) async fn manifest(&self, image: &ImageRef, reference: &str) -> Result<Given, PullError> {
        let ask = manifest_of(image, Method::GET, reference);
        let answer = self.send(&ask).await?;
        let media_type = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = media_type.map(|text| text.split(';').next().unwrap_or(text).trim().to_owned());
        let body = self.small_body(image, answer, ("the manifest", limits::MANIFEST_BYTES_MAX)).await?;
        let text = sha256(&body);
        let wanted: Option<Digest> = reference.parse().ok();
        if let Some(wanted) = wanted.filter(|wanted| wanted.as_str() != text) {
            return Err(PullError::DigestMismatch { url: self.url(&ask), wanted });
        }
        // What `sha256` writes always parses.
        let digest = text.parse().map_err(|_| PullError::NotPinned { image: image.clone().into() })?;
        Ok(Given { digest, media_type, body })
    }

    /// A blob from byte `offset` on.
    pub(super) async fn blob(
        &self,
        image: &ImageRef,
        digest: &Digest,
        offset: u64,
    ) -> Result<Body, PullError> {
        let mut ask =
            Ask { image, method: Method::GET, path: format!("/blobs/{digest}"), headers: HeaderMap::new() };
        if offset > 0 {
            let range = format!("bytes={offset}-").parse();
            ask.headers.extend(range.ok().map(|range| (RANGE, range)));
        }
        let answer = self.send(&ask).await?;
        // A server that ignores the range sends all of it: what is here already is skipped.
        let skip = if answer.status() == StatusCode::PARTIAL_CONTENT { 0 } else { offset };
        let url = self.url(&ask);
        Ok(Body { answer, skip, image: image.clone(), url, stalled_after: self.stalled_after })
    }

    /// Where an ask goes.
    fn url(&self, ask: &Ask<'_>) -> String {
        let registry = &ask.image.registry;
        let scheme = if self.is_plain(registry) { "http" } else { "https" };
        let host = if registry == DEFAULT_REGISTRY { DOCKER_HOST } else { registry };
        format!("{scheme}://{host}/v2/{}{}", ask.image.repository, ask.path)
    }

    fn is_plain(&self, registry: &str) -> bool {
        let host = match registry.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
            _ => registry,
        };
        let address = host.trim_start_matches('[').trim_end_matches(']');
        let loopback = address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        loopback || host == "localhost" || self.insecure.contains(registry)
    }

    /// Sends, answers a challenge once, and judges the status.
    async fn send(&self, ask: &Ask<'_>) -> Result<Response, PullError> {
        let key = (ask.image.registry.clone(), ask.image.repository.clone());
        let known = self.proofs.of(&key);
        let mut answer = self.send_once(ask, known.proof.as_ref()).await?;
        if answer.status() == StatusCode::UNAUTHORIZED
            && let Some(proof) = self.prove(ask, answer.headers(), known.login.as_ref()).await?
        {
            answer = self.send_once(ask, Some(&proof)).await?;
            if answer.status() != StatusCode::UNAUTHORIZED {
                self.proofs.keep(key, &known, proof);
            }
        }
        let status = answer.status();
        match status.as_u16() {
            200..=299 => Ok(answer),
            404 => Err(PullError::NoSuchImage { image: ask.image.clone().into() }),
            code @ (401 | 403) => Err(unauthorized(ask, code, known.login.as_ref())),
            code => Err(PullError::Registry { url: self.url(ask), status: code }),
        }
    }

    /// What answers the challenges of a refusal; `None`: nothing that this node has.
    async fn prove(
        &self,
        ask: &Ask<'_>,
        headers: &HeaderMap,
        login: Option<&Login>,
    ) -> Result<Option<Proof>, PullError> {
        if let Some(challenge) = Challenge::of(headers.get_all(WWW_AUTHENTICATE)) {
            return self.token(ask, &challenge, login).await.map(|token| Some(Proof::Bearer(token)));
        }
        let wants_basic = challenge::wants_basic(headers.get_all(WWW_AUTHENTICATE));
        Ok(login.filter(|_| wants_basic).cloned().map(Proof::Basic))
    }

    async fn send_once(&self, ask: &Ask<'_>, proof: Option<&Proof>) -> Result<Response, PullError> {
        let url = self.url(ask);
        let client = self.client(url.starts_with("http:"))?;
        let request = client.request(ask.method.clone(), &url).headers(ask.headers.clone());
        let request = match proof {
            Some(proof) => proof.on(request),
            None => request,
        };
        self.in_time(ask.image, &url, request.send()).await
    }

    async fn token(
        &self,
        ask: &Ask<'_>,
        challenge: &Challenge,
        login: Option<&Login>,
    ) -> Result<String, PullError> {
        let url = challenge.url(&ask.image.repository);
        let client = self.client(self.is_plain(&ask.image.registry))?;
        let request = match login {
            Some(Login { user, password }) => client.get(&url).basic_auth(user, Some(password)),
            None => client.get(&url),
        };
        let answer = self.in_time(ask.image, &url, request.send()).await?;
        let status = answer.status().as_u16();
        match status {
            200..=299 => {}
            400..=499 => return Err(unauthorized(ask, status, login)),
            _ => return Err(PullError::Registry { url, status }),
        }
        let body = self.small_body(ask.image, answer, ("the token", TOKEN_BYTES_MAX)).await?;
        challenge::token(&body).map_err(|reason| PullError::Unusable {
            image: ask.image.clone().into(),
            subject: "the token",
            reason,
        })
    }

    /// A body that is read whole, at most as many bytes as `bound` says.
    async fn small_body(
        &self,
        image: &ImageRef,
        answer: Response,
        bound: (&'static str, u64),
    ) -> Result<Vec<u8>, PullError> {
        let (subject, most) = bound;
        let url = answer.url().to_string();
        let mut body = Body { answer, skip: 0, image: image.clone(), url, stalled_after: self.stalled_after };
        let mut whole = Vec::new();
        while let Some(part) = body.next().await? {
            whole.extend_from_slice(&part);
            if whole.len() as u64 > most {
                let reason = Unusable::TooLarge { most };
                return Err(PullError::Unusable { image: image.clone().into(), subject, reason });
            }
        }
        Ok(whole)
    }

    async fn in_time<T>(
        &self,
        image: &ImageRef,
        url: &str,
        answer: impl Future<Output = Result<T, reqwest::Error>>,
    ) -> Result<T, PullError> {
        match tokio::time::timeout(self.stalled_after, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(unreachable(image, url, error)),
            Err(_) => Err(stalled(image, url, self.stalled_after)),
        }
    }

    fn client(&self, plain: bool) -> Result<Client, PullError> {
        let cell = if plain { &self.plain } else { &self.secure };
        if let Some(client) = cell.get() {
            return Ok(client.clone());
        }
        // The process may have installed one; then that is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = Client::builder()
            .user_agent(concat!("mill/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.stalled_after)
            .redirect(reqwest::redirect::Policy::limited(REDIRECTS_MAX));
        let builder = match plain {
            // A loopback registry must not be asked for by way of the environment's proxy. And a node without
            // certificate authorities can still pull from it.
            true => builder.no_proxy().tls_certs_only([]),
            false => builder.https_only(true),
        };
        let client = builder.build().map_err(|error| PullError::Tls { source: Arc::new(error) })?;
        Ok(cell.get_or_init(|| client).clone())
    }
}

fn manifest_of<'a>(image: &'a ImageRef, method: Method, reference: &str) -> Ask<'a> {
    let accepted = reqwest::header::HeaderValue::from_static(manifest::ACCEPTED);
    Ask {
        image,
        method,
        path: format!("/manifests/{reference}"),
        headers: [(ACCEPT, accepted)].into_iter().collect(),
    }
}

fn unauthorized(ask: &Ask<'_>, status: u16, login: Option<&Login>) -> PullError {
    let user = login.map(|login| login.user.clone());
    PullError::Unauthorized { image: ask.image.clone().into(), status, user }
}

fn unreachable(image: &ImageRef, url: &str, error: reqwest::Error) -> PullError {
    // The error's own text would repeat the address, which after a redirect may carry a signature.
    let source = Arc::new(error.without_url());
    PullError::Unreachable { image: image.clone().into(), url: url.to_owned(), source }
}

fn stalled(image: &ImageRef, url: &str, after: Duration) -> PullError {
    PullError::Stalled { image: image.clone().into(), url: url.to_owned(), seconds: after.as_secs() }
}

/// An answer's bytes as they come.
#[derive(Debug)]
pub(super) struct Body {
    answer: Response,
    skip: u64,
    image: ImageRef,
    url: String,
    stalled_after: Duration,
}

impl Body {
    /// What was asked.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    fn broken(&self, error: reqwest::Error) -> PullError {
        let (image, url) = (self.image.clone().into(), self.url.clone());
        PullError::BrokenOff { image, url, source: Arc::new(error.without_url()) }
    }

    /// The next bytes, `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, PullError> {
        loop {
            let chunk = tokio::time::timeout(self.stalled_after, self.answer.chunk()).await;
            let chunk = chunk.map_err(|_| stalled(&self.image, &self.url, self.stalled_after))?;
            let Some(mut chunk) = chunk.map_err(|error| self.broken(error))? else {
                return Ok(None);
            };
            let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(chunk.len());
            self.skip -= skipped as u64;
            let rest = chunk.split_off(skipped);
            if !rest.is_empty() {
                return Ok(Some(rest));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_and_what_was_declared_insecure() {
        let registry = Registry::new(["reg.lan:5000".to_owned()].into(), Duration::from_secs(1));
        let table = [
            ("localhost/a", "http://localhost/v2/a/x"),
            ("localhost:5000/a", "http://localhost:5000/v2/a/x"),
            ("127.0.0.9:5000/a", "http://127.0.0.9:5000/v2/a/x"),
            ("[::1]:5000/a", "http://[::1]:5000/v2/a/x"),
            ("reg.lan:5000/a/b", "http://reg.lan:5000/v2/a/b/x"),
            ("reg.lan:5001/a", "https://reg.lan:5001/v2/a/x"),
            ("10.0.0.1:5000/a", "https://10.0.0.1:5000/v2/a/x"),
            ("127.0.0.1.example.com/a", "https://127.0.0.1.example.com/v2/a/x"),
            ("nginx", "https://registry-1.docker.io/v2/library/nginx/x"),
        ];
        for (image, url) in table {
            let image: ImageRef = image.parse().unwrap();
            let ask =
                Ask { image: &image, method: Method::GET, path: "/x".into(), headers: HeaderMap::new() };
            assert_eq!(registry.url(&ask), url);
        }
    }
}
