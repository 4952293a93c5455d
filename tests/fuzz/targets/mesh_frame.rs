//! Frames between siblings.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| halley_cluster::fuzzing::mesh_frame(bytes));
