//! The node's certificate is renewed before it ends: by itself, and without a connection that is cut.
//!
//! # Why
//! - **Looked at, not waited for.** A timer over months wouldn't notice a clock that was set. Each look asks whether two
//!   thirds of the certificate's life are over by the wall clock, at start and once an hour.
//! - **For the same key.** Then the certificate is one file that is replaced whole: no crash leaves a pair that doesn't fit.
//! - **A failure isn't the end.** The old certificate is good for another third of its life, so it is said and tried again.

use mill_api::trust::SERVER_NAME;
use mill_drivers::bundle::{Drivers as _, Outside};
use mill_drivers::clock::Clock as _;
use mill_drivers::home::{CertificateError, HomeError, Identity, Validity, ValidityError};
use thiserror::Error;
use tracing::{info, warn};

use super::{Msg, Node, State};
use crate::kit::Me;

/// Why there is no new certificate.
#[derive(Debug, Error)]
pub(super) enum RenewalError {
    #[error("the node's keys can't be read or written")]
    Home(#[from] HomeError),
    #[error("no certificate can be made of the node's keys")]
    Certificate(#[from] CertificateError),
    #[error("the node's certificate can't be read")]
    Validity(#[from] ValidityError),
}

impl<O: Outside> State<O> {
    /// Renews the certificate if that is due, and looks again later.
    pub(super) fn look_at_certificate(&mut self, me: &Me<Node<O>>) {
        // An attempt to follow the state's CA may have failed.
        self.follow_ca(me);
        if let Err(error) = self.renew_if_due() {
            let why = std::error::Error::source(&error).map(ToString::to_string);
            warn!(%error, why, "certificate not renewed; another attempt follows");
        }
        self.look = Some(me.after(me.tempo().certificate_look, Msg::LookAtCertificate));
    }

    fn renew_if_due(&self) -> Result<(), RenewalError> {
        let Some(identity) = &self.identity else { return Ok(()) };
        let keys = self.args.home.keys()?;
        let now = self.args.outside.drivers().clock().now();
        match Validity::of_pem(&keys.certificate)?.is_due(now) {
            true => self.renew(identity),
            false => {
                // A CA that is trusted no more is shown no more.
                self.show_member(identity, &keys);
                Ok(())
            }
        }
    }

    /// Takes a new certificate into use.
    pub(super) fn renew(&self, identity: &Identity) -> Result<(), RenewalError> {
        let keys = self.args.home.keys()?;
        let now = self.args.outside.drivers().clock().now();
        let certificate = keys.renewed(SERVER_NAME, &[identity.advertise], now, self.life)?;
        self.args.home.renew(&certificate)?;
        info!(until = %now.after(self.life), "certificate renewed");
        self.show_member(identity, &mill_drivers::home::Keys { certificate, ..keys });
        Ok(())
    }
}
