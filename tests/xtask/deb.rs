//! Mill's Debian package: the binary, its units, its settings, what shells complete, the manual. `src/mill/Cargo.toml` says what is in
//! it, cargo-deb puts it together.

use std::fs;
use std::path::{Path, PathBuf};

use crate::house::House;
use crate::install;
use crate::shell::{About as _, Shell, Trouble};

/// Shells and where cargo-deb finds what they complete, below the profile's folder.
const COMPLETIONS: [(&str, &str); 3] = [("bash", "mill.bash"), ("zsh", "_mill"), ("fish", "mill.fish")];

/// Builds the package of a release; cargo-deb says where it is.
pub(crate) fn release(house: &House) -> Result<(), Trouble> {
    install::packages()?;
    let cargo = Shell::new("cargo").within(&house.top);
    cargo.args(["build", "--locked", "--release", "--package", "mill"]).run()?;
    of(house, "release", &[]).map(drop)
}

/// Builds the package of a binary that is there, in a hurry: it is installed once, by a story.
pub(crate) fn of_stories(house: &House, profile: &str) -> Result<PathBuf, Trouble> {
    of(house, profile, &["--fast"])
}

/// Where the package of a profile's binary is.
pub(crate) fn path(house: &House, profile: &str) -> PathBuf {
    house.target.join("debian").join(format!("mill-{profile}.deb"))
}

fn of(house: &House, profile: &str, options: &[&str]) -> Result<PathBuf, Trouble> {
    install::cargo_deb(house)?;
    let built = house.target.join(profile);
    let completions = built.join("completions");
    fs::create_dir_all(&completions).about(&completions)?;
    for (shell, file) in COMPLETIONS {
        let text = Shell::new(built.join("mill")).args(["completions", shell]).read()?;
        let file = completions.join(file);
        fs::write(&file, text).about(&file)?;
    }
    manual(&built)?;
    let package = path(house, profile);
    let folder = house.target.join("debian");
    fs::create_dir_all(&folder).about(&folder)?;
    install::deb(house)
        .within(&house.top)
        .args(["--package", "mill", "--no-build", "--quiet", "--profile", profile, "--output"])
        .args([&package])
        .args(options)
        .run()?;
    Ok(package)
}

/// Writes the manual, compressed as Debian's policy has it (12.3), in place of one from before.
fn manual(built: &Path) -> Result<(), Trouble> {
    let pages = built.join("man");
    if pages.exists() {
        fs::remove_dir_all(&pages).about(&pages)?;
    }
    Shell::new(built.join("mill")).args(["man"]).args([&pages]).run()?;
    let entries = fs::read_dir(&pages).about(&pages)?;
    let names: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    Shell::new("gzip").args(["--best", "--no-name"]).args(&names).run()
}
