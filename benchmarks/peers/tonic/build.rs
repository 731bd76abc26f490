// Compiles the product's own contract; values stay `Bytes`, so that the peer copies no more than it must.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let proto = std::env::var("PRISM_PROTO").unwrap_or_else(|_| "../../../proto".into());
    tonic_prost_build::configure()
        .build_client(false)
        .bytes(".")
        .compile_protos(&[format!("{proto}/prism/interfaces/keyvalue/keyvalue_basic.proto")], &[proto])?;
    Ok(())
}
