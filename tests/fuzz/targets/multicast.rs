//! Datagrams by which nodes make themselves known.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|datagram: &[u8]| halley_cluster::fuzzing::datagram(datagram));
