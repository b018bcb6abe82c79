//! Tokens come and go, and what was done on whose word is written down.

use mill_model::{RegistryHost, Role, Timestamp, TokenId, TokenName, limits};

use crate::access::{AuditRecord, Author, RegistryLogin, RetiringCa, Token};
use crate::cluster::Cluster;
use crate::command::{Applied, Done, NewToken};
use crate::rejected::Rejected;

/// What the token of `mill init` is called.
const FIRST: &str = "init";

impl Cluster {
    /// The token of a new cluster.
    pub(super) fn first_token(&mut self, hash: [u8; 32]) {
        // A label always: it is none that a person gave.
        if let Ok(name) = TokenName::new(FIRST) {
            let by = FIRST.to_owned();
            self.put_token(NewToken { name, role: Role::Admin, hash, expires_at: None, by });
        }
    }

    pub(super) fn create_token(&mut self, new: NewToken) -> Applied {
        if self.tokens.values().any(|token| token.name == new.name) {
            return Err(Rejected::TokenNameTaken(new.name));
        }
        if self.tokens.contains_key(&new.hash) {
            return Err(Rejected::TokenExists);
        }
        if self.tokens.len() >= limits::TOKENS_MAX {
            // Those that are over are only kept for people to see.
            let left = self.tokens.iter().filter(|(_, token)| !token.is_expired(self.time));
            self.tokens = left.map(|(hash, token)| (*hash, token.clone())).collect();
        }
        if self.tokens.len() >= limits::TOKENS_MAX {
            return Err(Rejected::TooManyTokens);
        }
        Ok(Done::Token(self.put_token(new)))
    }

    fn put_token(&mut self, new: NewToken) -> TokenId {
        let NewToken { name, role, hash, expires_at, by } = new;
        let id = self.next_token;
        self.next_token = id.next();
        let token = Token { id, name, role, created_at: self.time, created_by: by, expires_at };
        self.tokens.insert(hash, token);
        id
    }

    pub(super) fn revoke_token(&mut self, id: TokenId, even_last_admin: bool) -> Applied {
        let found = self.tokens.iter().find(|(_, token)| token.id == id);
        let Some((hash, token)) = found.map(|(hash, token)| (*hash, token.clone())) else {
            return Err(Rejected::NoSuchToken(id));
        };
        let admin = |token: &Token| token.role == Role::Admin && !token.is_expired(self.time);
        let others = self.tokens.values().filter(|other| other.id != id);
        if admin(&token) && !even_last_admin && !others.into_iter().any(admin) {
            return Err(Rejected::LastAdmin(token.name));
        }
        self.tokens.remove(&hash);
        Ok(Done::Plain)
    }

    pub(super) fn set_registry(&mut self, host: RegistryHost, login: RegistryLogin) -> Applied {
        let is_new = !self.registries.contains_key(&host);
        if is_new && self.registries.len() >= limits::REGISTRIES_MAX {
            return Err(Rejected::TooManyRegistries);
        }
        self.registries.insert(host, RegistryLogin { set_at: self.time, ..login });
        Ok(Done::Plain)
    }

    pub(super) fn delete_registry(&mut self, host: &RegistryHost) -> Applied {
        match self.registries.remove(host) {
            Some(_) => Ok(Done::Plain),
            None => Err(Rejected::NoSuchRegistry(host.clone())),
        }
    }

    pub(super) fn rotate_ca(&mut self, certificate: String, cross: String, until: Timestamp) -> Applied {
        if let Some(old) = self.retiring_ca.as_ref().filter(|old| old.until > self.time) {
            return Err(Rejected::CaRetiring(old.until));
        }
        let old = std::mem::replace(&mut self.ca_certificate, certificate);
        self.retiring_ca = Some(RetiringCa { certificate: old, cross, until });
        Ok(Done::Plain)
    }

    /// Writes down what was done on somebody's word.
    pub(super) fn audit(&mut self, author: Author, done: &Done) {
        let cut = |text: String| text.chars().take(limits::AUDIT_TEXT_CHARS_MAX).collect();
        let author = Author { token: cut(author.token), from: cut(author.from), what: cut(author.what) };
        let made = match done {
            Done::Plain => String::new(),
            Done::Deploy(id) => match self.deploys.get(id) {
                Some(deploy) => format!("deploy #{id} of {}", deploy.project),
                None => format!("deploy #{id}"),
            },
            Done::Token(id) => match self.tokens.values().find(|token| token.id == *id) {
                Some(token) => format!("token {}: {}", token.name, token.role),
                None => format!("token {id}"),
            },
            Done::SecretVersion(version) => format!("version {version}"),
            Done::Task(id) => format!("task {id}"),
        };
        let record = AuditRecord { id: self.next_audit, at: self.time, author, made: cut(made) };
        self.audit.push_back(record);
        self.next_audit += 1;
        while self.audit.len() > limits::AUDIT_KEPT {
            self.audit.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use mill_model::Projects;

    use super::*;
    use crate::command::{Command, Entry};

    fn apply(cluster: &mut Cluster, now: u64, command: Command) -> Applied {
        let done = cluster.apply(&Entry { now: Timestamp(now), command }.encode()).unwrap();
        cluster.check().unwrap();
        done
    }

    fn bootstrapped() -> Cluster {
        let mut cluster = crate::tests::bootstrapped();
        cluster.time = Timestamp(10);
        cluster
    }

    fn new(name: &str, role: Role, expires_at: Option<u64>) -> Command {
        let mut hash = [0; 32];
        hash.iter_mut().zip(name.bytes()).for_each(|(byte, letter)| *byte = letter);
        let (name, expires_at) = (name.parse().unwrap(), expires_at.map(Timestamp));
        Command::CreateToken(NewToken { name, role, hash, expires_at, by: "init".to_owned() })
    }

    fn revoke(id: u64) -> Command {
        Command::RevokeToken { token: TokenId(id), even_last_admin: false }
    }

    #[test]
    fn the_first_token_is_an_admins_and_stays_while_it_is_the_only_one() {
        let mut cluster = bootstrapped();
        let first = cluster.tokens.values().next().unwrap();
        assert_eq!((first.id, first.name.as_str(), &first.role), (TokenId(1), "init", &Role::Admin));
        let last = Err(Rejected::LastAdmin("init".parse().unwrap()));
        assert_eq!(apply(&mut cluster, 11, revoke(1)), last);
        apply(&mut cluster, 12, new("ci", Role::Deployer(Projects::All), None)).unwrap();
        assert_eq!(apply(&mut cluster, 13, revoke(1)), last, "a deployer is no admin");
        apply(&mut cluster, 14, new("brief", Role::Admin, Some(20))).unwrap();
        assert_eq!(apply(&mut cluster, 20, revoke(1)), last, "one that is over isn't either");
        assert_eq!(apply(&mut cluster, 21, new("ann", Role::Admin, None)), Ok(Done::Token(TokenId(4))));
        apply(&mut cluster, 22, revoke(1)).unwrap();
        assert_eq!(apply(&mut cluster, 23, revoke(1)), Err(Rejected::NoSuchToken(TokenId(1))));
        let even = Command::RevokeToken { token: TokenId(4), even_last_admin: true };
        apply(&mut cluster, 24, even).unwrap();
        assert!(!cluster.tokens.values().any(|token| token.name.as_str() == "ann"));
    }

    #[test]
    fn a_name_is_one_tokens_and_a_number_is_never_given_twice() {
        let mut cluster = bootstrapped();
        assert_eq!(apply(&mut cluster, 11, new("ci", Role::Viewer, None)), Ok(Done::Token(TokenId(2))));
        let taken = Err(Rejected::TokenNameTaken("ci".parse().unwrap()));
        assert_eq!(apply(&mut cluster, 12, new("ci", Role::Admin, None)), taken);
        apply(&mut cluster, 13, revoke(2)).unwrap();
        assert_eq!(apply(&mut cluster, 14, new("ci", Role::Viewer, None)), Ok(Done::Token(TokenId(3))));
        let again = Cluster::from_snapshot(&cluster.to_snapshot()).unwrap();
        assert_eq!(again, cluster);
    }

    #[test]
    fn tokens_are_bounded_and_those_that_are_over_make_room() {
        let mut cluster = bootstrapped();
        for number in 1..limits::TOKENS_MAX {
            let expires = (number == 7).then_some(1000);
            apply(&mut cluster, 11, new(&format!("t{number}"), Role::Viewer, expires)).unwrap();
        }
        assert_eq!(apply(&mut cluster, 12, new("more", Role::Viewer, None)), Err(Rejected::TooManyTokens));
        apply(&mut cluster, 1000, new("more", Role::Viewer, None)).unwrap();
        assert_eq!(cluster.tokens.len(), limits::TOKENS_MAX);
        assert!(!cluster.tokens.values().any(|token| token.name.as_str() == "t7"));
    }

    #[test]
    fn what_was_done_on_somebodys_word_is_written_down_and_what_was_refused_is_not() {
        let mut cluster = bootstrapped();
        let author = |what: &str| Author {
            token: "ann".to_owned(),
            from: "10.0.0.9".to_owned(),
            what: what.to_owned(),
        };
        let audited = |command: Command| Command::Audited {
            author: author(&format!("POST /v1/tokens{}", "x".repeat(500))),
            once: None,
            command: Box::new(command),
        };
        apply(&mut cluster, 11, new("quiet", Role::Viewer, None)).unwrap();
        assert!(cluster.audit.is_empty(), "the cluster's own doing is no audit's");
        apply(&mut cluster, 12, audited(new("ci", Role::Viewer, None))).unwrap();
        apply(&mut cluster, 13, audited(new("ci", Role::Viewer, None))).unwrap_err();
        let [record] = cluster.audit.iter().collect::<Vec<_>>()[..] else { panic!("{:?}", cluster.audit) };
        assert_eq!((record.id, record.at, record.made.as_str()), (1, Timestamp(12), "token ci: viewer"));
        assert_eq!(record.author.what.chars().count(), limits::AUDIT_TEXT_CHARS_MAX);
        for _ in 0..limits::AUDIT_KEPT {
            let even_last_admin = true;
            let id = cluster.tokens.values().map(|token| token.id).max().unwrap();
            apply(&mut cluster, 14, audited(Command::RevokeToken { token: id, even_last_admin })).unwrap();
            apply(&mut cluster, 14, new("again", Role::Viewer, None)).unwrap();
        }
        assert_eq!(cluster.audit.len(), limits::AUDIT_KEPT);
        assert_eq!(cluster.audit.back().unwrap().id, limits::AUDIT_KEPT as u64 + 1);
        assert_eq!(Cluster::from_snapshot(&cluster.to_snapshot()).unwrap(), cluster);
    }

    #[test]
    fn two_cas_are_trusted_at_a_time_and_no_third() {
        let mut cluster = bootstrapped();
        let rotate = |name: &str, until: u64| Command::RotateCa {
            certificate: name.to_owned(),
            cross: format!("{name} by the one before"),
            until: Timestamp(until),
        };
        apply(&mut cluster, 11, rotate("two", 100)).unwrap();
        assert_eq!(cluster.ca_certificate, "two");
        assert_eq!(cluster.retiring_ca.as_ref().unwrap().certificate, "pem");
        assert_eq!(apply(&mut cluster, 99, rotate("three", 200)), Err(Rejected::CaRetiring(Timestamp(100))));
        apply(&mut cluster, 100, rotate("three", 200)).unwrap();
        assert_eq!(cluster.retiring_ca.as_ref().unwrap().certificate, "two");
        assert_eq!(Cluster::from_snapshot(&cluster.to_snapshot()).unwrap(), cluster);
    }

    #[test]
    fn a_registrys_login_is_replaced_and_forgotten() {
        let mut cluster = bootstrapped();
        let host: RegistryHost = "r.test:5000".parse().unwrap();
        let set = |sealed: u8| Command::SetRegistry {
            host: host.clone(),
            user: "ann".to_owned(),
            sealed: vec![sealed],
            by: "init".to_owned(),
        };
        apply(&mut cluster, 11, set(1)).unwrap();
        apply(&mut cluster, 12, set(2)).unwrap();
        let login = &cluster.registries[&host];
        assert_eq!((&login.sealed[..], login.set_at), (&[2][..], Timestamp(12)));
        assert!(!format!("{login:?}").contains("sealed"));
        apply(&mut cluster, 13, Command::DeleteRegistry { host: host.clone() }).unwrap();
        let gone = apply(&mut cluster, 14, Command::DeleteRegistry { host: host.clone() });
        assert_eq!(gone, Err(Rejected::NoSuchRegistry(host)));
    }
}
