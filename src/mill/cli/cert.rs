//! `mill cert`

use clap::{Args, Subcommand};
use mill_api::Api;
use mill_api::certs::{Certificate, Owner, RotateCa, RotatedCa};

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
    /// Give the cluster another CA; the one before is trusted for a while
    ///
    /// A token carries the fingerprint of the CA under which it was made. Those that were made before open as long as the
    /// CA before is trusted: `mill login`, with the same token, keeps it with the new fingerprint. In a pipeline's settings
    /// replace what follows its last `_` by the new fingerprint.
    RotateCa(RotateCaArgs),
}

#[derive(Debug, Args)]
struct RotateCaArgs {
    /// How long the CA before is still trusted; `0s`: not at all, if its key may be known to others
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = humantime::parse_duration)]
    keep: std::time::Duration,

    /// Don't ask
    #[arg(long)]
    yes: bool,

    #[command(flatten)]
    reach: ReachArgs,
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    reach: ReachArgs,
}

impl CertArgs {
    /// Whom it asks.
    pub(crate) const fn reach(&self) -> &ReachArgs {
        match &self.command {
            CertCommand::List(args) => &args.reach,
            CertCommand::RotateCa(args) => &args.reach,
        }
    }
}

pub(crate) async fn run(ui: &mut Ui<'_>, api: &Api, args: &CertArgs) -> Result<(), CliError> {
    match &args.command {
        CertCommand::List(_) => ui.answer(&api.certificates().await?, |all, terminal| list(all, terminal)),
        CertCommand::RotateCa(args) => rotate(ui, api, args).await,
    }
}

async fn rotate(ui: &mut Ui<'_>, api: &Api, args: &RotateCaArgs) -> Result<(), CliError> {
    let keep = humantime::format_duration(args.keep);
    ui.confirm(&format!("Give the cluster another CA, and trust the one before for {keep}?"), args.yes)?;
    let keep_ms = Some(u64::try_from(args.keep.as_millis()).unwrap_or(u64::MAX));
    let rotated = api.rotate_ca(&RotateCa { keep_ms }).await?;
    ui.answer(&rotated, |rotated, _| {
        let RotatedCa { fingerprint, previous_until } = rotated;
        format!("CA:     sha256 {fingerprint}\nBefore: trusted until {previous_until}\n")
    })
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
