//! `mill scale`

use clap::Args;
use mill_api::Api;
use mill_model::limits::REPLICAS_MAX;

use super::error::CliError;
use super::follow;
use super::reach::ReachArgs;
use super::ui::Ui;

/// Change how many replicas a service has
///
/// Until the next deploy: the file wins, and `mill plan` shows it.
#[derive(Debug, Args)]
pub(crate) struct ScaleArgs {
    /// The service, `web` or `shop/web`; `web=3` says the number too
    #[arg(value_name = "SERVICE")]
    name: String,

    /// How many replicas
    replicas: Option<u32>,

    /// Return at once; `mill deploy --attach N` follows it
    #[arg(short, long)]
    detach: bool,

    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

impl ScaleArgs {
    /// Which service, and how many.
    fn wanted(&self) -> Result<(&str, u32), CliError> {
        let wrong = |why: String| {
            CliError::usage(format!("`{}` can't be scaled like this", self.name))
                .because(why)
                .hint("`mill scale web 3`")
        };
        let (name, replicas) = match (self.name.split_once('='), self.replicas) {
            (None, Some(replicas)) => (self.name.as_str(), replicas),
            (Some((name, number)), None) => {
                (name, number.parse().map_err(|_| wrong(format!("`{number}` is no number of replicas")))?)
            }
            (Some(_), Some(_)) => return Err(wrong("it says the number of replicas twice".into())),
            (None, None) => return Err(wrong("it doesn't say how many replicas".into())),
        };
        match replicas > REPLICAS_MAX {
            true => Err(wrong(format!("a service has at most {REPLICAS_MAX} replicas"))),
            false => Ok((name, replicas)),
        }
    }
}

pub(crate) async fn run(ui: &mut Ui<'_>, api: &Api, args: &ScaleArgs) -> Result<(), CliError> {
    let (name, replicas) = args.wanted()?;
    let workload = super::workload::find(api, name).await?;
    let deploy = api.scale(&workload, replicas).await?;
    follow::begun(ui, api, &deploy, args.detach).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_said_once() {
        for (name, replicas, wanted) in [
            ("web", Some(3), Some(("web", 3))),
            ("shop/web=0", None, Some(("shop/web", 0))),
            ("web=3", Some(3), None),
            ("web", None, None),
            ("web=many", None, None),
            ("web", Some(1001), None),
        ] {
            let args = ScaleArgs { name: name.into(), replicas, detach: false, reach: ReachArgs::default() };
            assert_eq!(args.wanted().ok(), wanted, "{name} {replicas:?}");
        }
    }
}
