//! What is typed, and what it means.

use super::*;

fn resolve(
    flavour: Flavour,
    args: &NodeArgs,
    env: &[(&str, &str)],
    file: &str,
) -> Result<NodeConfig, CliError> {
    let get = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    let file = Some((file, Path::new("/etc/mill/node.kdl"))).filter(|(text, _)| !text.is_empty());
    args.resolve(flavour, &Sources { env: &get, file, hostname: "Node_7.example.com" })
}

#[test]
fn without_settings_a_daemon_is_a_node_and_dev_keeps_to_itself() {
    let daemon = resolve(Flavour::Daemon, &NodeArgs::default(), &[], "").unwrap();
    assert_eq!(
        daemon,
        NodeConfig {
            name: "node-7".parse().unwrap(),
            data_dir: "/var/lib/mill".into(),
            socket: "/run/mill/mill.sock".into(),
            plane_socket: "/run/mill/plane.sock".into(),
            plane: StartsPlane::Daemon,
            listen: "0.0.0.0:4400".parse().unwrap(),
            advertise: None,
            containerd: Containerd::Socket("/run/containerd/containerd.sock".into()),
            cgroup_parent: "/mill".to_owned(),
            log: Log { filter: "info".into(), json: false },
        }
    );
    let dev = resolve(Flavour::Dev, &NodeArgs::default(), &[], "").unwrap();
    assert_eq!(
        dev,
        NodeConfig {
            data_dir: "/var/lib/mill-dev".into(),
            listen: "127.0.0.1:4400".parse().unwrap(),
            advertise: Some("127.0.0.1".parse().unwrap()),
            containerd: Containerd::Auto("/run/containerd/containerd.sock".into()),
            ..daemon
        }
    );
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let file =
        "name \"file\"\nlisten \"1.1.1.1:1\"\ndata-dir \"/file\"\ncontainerd \"own\"\nlog-format \"json\"";
    let env = [
        ("MILL_NODE_NAME", "env"),
        ("MILL_LISTEN", "2.2.2.2:2"),
        ("MILL_LOG", ""),
        ("MILL_DATA_DIR", "/env"),
    ];
    let args = NodeArgs { name: Some("flag".into()), ..NodeArgs::default() };
    let config = resolve(Flavour::Daemon, &args, &env, file).unwrap();
    assert_eq!(config.name.as_str(), "flag");
    assert_eq!(config.listen, "2.2.2.2:2".parse().unwrap());
    assert_eq!(config.data_dir, Path::new("/env"));
    assert_eq!(config.containerd, Containerd::Own);
    assert_eq!(config.log, Log { filter: "info".into(), json: true });
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let none = NodeArgs::default;
    for (args, env, file, message, hint) in [
        (none(), "", "listen \"x\"", "`listen` in /etc/mill/node.kdl:1 can't be `x`", "0.0.0.0:4400"),
        (none(), "x y", "", "MILL_NODE_NAME can't be `x y`", "node-1"),
        (
            NodeArgs { advertise: Some("me".into()), ..none() },
            "",
            "",
            "--advertise can't be `me`",
            "10.0.0.1",
        ),
        (
            NodeArgs { data_dir: Some("here".into()), ..none() },
            "",
            "",
            "--data-dir can't be `here`",
            "from `/` on",
        ),
        (
            NodeArgs { containerd: Some("mine".into()), ..none() },
            "",
            "",
            "--containerd can't be `mine`",
            "`own`",
        ),
        (
            none(),
            "",
            "cgroup-parent \"/\"",
            "`cgroup-parent` in /etc/mill/node.kdl:1 can't be `/`",
            "`/mill`",
        ),
        (
            none(),
            "",
            "cgroup-parent \"/a/../b\"",
            "`cgroup-parent` in /etc/mill/node.kdl:1 can't be `/a/../b`",
            "`/mill`",
        ),
        (
            NodeArgs { log_format: Some("xml".into()), ..none() },
            "",
            "",
            "--log-format can't be `xml`",
            "`json`",
        ),
        (
            none(),
            "",
            "\nlisen \"1.1.1.1:1\"",
            "/etc/mill/node.kdl:2: `lisen` can't be used",
            "did you mean `listen`?",
        ),
        (none(), "", "color \"red\"", "/etc/mill/node.kdl:1: `color` can't be used", "there are: name, "),
        (none(), "", "name 7", "/etc/mill/node.kdl:1: `name` can't be used", "`name \"…\"`"),
        (none(), "", "name \"a\" \"b\"", "/etc/mill/node.kdl:1: `name` can't be used", "nothing else"),
        (none(), "", "name \"a\"\nname \"b\"", "/etc/mill/node.kdl:2: `name` can't be used", "line 1"),
        (none(), "", "name \"a", "/etc/mill/node.kdl isn't KDL", "one setting a line"),
    ] {
        let env = [("MILL_NODE_NAME", env)];
        let error = resolve(Flavour::Daemon, &args, &env, file).unwrap_err();
        assert_eq!(error.message, message);
        assert!(!error.because.is_empty(), "{message}");
        assert!(error.hint.as_ref().unwrap().contains(hint), "{error:?}");
    }
}

#[test]
fn a_host_name_becomes_a_node_name_if_it_can() {
    for (hostname, name) in [
        ("web-1", Some("web-1")),
        ("Big_Box.example.com", Some("big-box")),
        ("-x-", Some("x")),
        ("___", None),
        ("", None),
        ("\u{e9}t\u{e9}", Some("t")),
        (&"x".repeat(63), Some(&*"x".repeat(40))),
    ] {
        assert_eq!(as_name(hostname).as_ref().map(NodeName::as_str), name, "{hostname}");
    }
}

#[test]
fn a_daemon_knows_its_files_by_their_real_names() {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().canonicalize().unwrap();
    std::fs::create_dir(real.join("srv")).unwrap();
    std::os::unix::fs::symlink("srv", real.join("lib")).unwrap();
    let linked = |name: &str| Some(real.join("lib").join(name).display().to_string());
    let args = NodeArgs {
        data_dir: linked(""),
        socket: linked("run/mill.sock"),
        plane_socket: linked("plane.sock"),
        ..NodeArgs::default()
    };
    let config = resolve(Flavour::Daemon, &args, &[], "").unwrap().resolved();
    assert_eq!(config.data_dir, real.join("srv"));
    assert_eq!(config.socket, real.join("srv/run/mill.sock"));
    assert_eq!(config.plane_socket, real.join("srv/plane.sock"));
}
