//! Generates the messages from `mill/v1/*.proto`.

use std::io::Result;

fn main() -> Result<()> {
    let files = ["access", "spec", "state", "command"].map(|name| format!("mill/v1/{name}.proto"));
    println!("cargo::rerun-if-changed=mill");
    prost_build::Config::new().compile_protos(&files, &["."])
}
