//! Fuzz targets for the engine's parsers: one program, which TURNOUT_FUZZ_TARGET tells which parser to try.
//!
//! A target takes any bytes and panics where a promise is broken. What is right is said by a second opinion: a plain
//! reader of whole inputs written here, prost, or flate2's own readers. `python -m fuzz` builds, feeds and runs it.
#![cfg_attr(not(test), no_main)]

mod edits;
mod frames;
mod heads;
mod infer;
mod made;
mod memory;
mod messages;
mod schema;
mod signatures;
mod tables;
mod typed;
mod values;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

/// What tries one parser with one input.
type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 18] = [
    ("authority", frames::authority),
    ("frames", frames::raw),
    ("frames-made", frames::made),
    ("opening", heads::opening),
    ("trace", heads::trace),
    ("messages", messages::cut),
    ("inflate", messages::inflate),
    ("inflate-made", messages::inflate_made),
    ("values", values::raw),
    ("values-made", values::made),
    ("infer", infer::raw),
    ("infer-made", infer::made),
    ("signature", signatures::raw),
    ("signature-made", signatures::made),
    ("typed", typed::raw),
    ("typed-made", typed::made),
    ("table", tables::raw),
    ("table-made", tables::made),
];

static CHOSEN: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("TURNOUT_FUZZ_TARGET").unwrap_or_default();
    let known = TARGETS.map(|(name, _)| name).join(", ");
    TARGETS
        .iter()
        .find(|(known, _)| *known == name)
        .unwrap_or_else(|| panic!("TURNOUT_FUZZ_TARGET is one of {known}"))
        .1
});

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

fuzz_target!(|data: &[u8]| CHOSEN(data));
