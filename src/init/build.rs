//! Makes the program: static, so that it runs in any image, and small, since each binary of Mill carries it.
//!
//! # Why
//! - **rustc, not cargo.** A cargo within cargo needs a second lock, a second target directory and a network. The
//!   program has no dependencies, so that the compiler alone can make it.
//! - **The C library, linked in** (`crt-static`), of the machine's own target: no other toolchain is needed, for
//!   `x86_64` and for `aarch64`.

use std::env::{VarError, var};
use std::error::Error;
use std::path::Path;
use std::process::Command;

/// A panic would only be one more way to end, and unwinding is half of the program's size. Nobody supervises it.
const FLAGS: [&str; 7] = [
    "target-feature=+crt-static",
    "opt-level=s",
    "lto=fat",
    "codegen-units=1",
    "panic=abort",
    "strip=symbols",
    "debuginfo=0",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=.");
    println!("cargo::rerun-if-env-changed=RUSTC_LINKER");
    let mut rustc = Command::new(var("RUSTC")?);
    rustc.args(["main.rs", "--crate-name", "mill_init", "--crate-type", "bin", "--edition", "2024"]);
    rustc.args(["--cap-lints", "allow", "--target"]).arg(var("TARGET")?);
    for flag in FLAGS {
        rustc.args(["-C", flag]);
    }
    match var("RUSTC_LINKER") {
        Ok(linker) => {
            rustc.arg("-C").arg(format!("linker={linker}"));
        }
        Err(VarError::NotPresent) => {}
        Err(error) => return Err(error.into()),
    }
    let program = Path::new(&var("OUT_DIR")?).join("mill-init");
    rustc.arg("-o").arg(&program);
    let status = rustc.status()?;
    if !status.success() {
        return Err(format!("mill-init can't be compiled: {rustc:?} ended with {status}").into());
    }
    println!("cargo::rustc-env=MILL_INIT_ID={:016x}", fingerprint(&std::fs::read(program)?));
    Ok(())
}

/// FNV-1a: tells one build from another, and nothing hangs on it but a file's name.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
