//! Which cluster a command talks to, and over what: flags, then environment, then this machine's socket (for root),
//! then the current context.

use std::path::{Path, PathBuf};

use clap::Args;
use mill_api::Token;
use mill_api::client::{Address, Api};
use mill_api::trust::Trust;

use super::contexts::{self, Contexts};
use super::error::CliError;
use super::exit::Exit;
use super::node::SOCKET;

/// How to answer, and whom to ask.
#[derive(Debug, Default, Clone, Args)]
pub(crate) struct ReachArgs {
    /// Answer in JSON
    #[arg(long, help_heading = "Output and connection")]
    pub(crate) json: bool,

    /// Talk to the cluster of this context [env: MILL_CONTEXT]
    #[arg(long, value_name = "NAME", help_heading = "Output and connection")]
    pub(crate) context: Option<String>,

    /// Talk to the API at this address, with the token in MILL_TOKEN [env: MILL_ADDR]
    #[arg(long, value_name = "URL", help_heading = "Output and connection", conflicts_with = "context")]
    pub(crate) addr: Option<String>,

    /// Talk to this machine's daemon at this socket [env: MILL_SOCKET]
    #[arg(
        long,
        value_name = "PATH",
        help_heading = "Output and connection",
        conflicts_with_all = ["context", "addr"]
    )]
    pub(crate) socket: Option<PathBuf>,
}

/// What the choice depends on besides the arguments.
pub(crate) struct Surroundings<'a> {
    pub(crate) env: &'a dyn Fn(&str) -> Option<String>,
    pub(crate) is_root: bool,
    pub(crate) exists: &'a dyn Fn(&Path) -> bool,
}

/// A way to a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Way {
    /// This machine's daemon.
    Socket(PathBuf),
    /// A cluster's API.
    Remote { address: Address, token: Token },
}

impl ReachArgs {
    /// The way that the arguments and the process's surroundings say.
    pub(crate) fn way(&self) -> Result<Way, CliError> {
        let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let exists = |path: &Path| path.exists();
        let is_root = mill_drivers::host::is_root();
        self.choose(&Surroundings { env: &env, is_root, exists: &exists })
    }

    /// Opens it.
    pub(crate) fn api(&self) -> Result<Api, CliError> {
        match self.way()? {
            Way::Socket(path) => Ok(Api::local(path)),
            Way::Remote { address, token } => {
                let trust = Trust::Pinned(token.ca);
                Api::remote(address, token, &trust).map_err(|error| {
                    CliError::new(Exit::Failed, "TLS can't be set up")
                        .source(&error)
                        .hint("this is a defect of Mill: please report it")
                })
            }
        }
    }

    /// Chooses a way: what is nearer to the user wins.
    pub(crate) fn choose(&self, around: &Surroundings<'_>) -> Result<Way, CliError> {
        let env = around.env;
        if let Some(socket) = &self.socket {
            return Ok(Way::Socket(socket.clone()));
        }
        if let Some(addr) = &self.addr {
            return remote(addr, env);
        }
        if let Some(context) = &self.context {
            return of_context(Some(context), env);
        }
        if let Some(socket) = env("MILL_SOCKET") {
            return Ok(Way::Socket(socket.into()));
        }
        if let Some(addr) = env("MILL_ADDR") {
            return remote(&addr, env);
        }
        if let Some(context) = env("MILL_CONTEXT") {
            return of_context(Some(&context), env);
        }
        let socket = Path::new(SOCKET);
        if around.is_root && (around.exists)(socket) {
            return Ok(Way::Socket(socket.to_owned()));
        }
        of_context(None, env).map_err(|error| match error.exit {
            Exit::Unreachable if (around.exists)(socket) => {
                CliError::new(Exit::Unreachable, "the daemon of this machine is root's to ask")
                    .because(format!("{SOCKET} is there, you aren't root, and no context says another way"))
                    .hint("try again with sudo, or `mill login https://HOST:4400`")
            }
            _ => error,
        })
    }
}

fn remote(addr: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Way, CliError> {
    let address = addr.parse().map_err(|wrong: mill_api::client::AddressError| {
        CliError::usage("the address can't be used")
            .source(&wrong)
            .hint("`mill --addr https://10.0.0.1:4400 …`")
    })?;
    let from_file = |path: String| {
        std::fs::read_to_string(&path).map_err(|error| {
            CliError::usage(format!("MILL_TOKEN_FILE names {path}, which can't be read"))
                .source(&error)
                .hint("whose is it?")
        })
    };
    let token = match (env("MILL_TOKEN"), env("MILL_TOKEN_FILE")) {
        (Some(token), _) => token,
        (None, Some(path)) => from_file(path)?,
        (None, None) => {
            return Err(CliError::usage(format!("there is no token for {addr}"))
                .because("an address needs a token, and MILL_TOKEN isn't set")
                .hint("set MILL_TOKEN, or MILL_TOKEN_FILE, to the token that `mill init` printed"));
        }
    };
    let token = token.parse().map_err(|wrong: mill_api::token::TokenError| {
        CliError::usage("the token can't be used").source(&wrong).hint("copy it again, all of it")
    })?;
    Ok(Way::Remote { address, token })
}

fn of_context(name: Option<&String>, env: &dyn Fn(&str) -> Option<String>) -> Result<Way, CliError> {
    let path = contexts::path(env)?;
    let contexts = Contexts::load(&path)?;
    let Some(name) = name.or(contexts.current.as_ref()) else {
        return Err(CliError::new(Exit::Unreachable, "no cluster is known here")
            .because(format!("there is no daemon's socket at {SOCKET} and no context in {}", path.display()))
            .hint("`mill dev` starts one here; `mill login https://HOST:4400` uses another machine's"));
    };
    let Some(context) = contexts.contexts.get(name) else {
        let known: Vec<&str> = contexts.contexts.keys().map(String::as_str).collect();
        let hint = match known.as_slice() {
            [] => "there is none yet: `mill login URL` makes one, and `mill init` its cluster's".to_owned(),
            _ => format!("there are: {}", known.join(", ")),
        };
        return Err(CliError::usage(format!("there is no context `{name}`"))
            .because(format!("{} doesn't have it", path.display()))
            .hint(hint));
    };
    let address = context.url.parse().map_err(|wrong: mill_api::client::AddressError| {
        CliError::usage(format!("context `{name}` can't be used"))
            .source(&wrong)
            .hint(format!("put its `url` right in {}", path.display()))
    })?;
    Ok(Way::Remote { address, token: context.token.clone() })
}

#[cfg(test)]
mod tests {
    use mill_api::token::TokenKind;
    use mill_api::trust::Fingerprint;

    use super::super::contexts::Context;
    use super::*;

    fn token(byte: u8) -> Token {
        Token::new(TokenKind::Api, [byte; 20], Fingerprint::of(b"ca"))
    }

    struct World {
        home: tempfile::TempDir,
        env: Vec<(&'static str, String)>,
        is_root: bool,
        socket: bool,
    }

    impl World {
        fn new(is_root: bool, socket: bool) -> Self {
            Self { home: tempfile::tempdir().unwrap(), env: vec![], is_root, socket }
        }

        fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
            self.env.push((name, value.into()));
            self
        }

        fn logged_in(self) -> Self {
            let mut contexts = Contexts::default();
            contexts.add("far", Context { url: "https://far:4400".into(), token: token(1) });
            contexts.add("near", Context { url: "https://near:4400".into(), token: token(2) });
            contexts.save(&self.home.path().join("mill/contexts.json")).unwrap();
            self
        }

        fn choose(&self, reach: &ReachArgs) -> Result<String, CliError> {
            let home = self.home.path().to_str().unwrap().to_owned();
            let env = |name: &str| match name {
                "XDG_CONFIG_HOME" => Some(home.clone()),
                _ => self.env.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone()),
            };
            let exists = |path: &Path| self.socket && path == Path::new(SOCKET);
            let around = Surroundings { env: &env, is_root: self.is_root, exists: &exists };
            reach.choose(&around).map(|way| match way {
                Way::Socket(path) => path.display().to_string(),
                Way::Remote { address, .. } => address.to_string(),
            })
        }
    }

    fn none() -> ReachArgs {
        ReachArgs::default()
    }

    #[test]
    fn what_is_nearer_to_the_user_wins() {
        let token = token(3).to_string();
        let addr = || ReachArgs { addr: Some("flag".into()), ..none() };
        let context = || ReachArgs { context: Some("far".into()), ..none() };
        let socket = || ReachArgs { socket: Some("/s".into()), ..none() };
        for (world, reach, way) in [
            (World::new(true, true).logged_in(), none(), SOCKET),
            (World::new(false, true).logged_in(), none(), "https://near:4400"),
            (World::new(true, false).logged_in(), none(), "https://near:4400"),
            (World::new(true, true).logged_in(), context(), "https://far:4400"),
            (World::new(true, true).logged_in().with("MILL_CONTEXT", "far"), none(), "https://far:4400"),
            (World::new(true, true).with("MILL_TOKEN", &token), addr(), "https://flag:4400"),
            (
                World::new(true, true).with("MILL_TOKEN", &token).with("MILL_ADDR", "env"),
                none(),
                "https://env:4400",
            ),
            (
                World::new(true, true).with("MILL_TOKEN", &token).with("MILL_ADDR", "env"),
                addr(),
                "https://flag:4400",
            ),
            (World::new(false, true).with("MILL_ADDR", "env").with("MILL_SOCKET", "/e"), none(), "/e"),
            (World::new(false, false).with("MILL_SOCKET", "/e"), socket(), "/s"),
        ] {
            assert_eq!(world.choose(&reach).unwrap(), way);
        }
    }

    #[test]
    fn without_a_way_it_says_how_to_get_one() {
        for (world, reach, exit, hint) in [
            (World::new(true, false), none(), Exit::Unreachable, "mill dev"),
            (World::new(false, false), none(), Exit::Unreachable, "mill login"),
            (World::new(false, true), none(), Exit::Unreachable, "sudo"),
            (
                World::new(true, true).logged_in(),
                ReachArgs { context: Some("fra".into()), ..none() },
                Exit::Usage,
                "far, near",
            ),
            (World::new(true, true).with("MILL_ADDR", "a"), none(), Exit::Usage, "MILL_TOKEN"),
            (
                World::new(true, true).with("MILL_ADDR", "a").with("MILL_TOKEN", "x"),
                none(),
                Exit::Usage,
                "copy it again",
            ),
            (World::new(true, true).with("MILL_ADDR", "http://a"), none(), Exit::Usage, "https://"),
        ] {
            let error = world.choose(&reach).unwrap_err();
            assert_eq!(error.exit, exit, "{error:?}");
            assert!(error.hint.as_ref().unwrap().contains(hint), "{error:?}");
        }
    }
}
