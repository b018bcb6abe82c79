//! Images made of files, by `umoci`, and pushed by `skopeo`.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::tool::Tool;
use super::{Context as _, Failed};

/// Users of our images: the usual root, and one without rights.
const PASSWD: &str = "root:x:0:0:root:/:/bin/sh\napp:x:1000:1000:app:/:/bin/sh\n";
const GROUP: &str = "root:x:0:\napp:x:1000:\n";

/// An OCI layout on disk: images under construction.
pub struct Layout(PathBuf);

impl Layout {
    /// An empty one.
    ///
    /// # Errors
    /// `umoci` isn't installed, or something is at `path` already.
    pub fn create(path: &Path) -> Result<Self, Failed> {
        Tool::new("umoci").args(["init", "--layout"]).args([path]).run()?;
        Ok(Self(path.to_owned()))
    }

    fn name(&self, tag: &str) -> String {
        format!("{}:{tag}", self.0.display())
    }

    /// An image without anything in it.
    ///
    /// # Errors
    /// `umoci`'s.
    pub fn empty(&self, tag: &str) -> Result<(), Failed> {
        Tool::new("umoci").args(["new", "--image", &self.name(tag)]).run().map(drop)
    }

    /// Adds a file, or a directory with all that is in it, as a layer.
    ///
    /// # Errors
    /// `umoci`'s.
    pub fn insert(&self, tag: &str, from: &Path, to: &str) -> Result<(), Failed> {
        Tool::new("umoci")
            .args(["insert", "--image", &self.name(tag)])
            .args([from])
            .args([to])
            .run()
            .map(drop)
    }

    /// Another image like `from` with other settings, as `umoci config` calls them.
    ///
    /// # Errors
    /// `umoci`'s.
    pub fn derive(&self, from: &str, tag: &str, settings: &[&str]) -> Result<(), Failed> {
        Tool::new("umoci")
            .args(["config", "--image", &self.name(from), "--tag", tag])
            .args(settings)
            .run()
            .map(drop)
    }

    /// Takes over an image of a registry without TLS as `tag`.
    ///
    /// # Errors
    /// `skopeo`'s.
    pub fn fetch(&self, registry: SocketAddr, name: &str, tag: &str) -> Result<(), Failed> {
        Tool::new("skopeo")
            .args(["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"])
            .args([format!("docker://{registry}/{name}"), format!("oci:{}", self.name(tag))])
            .run()
            .map(drop)
    }

    /// Pushes `tag` to a registry without TLS, as `name`.
    ///
    /// # Errors
    /// `skopeo`'s.
    pub fn push(&self, tag: &str, registry: SocketAddr, name: &str) -> Result<(), Failed> {
        Tool::new("skopeo")
            .args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"])
            .args([format!("oci:{}", self.name(tag)), format!("docker://{registry}/{name}")])
            .run()
            .map(drop)
    }
}

/// Builds the images of our own programs in `folder` and pushes them: `apps:1`, whose command picks the program;
/// `hello:v1` and `hello:v2`, which differ in what they answer, and `hello:broken`, which crashes at its start.
///
/// # Errors
/// A tool is missing, or the registry refuses.
pub fn push_ours(folder: &Path, apps: &Path, registry: SocketAddr) -> Result<(), Failed> {
    let root = folder.join("ours");
    let etc = root.join("etc");
    fs::create_dir_all(&etc).or_fail("a folder for images")?;
    fs::create_dir_all(root.join("tmp")).or_fail("a folder for images")?;
    fs::write(etc.join("passwd"), PASSWD).or_fail("/etc/passwd")?;
    fs::write(etc.join("group"), GROUP).or_fail("/etc/group")?;
    let layout = Layout::create(&folder.join("oci"))?;
    layout.empty("base")?;
    layout.insert("base", &root, "/")?;
    layout.insert("base", Path::new("/bin/busybox"), "/bin/sh")?;
    layout.insert("base", apps, "/apps")?;
    let stop = "--config.stopsignal=SIGTERM";
    layout.derive("base", "apps", &["--config.entrypoint=/apps", stop])?;
    layout.push("apps", registry, "apps:1")?;
    for version in ["v1", "v2"] {
        let env = format!("--config.env=VERSION={version}");
        layout.derive("apps", version, &["--config.cmd=hello", &env])?;
        layout.push(version, registry, &format!("hello:{version}"))?;
    }
    layout.derive("apps", "broken", &["--config.cmd=exit", "--config.env=CODE=1", stop])?;
    layout.push("broken", registry, "hello:broken")
}
