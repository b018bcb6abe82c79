//! What each command looks like when it is used.

/// A line, and what it does.
type Example = (&'static str, &'static str);

/// The examples of a command, `["mill", "logs"]`.
pub(super) fn of(path: &[&str]) -> &'static [Example] {
    let path = path.get(1..).unwrap_or_default().join(" ");
    EXAMPLES.iter().find(|(command, _)| *command == path).map_or(&[], |(_, examples)| examples)
}

const EXAMPLES: [(&str, &[Example]); 56] = [
    (
        "",
        &[
            ("mill dev", "A daemon and a cluster of one machine, for trying out."),
            ("mill deploy -f shop.kdl", "Brings what runs to what the file says."),
            ("mill status", "The cluster on one page."),
        ],
    ),
    ("plan", &[("mill plan -f shop.kdl", "Shows what a deploy would change, and where it would be placed.")]),
    (
        "deploy",
        &[
            ("mill deploy", "Deploys mill.kdl of this directory."),
            (
                "mill deploy --image web=registry.example.com/web:v2",
                "Deploys a new image, with the file as it is.",
            ),
            ("mill deploy --attach 14", "Goes back to a deploy that was left."),
            ("mill deploy --cancel 14", "Calls it off: what it changed is brought back."),
        ],
    ),
    ("rollback", &[("mill rollback shop --to 12", "Brings the config of deploy 12 back, with its images.")]),
    ("history", &[("mill history shop", "The project's last deploys.")]),
    ("scale", &[("mill scale web 3", "Three replicas, until the next deploy says otherwise.")]),
    ("restart", &[("mill restart web", "New replicas of the same version, one after the other.")]),
    ("undeploy", &[("mill undeploy shop --yes", "Stops everything of the project, and forgets it.")]),
    ("secret", &[("mill secret list", "The secrets and who uses them; no values.")]),
    (
        "secret set",
        &[
            ("mill secret set db.password", "Asks for the value, and shows none of it."),
            ("pwgen 32 1 | mill secret set db.password - --roll", "Sets it, and brings it to what uses it."),
        ],
    ),
    ("secret get", &[("mill secret get db.password", "Prints the value and nothing else.")]),
    ("secret list", &[("mill secret list", "The secrets and who uses them.")]),
    ("secret history", &[("mill secret history db.password", "Its versions, and what runs with each.")]),
    ("secret roll", &[("mill secret roll db.password", "Brings the newest version to what uses it.")]),
    ("secret delete", &[("mill secret delete db.password", "Deletes it, if nothing uses it.")]),
    (
        "run",
        &[
            ("mill run alpine -- echo hello", "Runs a program once, with its output here."),
            ("mill run --detach --timeout 6h registry.example.com/import:v3", "Leaves it running."),
        ],
    ),
    (
        "spawn",
        &[
            ("mill spawn migrate", "Runs a task of the config once."),
            ("mill spawn shop/migrate --wait -- --to v2", "With other arguments, and waits for its end."),
        ],
    ),
    ("ps", &[("mill ps --all", "All tasks that are kept, with their exit codes.")]),
    ("kill", &[("mill kill migrate-7k2f", "Its stop signal, and SIGKILL after its grace.")]),
    ("status", &[("mill status", "The cluster on one page.")]),
    ("services", &[("mill services --json | jq -r '.[].name'", "The services' names.")]),
    (
        "allocs",
        &[
            ("mill allocs web", "The replicas of a service."),
            ("mill allocs --all", "Those that have ended too, with the reason."),
        ],
    ),
    ("nodes", &[("mill nodes", "The machines, what they have and what is reserved.")]),
    (
        "inspect",
        &[
            ("mill inspect web", "A service, with its config and its replicas."),
            ("mill inspect #14", "A deploy. In a shell: '#14'."),
            ("mill inspect secret:web", "What is called as something else, by its kind."),
        ],
    ),
    ("why", &[("mill why web", "What keeps it from being as wanted, and what to do.")]),
    (
        "logs",
        &[
            ("mill logs web -f", "What all its replicas write, as they do."),
            ("mill logs web-7k2f --previous", "What the run before the current one wrote."),
            ("mill logs web --since 10m --stream stderr", "The errors of the last ten minutes."),
        ],
    ),
    (
        "events",
        &[("mill events -f", "What happens in the cluster."), ("mill events --audit", "Who did what.")],
    ),
    (
        "exec",
        &[
            ("mill exec web-7k2f -- sh", "A shell in a container."),
            ("mill exec db -- pg_dump -U postgres shop > shop.sql", "A program whose output is kept here."),
        ],
    ),
    (
        "top",
        &[
            ("mill top", "What uses the processors, live; q ends it."),
            ("mill top --sort memory --once", "One table, for scripts."),
        ],
    ),
    ("actors", &[("mill actors --observed", "Both trees of the node, and what each actor tells.")]),
    ("actors restart", &[("mill actors restart daemon/agent/images", "Starts it again, as after a crash.")]),
    ("login", &[("mill login https://10.0.0.1:4400 --name prod", "Asks for the token, and remembers both.")]),
    ("logout", &[("mill logout prod", "Forgets a cluster and its token.")]),
    ("context", &[("mill context use prod", "Talks to that cluster from now on.")]),
    ("context list", &[("mill context list", "The clusters that were logged in to.")]),
    ("context use", &[("mill context use prod", "Talks to that cluster from now on.")]),
    ("context show", &[("mill context show prod", "Where it leads, and whom it trusts.")]),
    ("context remove", &[("mill context remove prod", "Forgets it and its token.")]),
    ("token", &[("mill token list", "Who may do what.")]),
    (
        "token create",
        &[(
            "mill token create --role deployer --project shop --expires 90d --name ci",
            "For a pipeline that deploys one project.",
        )],
    ),
    ("token list", &[("mill token list", "Who may do what.")]),
    ("token revoke", &[("mill token revoke ci", "From now on it is good for nothing.")]),
    ("registry", &[("mill registry list", "The registries with credentials.")]),
    (
        "registry login",
        &[(
            "mill registry login registry.example.com --user puller",
            "Asks for the password, which is kept sealed.",
        )],
    ),
    ("registry logout", &[("mill registry logout registry.example.com", "Forgets the credentials for it.")]),
    ("registry list", &[("mill registry list", "The registries with credentials.")]),
    ("cert", &[("mill cert list", "The certificates, with their ends.")]),
    ("cert list", &[("mill cert list", "The certificates, with their ends.")]),
    (
        "cert rotate-ca",
        &[("mill cert rotate-ca --keep 7d", "Another CA; the one before is trusted for a week.")],
    ),
    ("init", &[("mill init --advertise 10.0.0.1", "Makes a cluster of this machine, and prints its token.")]),
    ("dev", &[("mill dev", "Daemon and cluster in one, in the foreground.")]),
    ("daemon", &[("mill daemon --log debug", "As mill.service runs it, but saying more.")]),
    ("plane", &[("mill plane", "As mill-plane.service runs it.")]),
    ("doctor", &[("mill doctor", "What is wrong with this machine, and what to do about it.")]),
    ("clean", &[("mill clean --data", "Removes what a daemon that is gone has left here, its data too.")]),
    (
        "completions",
        &[("mill completions bash > /etc/bash_completion.d/mill", "For every bash of this machine.")],
    ),
];

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory as _, Parser as _};

    use super::*;
    use crate::cli::Cli;

    fn commands(command: &Command, path: &str, into: &mut Vec<String>) {
        into.push(path.to_owned());
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            commands(sub, format!("{path} {}", sub.get_name()).trim_start(), into);
        }
    }

    #[test]
    fn every_command_has_examples_that_are_read_as_it() {
        let mut all = vec![];
        commands(&Cli::command(), "", &mut all);
        for command in &all {
            let found = EXAMPLES.iter().find(|(known, _)| known == command);
            let (_, examples) = found.unwrap_or_else(|| panic!("`{command}` has no example"));
            for (line, does) in *examples {
                let line = line.split(" | mill").last().map_or((*line).to_owned(), |last| {
                    match line.contains(" | mill") {
                        true => format!("mill{last}"),
                        false => last.to_owned(),
                    }
                });
                let words = line.split(['|', '>']).next().unwrap().split_whitespace();
                let read = Cli::try_parse_from(words);
                assert!(read.is_ok(), "{line}: {}", read.unwrap_err());
                assert!(line.starts_with(&format!("mill {command}")), "{line} isn't {command}");
                assert!(does.ends_with('.'), "{does}");
            }
        }
    }
}
