//! Compiles our own control API (Envoy's messages come compiled from `envoy-types`), and reads the rules that are built in.

#[path = "build/rules.rs"]
mod rules;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let proto = "attache/control/v1/control.proto";
    println!("cargo:rerun-if-changed=proto/{proto}");
    let descriptors = protox::compile([proto], ["proto"])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    rules::write()
}
