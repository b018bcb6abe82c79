//! `mill cert`

use clap::{Args, Subcommand};
use mill_api::Api;
use mill_api::certs::{Certificate, Owner};

use super::error::CliError;
use super::reach::ReachArgs;
use super::ui::{Align, Colour, Table, Terminal, Ui, ahead};

/// Show the certificates with which a node proves that it is the cluster's
#[derive(Debug, Args)]
pub(crate) struct CertArgs {
    #[command(subcommand)]
    command: CertCommand,
}

#[derive(Debug, Subcommand)]
enum CertCommand {
    /// List them, with their ends; a node renews its own by itself
    #[command(alias = "ls")]
    List(ListArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    reach: ReachArgs,
}

impl CertArgs {
    /// Whom it asks.
    pub(crate) const fn reach(&self) -> &ReachArgs {
        let CertCommand::List(args) = &self.command;
        &args.reach
    }
}

pub(crate) async fn run(ui: &mut Ui<'_>, api: &Api, args: &CertArgs) -> Result<(), CliError> {
    let CertCommand::List(_) = &args.command;
    ui.answer(&api.certificates().await?, |all, terminal| list(all, terminal))
}

fn list(all: &[Certificate], terminal: &Terminal) -> String {
    let heads = ["OF", "ENDS", "RENEWED", "SHA-256"].map(|head| (head, Align::Left));
    let mut table = Table::new(heads);
    let until = |at: mill_model::Timestamp| ahead(at, terminal.now);
    for certificate in all {
        let row = table.row().cell(match certificate.of {
            Owner::Ca => "cluster CA",
            Owner::Node => "node",
        });
        match certificate.until <= terminal.now {
            true => row.painted(Colour::Red, format!("ended {}", certificate.until)),
            false => row.cell(until(certificate.until)),
        };
        row.cell(certificate.renewed_at.map(until).unwrap_or_default()).cell(&certificate.fingerprint);
    }
    table.render(terminal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{canned, golden};

    #[test]
    fn certificates_are_listed_with_their_ends() {
        golden::check("certs", &list(&canned::certificates(), &canned::terminal()));
    }
}
