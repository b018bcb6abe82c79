//! One function per command. Each checks everything first and changes the state last.

mod access;
mod allocs;
mod deploys;
mod nodes;
mod secrets;
mod spawns;
mod steps;

use mill_model::limits;

use crate::access::RegistryLogin;
use crate::check::Touched;
use crate::cluster::Cluster;
use crate::command::{Applied, Command, Done, Entry};
use crate::event::{Event, EventKind};
use crate::rejected::{Halt, Rejected};

impl Cluster {
    /// Applies one log entry.
    ///
    /// A rejected command changes nothing but the time.
    ///
    /// # Errors
    /// [`Halt`]: the entry can't be understood, and nothing after it may be applied.
    pub fn apply(&mut self, entry: &[u8]) -> Result<Applied, Halt> {
        let entry = Entry::decode(entry)?;
        self.time = self.time.max(entry.now);
        let mut next = self.clone();
        let mut touched = Touched::default();
        let (author, once, command) = match entry.command {
            Command::Audited { author, once, command } => (Some(author), once, *command),
            command => (None, None, command),
        };
        if let Some(told) = self.repeated(once.as_ref()) {
            return Ok(told);
        }
        let result = next.run(command, &mut touched).and_then(|done| {
            if let Some(author) = author {
                next.audit(author, &done);
            }
            if let Some(once) = once {
                next.keep_once(once, done.clone());
            }
            next.check_touched(&touched).map_err(Rejected::Invariant)?;
            Ok(done)
        });
        if result.is_ok() {
            *self = next;
        }
        Ok(result)
    }

    fn run(&mut self, command: Command, touched: &mut Touched) -> Applied {
        if !self.is_bootstrapped() && !matches!(command, Command::Bootstrap { .. }) {
            return Err(Rejected::NotBootstrapped);
        }
        match command {
            Command::Bootstrap { cluster_id, node, admin_token_hash, ca_certificate } => {
                self.bootstrap(cluster_id, node, admin_token_hash, ca_certificate)
            }
            Command::RegisterNode(facts) => self.register_node(facts),
            Command::BeginDeploy { project, kind, target, replace, by } => {
                self.begin_deploy(deploys::Asked { project, kind, target, by }, replace)
            }
            Command::CancelDeploy { deploy, outcome } => self.cancel_deploy(deploy, outcome),
            Command::AdvanceStep { deploy, name, state, reason } => {
                self.advance_step(deploy, &name, state, reason)
            }
            Command::EndDeploy(deploy) => self.end_deploy(deploy),
            Command::PlaceAllocs(allocs) => self.place_allocs(allocs, touched),
            Command::StopAllocs { allocs, reason } => self.stop_allocs(&allocs, reason),
            Command::ReportAllocs { node, statuses } => self.report_allocs(node, statuses, touched),
            Command::ForgetAllocs(allocs) => self.forget_allocs(&allocs),
            Command::ForgetProject(project) => self.forget_project(&project),
            Command::SetSecret { secret, sealed, by } => self.set_secret(secret, sealed, by, touched),
            Command::DeleteSecret { secret, by } => self.delete_secret(&secret, by, touched),
            Command::CreateToken(new) => self.create_token(new),
            Command::RevokeToken { token, even_last_admin } => self.revoke_token(token, even_last_admin),
            Command::SetRegistry { host, user, sealed, by } => {
                let login = RegistryLogin { user, sealed, set_at: self.time, set_by: by };
                self.set_registry(host, login)
            }
            Command::DeleteRegistry { host } => self.delete_registry(&host),
            Command::RotateCa { certificate, cross, until } => self.rotate_ca(certificate, cross, until),
            Command::SpawnTask { id, project, spec, by } => {
                self.spawn_task(id, spawns::Wanted { project, spec, by }, touched)
            }
            Command::KillTask(id) => self.kill_task(&id),
            Command::Witness => Ok(Done::Plain),
            // An entry has one author: `apply` took it off.
            Command::Audited { command, .. } => self.run(*command, touched),
        }
    }

    fn record(&mut self, kind: EventKind) {
        self.events.push_back(Event { id: self.next_event, at: self.time, kind });
        self.next_event += 1;
        while self.events.len() > limits::EVENTS_KEPT {
            self.events.pop_front();
        }
    }
}
