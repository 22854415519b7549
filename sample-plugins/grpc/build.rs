//! Makes Rust of the protocol; protox is a compiler in Rust, so that no `protoc` is needed.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let protocol = protox::compile(["proto/greeter.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .build_transport(false)
        .compile_fds(protocol)?;
    Ok(())
}
