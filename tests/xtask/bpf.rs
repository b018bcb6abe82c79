//! The programs for the kernel: built where there is a clang, and compared with what is committed beside their source.
//!
//! Who only builds Mill needs no clang: the object is committed. That it is the source's is checked everywhere, by a
//! fingerprint; that a build comes to the same, byte by byte, where there is the clang that made it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::house::House;
use crate::shell::{About as _, Shell, Trouble, say};

/// Where the source is, and what it is made of.
const FOLDER: &str = "src/drivers/datapath";
const SOURCES: [&str; 2] = ["mill.bpf.c", "bpf.h"];
const OBJECT: &str = "mill.bpf.o";

/// Beside the object: the sources' fingerprint, and which clang.
const BUILT: &str = "mill.bpf.built";

/// Second version of the instructions, which Linux has had since 4.14; names of files as they are here, so that the same
/// comes of every folder.
const FLAGS: [&str; 11] = [
    "-O2",
    "-g",
    "-target",
    "bpf",
    "-mcpu=v2",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-fdebug-compilation-dir=.",
    "-c",
    "mill.bpf.c",
];

/// Builds the object in its place.
pub(crate) fn build(house: &House) -> Result<(), Trouble> {
    let folder = house.top.join(FOLDER);
    compile(&folder, &folder.join(OBJECT))?;
    let built = folder.join(BUILT);
    fs::write(&built, format!("{}\n{}\n", fingerprint(&folder)?, clang()?)).about(&built)
}

/// Compares what is committed with its source; how many comparisons there were.
pub(crate) fn check(house: &House) -> Result<usize, Trouble> {
    let folder = house.top.join(FOLDER);
    let (object, built) = (folder.join(OBJECT), folder.join(BUILT));
    let noted = fs::read_to_string(&built).about(&built)?;
    let mut noted = noted.lines();
    let (wanted, made_by) = (noted.next().unwrap_or_default(), noted.next().unwrap_or_default());
    let now = fingerprint(&folder)?;
    if now != wanted {
        return Err(Trouble::Unexpected {
            what: "an object built from its source: `cargo xtask bpf` builds it",
            seen: format!("sources {now}, object of {wanted}"),
        });
    }
    match clang() {
        Ok(here) if here == made_by => {}
        Ok(here) => {
            say(&format!("not built again: made by {made_by}, here is {here}"));
            return Ok(1);
        }
        Err(_) => {
            say(&format!("not built again: there is no clang here; made by {made_by}"));
            return Ok(1);
        }
    }
    let again = house.target.join(OBJECT);
    compile(&folder, &again)?;
    match fs::read(&again).about(&again)? == fs::read(&object).about(&object)? {
        true => Ok(2),
        false => Err(Trouble::Unexpected {
            what: "the committed object to be what its source comes to",
            seen: format!("{} differs", again.display()),
        }),
    }
}

fn compile(folder: &Path, object: &Path) -> Result<(), Trouble> {
    let to = object.display().to_string();
    Shell::new("clang").within(folder).args(FLAGS).args(["-o", &to]).run()?;
    // What debuggers want of it; what the kernel wants (BTF) stays.
    Shell::new("llvm-strip").args(["-g", &to]).run()
}

/// `Debian clang version 14.0.6`
fn clang() -> Result<String, Trouble> {
    let said = Shell::new("clang").args(["--version"]).read()?;
    Ok(said.lines().next().unwrap_or_default().to_owned())
}

/// FNV-1a over the sources.
fn fingerprint(folder: &Path) -> Result<String, Trouble> {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for path in SOURCES.map(|name| -> PathBuf { folder.join(name) }) {
        for byte in fs::read(&path).about(&path)? {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
    Ok(format!("{hash:016x}"))
}
