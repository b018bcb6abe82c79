//! Generates messages and services of the conversations between processes.

fn main() -> std::io::Result<()> {
    let protos = ["../mill/v1/introspect.proto", "../mill/v1/plane.proto"];
    tonic_prost_build::configure().compile_protos(&protos, &[".."])
}
