//! Two projects of which neither may know of the other, and tokens of each role.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use http::StatusCode;
use http_body_util::BodyExt as _;
use mill_api::deploys::DeployRequest;
use mill_api::paths::{self, Route, fill};
use mill_api::token::{SECRET_BYTES, TokenKind};
use mill_api::trust::{Fingerprint, SERVER_NAME, Trust};
use mill_api::{Api, Token};
use mill_drivers::seal::{FakeSeal, Seal as _};
use mill_fsm::{Command, NewToken};
use mill_model::spec::EnvVar;
use mill_model::template::{Part, Template};
use mill_model::{DeployId, Hidden, Projects, Role, Tempo, Timestamp};

use super::room::{Room, ca, member};
use super::world::{World, project, service, task};

/// A token of the world's cluster.
pub(super) fn secret(byte: u8) -> Token {
    Token::new(TokenKind::Api, [byte; SECRET_BYTES], Fingerprint::of(b"ca"))
}

/// What a test asks as, beside the world's own admin token.
pub(super) fn roles() -> Vec<(&'static str, Role, Token)> {
    let shop = Projects::Only(["shop".parse().unwrap()].into());
    vec![
        ("viewer", Role::Viewer, secret(20)),
        ("all", Role::Deployer(Projects::All), secret(21)),
        ("some", Role::Deployer(shop), secret(22)),
        ("admin", Role::Admin, secret(23)),
    ]
}

pub(super) fn make(world: &mut World, name: &str, role: Role, token: &Token, expires_at: Option<Timestamp>) {
    let (name, hash) = (name.parse().unwrap(), token.secret_hash());
    world.apply(Command::CreateToken(NewToken { name, role, hash, expires_at, by: "test".into() })).unwrap();
}

/// A task of each project.
pub(super) const TASKS: [(&str, &str); 2] = [("shop", "job-2222"), ("blog", "job-3333")];

/// Two projects, with a secret each and one that both use, and a token of each role.
pub(super) struct Town {
    pub(super) room: Room,
    pub(super) address: SocketAddr,
    pub(super) trust: Trust,
    pub(super) deploys: BTreeMap<&'static str, DeployId>,
}

impl Town {
    pub(super) async fn new() -> Self {
        Self::with(Tempo::default()).await
    }

    pub(super) async fn with(tempo: Tempo) -> Self {
        let mut world = World::new();
        let mut deploys = BTreeMap::new();
        for secret in ["common", "shop/web", "blog/web"] {
            let sealed = FakeSeal::default().seal(secret, &Hidden::new(b"x".to_vec())).unwrap();
            let secret = secret.parse().unwrap();
            world.apply(Command::SetSecret { secret, sealed, by: "test".into() }).unwrap();
        }
        for (name, id) in TASKS {
            let (id, project) = (id.parse().unwrap(), name.parse().unwrap());
            let (spec, by) = (Arc::new(task("job", "job:1")), "test".to_owned());
            world.apply(Command::SpawnTask { id, project, spec, by }).unwrap();
        }
        for name in ["shop", "blog"] {
            let mut web = service("web", "web:1", 1);
            let value = Template { parts: vec![Part::Secret("common".into())] };
            web.container.env = vec![EnvVar { name: "KEY".into(), value }];
            let target = project(name, vec![web], vec![]);
            deploys.insert(name, world.deploy(&target));
        }
        for (name, role, token) in roles() {
            make(&mut world, name, role, &token, None);
        }
        let room = Room::with(world, tempo).await;
        let authority = ca();
        room.member.send_replace(Some(Arc::new(member(&authority, 0))));
        let address = room.bound.subscribe().wait_for(Option::is_some).await.unwrap().unwrap();
        let trust = Trust::from_pem(&authority.pem()).unwrap();
        Self { room, address, trust, deploys }
    }

    pub(super) fn api(&self, token: &Token) -> Api {
        let url = format!("https://{}", self.address).parse().unwrap();
        Api::remote(url, token.clone(), &self.trust).unwrap().with_tempo(self.room.tempo.clone())
    }

    /// The status of an answer, its `Retry-After`, and its body unless that is a stream.
    pub(super) async fn ask(
        &self,
        token: Option<&Token>,
        method: &str,
        path: &str,
        body: &str,
    ) -> (StatusCode, Option<String>, String) {
        let connector = tokio_rustls::TlsConnector::from(Arc::new(self.trust.client_config().unwrap()));
        let stream = tokio::net::TcpStream::connect(self.address).await.unwrap();
        let name = rustls::pki_types::ServerName::try_from(SERVER_NAME).unwrap();
        let stream = connector.connect(name, stream).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        let running = tokio::spawn(connection);
        let mut request = http::Request::builder().method(method).uri(path).header("host", "x");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = http_body_util::Full::new(bytes::Bytes::from(body.to_owned()));
        let response = sender.send_request(request.body(body).unwrap()).await.unwrap();
        let header = |name| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let (status, wait) = (response.status(), header("retry-after"));
        let text = match header("content-type").as_deref() == Some(mill_api::sse::CONTENT_TYPE) {
            true => String::new(),
            false => {
                String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
            }
        };
        running.abort();
        (status, wait, text)
    }

    /// A request to a route about a project.
    pub(super) fn request(&self, route: &Route, about: &str) -> (String, String) {
        let id = self.deploys[about].to_string();
        let path = match route.path {
            paths::DEPLOY | paths::PROGRESS | paths::CANCEL => fill(route.path, &[&id]),
            paths::TASK | paths::KILL | paths::SIGNAL => {
                let (_, id) = TASKS.iter().find(|(project, _)| *project == about).unwrap();
                fill(route.path, &[id])
            }
            paths::INSPECT => fill(route.path, &[&format!("{about}/web")]),
            paths::LOGS => format!("{}?name={about}", paths::LOGS),
            paths::EXEC => fill(route.path, &[&format!("{about}/web")]),
            path if path.starts_with(paths::SHARED_SECRET) => fill(path, &["common"]),
            path if path.contains("{project}") => fill(path, &[about, "web"]),
            path => fill(path, &["nothing"]),
        };
        let body = match route.path {
            paths::PLAN | paths::DEPLOYS => serde_json::to_string(&DeployRequest {
                source: format!("project \"{about}\"\nservice \"web\" {{ image \"web:2\"; }}"),
                file: "mill.kdl".into(),
                default_project: "other".parse().unwrap(),
                images: [].into(),
                replace: true,
            })
            .unwrap(),
            paths::TASKS => format!(r#"{{"project":"{about}","image":"web:2"}}"#),
            paths::SIGNAL => r#"{"signal":"HUP"}"#.to_owned(),
            paths::SCALE => r#"{"replicas":2}"#.to_owned(),
            paths::SECRET | paths::SHARED_SECRET => r#"{"value":{"text":"x"}}"#.to_owned(),
            paths::ROLLBACK => r#"{"to":null}"#.to_owned(),
            _ => String::new(),
        };
        (path, body)
    }
}
