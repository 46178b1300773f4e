//! Fetches the Envoy of the laboratory: `cargo xtask setup` runs it.

fn main() -> anyhow::Result<()> {
    conngate_testbed::lab::envoy::binary().map(drop)
}
