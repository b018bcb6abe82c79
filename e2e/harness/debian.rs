//! Images of programs that never heard of Mill, made of Debian's packages as they are.
//!
//! `apt-get` fetches a package with everything it depends on into an empty system, `dpkg` unpacks it. What the
//! packages' install scripts would have done, and an image needs, is done here and nothing else: the user list
//! of base-passwd and the package's own user; nginx's default site switched on and its first page in place, and two
//! other sites that differ in what they listen on, for those who ask for them; redis' data and log directories;
//! postgres' directories and, when a container begins, its cluster, which Debian makes at installation.
//! Programs and their configuration files are Debian's, byte for byte.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{chown, symlink};
use std::path::Path;

use super::images::Layout;
use super::tool::Tool;
use super::{Context as _, Failed};

/// A program of Debian's.
pub struct Package {
    /// The package's name; also the image's.
    pub name: &'static str,
    /// What it needs and doesn't depend on, as a machine has it.
    also: &'static [&'static str],
    /// The command of its systemd unit, without what daemonizes it.
    pub command: &'static [&'static str],
    /// Who runs it, if not root.
    runs_as: Option<&'static str>,
    /// Line of `/etc/passwd` that its install script adds.
    user: &'static str,
    finish: fn(&Path) -> Result<(), Failed>,
}

/// Its user and group.
const POSTGRES: u32 = 101;

/// Those that stories run.
pub const PACKAGES: &[Package] = &[
    Package {
        name: "nginx-light",
        also: &[],
        command: &["/usr/sbin/nginx", "-g", "daemon off;"],
        runs_as: None,
        user: "",
        finish: finish_nginx,
    },
    Package {
        name: "redis-server",
        also: &[],
        command: &["/usr/bin/redis-server", "/etc/redis/redis.conf", "--daemonize", "no"],
        runs_as: None,
        user: "redis:x:100:100::/var/lib/redis:/usr/sbin/nologin\n",
        finish: finish_redis,
    },
    Package {
        name: "postgresql",
        // initdb has a shell begin programs
        also: &["dash"],
        command: &["/bin/sh", "/etc/postgresql/begin"],
        runs_as: Some("postgres"),
        user: "postgres:x:101:101::/var/lib/postgresql:/bin/bash\n",
        finish: finish_postgres,
    },
];

/// Builds the images of [`PACKAGES`] in `folder` and pushes them as `NAME:debian`.
///
/// # Errors
/// A package can't be fetched, a tool is missing, or the registry refuses.
pub fn push_all(folder: &Path, registry: SocketAddr) -> Result<(), Failed> {
    let layout = Layout::create(&folder.join("debian-oci"))?;
    for package in PACKAGES {
        let root = folder.join(package.name);
        unpack(package, folder, &root)?;
        let raw = format!("{}-raw", package.name);
        layout.empty(&raw)?;
        layout.insert(&raw, &root, "/")?;
        let mut words = package.command.iter();
        let program = words.next().map(|program| format!("--config.entrypoint={program}"));
        let arguments = words.map(|argument| format!("--config.cmd={argument}"));
        let user = package.runs_as.map(|user| format!("--config.user={user}"));
        let settings: Vec<String> = program.into_iter().chain(arguments).chain(user).collect();
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        layout.derive(&raw, package.name, &settings)?;
        layout.push(package.name, registry, &format!("{}:debian", package.name))?;
        fs::remove_dir_all(&root).or_fail("the unpacked packages")?;
    }
    Ok(())
}

/// Fetches `package` with what it depends on and unpacks it all into `root`.
fn unpack(package: &Package, folder: &Path, root: &Path) -> Result<(), Failed> {
    let archives = folder.join(format!("{}-archives", package.name));
    fs::create_dir_all(archives.join("partial")).or_fail("a folder for packages")?;
    fs::create_dir_all(root).or_fail("a folder for packages")?;
    let archives_option = format!("Dir::Cache::archives={}", archives.display());
    Tool::new("apt-get")
        .args(["install", "--download-only", "--yes", "--no-install-recommends", "--quiet=2"])
        // an empty list of installed packages, so that nothing counts as there already
        .args(["-o", "Dir::State::status=/dev/null", "-o", &archives_option, "-o", "Debug::NoLocking=true"])
        .args(["-o", "APT::Sandbox::User=root", package.name])
        .args(package.also)
        .run()?;
    for archive in fs::read_dir(&archives).or_fail("fetched packages")? {
        let path = archive.or_fail("a fetched package")?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            Tool::new("dpkg-deb").args(["--extract"]).args([&path, root]).run()?;
        }
    }
    fs::remove_dir_all(&archives).or_fail("fetched packages")?;
    let master = |name: &str| fs::read_to_string(format!("/usr/share/base-passwd/{name}.master"));
    let passwd = master("passwd").or_fail("Debian's list of users")?;
    let group = master("group").or_fail("Debian's list of groups")?;
    fs::create_dir_all(root.join("etc")).or_fail("/etc")?;
    fs::write(root.join("etc/passwd"), passwd + package.user).or_fail("/etc/passwd")?;
    fs::write(root.join("etc/group"), group).or_fail("/etc/group")?;
    fs::create_dir_all(root.join("run")).or_fail("/run")?;
    fs::create_dir_all(root.join("tmp")).or_fail("/tmp")?;
    (package.finish)(root)
}

fn finish_nginx(root: &Path) -> Result<(), Failed> {
    let enabled = root.join("etc/nginx/sites-enabled");
    fs::create_dir_all(&enabled).or_fail("nginx's sites")?;
    symlink("/etc/nginx/sites-available/default", enabled.join("default")).or_fail("nginx's default site")?;
    let pages = root.join("var/www/html");
    fs::create_dir_all(&pages).or_fail("nginx's pages")?;
    let first = root.join("usr/share/nginx/html/index.html");
    fs::copy(first, pages.join("index.nginx-debian.html")).or_fail("nginx's first page")?;
    for (name, listen) in [("dual", "[::]:80 ipv6only=off"), ("v6only", "[::]:80")] {
        let config = format!(
            "events {{}}\nhttp {{ server {{ listen {listen}; root /var/www/html; index index.nginx-debian.html; }} }}\n"
        );
        fs::write(root.join(format!("etc/nginx/{name}.conf")), config).or_fail("nginx's other sites")?;
    }
    Ok(())
}

/// Makes a cluster as the package's install script would, open to its network as its readers would have it.
const BEGIN_POSTGRES: &str = r#"set -e
data=/var/lib/postgresql/data
/usr/local/pgsql/bin/initdb --pgdata=$data --auth=trust --locale=C.UTF-8 --no-sync
echo 'host all all all trust' >> $data/pg_hba.conf
exec /usr/local/pgsql/bin/postgres -D $data -c listen_addresses='*'
"#;

fn finish_postgres(root: &Path) -> Result<(), Failed> {
    let versions = root.join("usr/lib/postgresql");
    let mut versions = fs::read_dir(versions).or_fail("postgres' versions")?;
    let version = versions.next().or_fail("a version of postgres")?.or_fail("a version of postgres")?;
    fs::create_dir_all(root.join("usr/local")).or_fail("/usr/local")?;
    let programs = Path::new("/usr/lib/postgresql").join(version.file_name());
    symlink(programs, root.join("usr/local/pgsql")).or_fail("postgres' programs")?;
    let settings = root.join("etc/postgresql");
    fs::create_dir_all(&settings).or_fail("postgres' settings")?;
    fs::write(settings.join("begin"), BEGIN_POSTGRES).or_fail("how postgres begins")?;
    // base-files'
    fs::create_dir_all(root.join("var")).or_fail("/var")?;
    symlink("/run", root.join("var/run")).or_fail("/var/run")?;
    for folder in ["var/lib/postgresql", "run/postgresql"] {
        let folder = root.join(folder);
        fs::create_dir_all(&folder).or_fail("postgres' directories")?;
        chown(&folder, Some(POSTGRES), Some(POSTGRES)).or_fail("postgres' directories")?;
    }
    Ok(())
}

fn finish_redis(root: &Path) -> Result<(), Failed> {
    for folder in ["var/lib/redis", "var/log/redis"] {
        fs::create_dir_all(root.join(folder)).or_fail("redis' directories")?;
    }
    Ok(())
}
