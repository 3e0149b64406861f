"""The native data plane, as Python drives it; the engine itself is the Rust crate in `engine/`."""
