//! Where things are.

use std::path::{Path, PathBuf};

use crate::shell::{Shell, Trouble};

/// The profile that stories and demo build Mill with: release without the minute of link-time optimization.
pub(crate) const PROFILE: &str = "proof";

/// Directories of the project on this machine.
#[derive(Debug)]
pub(crate) struct House {
    /// The top of the project.
    pub(crate) top: PathBuf,
    /// Cargo's target directory.
    pub(crate) target: PathBuf,
    /// Tools that are built once for all clones.
    pub(crate) tools: PathBuf,
}

impl House {
    pub(crate) fn find() -> Result<Self, Trouble> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let top = here.ancestors().nth(2).ok_or(Trouble::Lost)?.to_owned();
        // TARGET/debug/xtask: whatever told cargo where its target directory is, this binary is in it
        let own = std::env::current_exe().map_err(|_| Trouble::Lost)?;
        let target = own.ancestors().nth(2).ok_or(Trouble::Lost)?.to_owned();
        let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
        Ok(Self { top, target, tools: home.join(".cache/mill/tools") })
    }

    /// The `mill` that stories and demo run.
    pub(crate) fn mill(&self) -> PathBuf {
        self.target.join(PROFILE).join("mill")
    }

    /// The same, whose actors panic to order.
    pub(crate) fn faulty(&self) -> PathBuf {
        self.target.join("debug/mill")
    }

    /// The runner of stories.
    pub(crate) fn runner(&self) -> PathBuf {
        self.target.join("debug/mill-e2e")
    }

    /// The programs of test containers, which are built for a target by name and so have a folder of their own.
    pub(crate) fn apps(&self) -> Result<PathBuf, Trouble> {
        Ok(self.target.join(host()?).join(PROFILE).join("apps"))
    }

    /// Builds Mill, the runner of stories, and the static programs for test containers.
    pub(crate) fn build(&self) -> Result<(), Trouble> {
        let host = host()?;
        let cargo = || Shell::new("cargo").within(&self.top);
        cargo().args(["build", "--locked", "--profile", PROFILE, "--package", "mill"]).run()?;
        cargo().args(["build", "--locked", "--package", "mill-e2e"]).run()?;
        let flags = format!("CARGO_TARGET_{}_RUSTFLAGS", host.to_uppercase().replace('-', "_"));
        cargo()
            .args([
                "build",
                "--locked",
                "--profile",
                PROFILE,
                "--package",
                "mill-e2e-apps",
                "--target",
                &host,
            ])
            .env(&flags, "-C target-feature=+crt-static")
            .run()
    }

    /// Builds the Mill whose actors panic to order, which stories alone ask for.
    pub(crate) fn build_faulty(&self) -> Result<(), Trouble> {
        let cargo = Shell::new("cargo").within(&self.top);
        cargo.args(["build", "--locked", "--package", "mill", "--features", "faults"]).run()
    }
}

/// The triple that rustc builds for by itself.
fn host() -> Result<String, Trouble> {
    let version = Shell::new("rustc").args(["-vV"]).read()?;
    version.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned).ok_or(Trouble::Lost)
}
