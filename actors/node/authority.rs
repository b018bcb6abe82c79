//! The cluster's CA is another: this node keeps its key, and shows what both those who know the old one and those who know
//! the new one believe.
//!
//! A key is on disk before the state is told of its certificate; once the state has it, the node takes it into use, also
//! after a crash in between. The certificate that it shows then is under the new CA.

use mill_api::{ApiError, Code};
use mill_drivers::bundle::{Drivers as _, Outside};
use mill_drivers::clock::Clock as _;
use mill_drivers::home::{Keys, NextCa};
use mill_fsm::Cluster;
use tracing::{info, warn};

use super::certificate::RenewalError;
use super::{Msg, Node, State};
use crate::kit::Me;

impl<O: Outside> State<O> {
    /// Makes a CA that may become the cluster's, its key on disk.
    pub(super) fn prepare_ca(&self) -> Result<NextCa, ApiError> {
        let now = self.args.outside.drivers().clock().now();
        let made = || -> Result<NextCa, RenewalError> {
            let next = self.args.home.keys()?.next_ca(now)?;
            self.args.home.keep_next_ca(&next)?;
            Ok(next)
        };
        made().map_err(|error| {
            let why =
                std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            ApiError::new(Code::Unavailable, "no other CA can be made")
                .because(why)
                .hint("only a node that has the CA's key can; is its disk full?")
        })
    }

    /// Takes the state's CA into use, if that is news and its key is here.
    pub(super) fn follow_ca(&mut self, me: &Me<Node<O>>) {
        let cluster = self.args.published.cluster.borrow().clone();
        if self.identity.is_none() || cluster.ca_certificate.is_empty() || self.ca == cluster.ca_certificate {
            return;
        }
        match self.adopt(&cluster) {
            Ok(()) => self.ca.clone_from(&cluster.ca_certificate),
            Err(error) => {
                let why = std::error::Error::source(&error).map(ToString::to_string);
                warn!(%error, why, "the cluster's new CA is not in use yet; another attempt follows");
                self.look = Some(me.after(me.tempo().certificate_look, Msg::LookAtCertificate));
            }
        }
    }

    fn adopt(&self, cluster: &Cluster) -> Result<(), RenewalError> {
        let Some(identity) = &self.identity else { return Ok(()) };
        let before = self.args.home.keys()?;
        if before.ca_certificate == cluster.ca_certificate {
            self.show_member(identity, &before);
            return Ok(());
        }
        if self.args.home.adopt_ca(&cluster.ca_certificate)? {
            info!("the cluster's CA is another");
            self.renew(identity)?;
        }
        Ok(())
    }

    /// What follows the node's certificate in what it shows: the CA, and as long as that is trusted the one before.
    pub(super) fn authorities(&self, keys: &Keys) -> String {
        let cluster = self.args.published.cluster.borrow().clone();
        let now = self.args.outside.drivers().clock().now();
        let known = cluster.retiring_ca.as_ref().filter(|old| now < old.until);
        match known.filter(|_| keys.ca_certificate == cluster.ca_certificate) {
            Some(old) => format!("{}{}{}", old.cross, keys.ca_certificate, old.certificate),
            None => keys.ca_certificate.clone(),
        }
    }
}
