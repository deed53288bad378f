//! `wasi:random/random`: the system's own random source.

use rustix::rand::{GetRandomFlags, getrandom};

use super::Imports;
use crate::wit::random::Host;

/// Maximum number of bytes of one call; the component needs a few for an id.
const MOST: u64 = 64 << 10;

impl Host for Imports {
    fn get_random_bytes(&mut self, len: u64) -> Vec<u8> {
        let mut bytes = vec![0; len.min(MOST) as usize];
        fill(&mut bytes);
        bytes
    }

    fn get_random_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        fill(&mut bytes);
        u64::from_ne_bytes(bytes)
    }
}

/// Fills a buffer. An interrupted call is repeated; the source itself does not fail.
pub(super) fn fill(mut bytes: &mut [u8]) {
    while !bytes.is_empty() {
        if let Ok(filled) = getrandom(&mut *bytes, GetRandomFlags::empty()) {
            bytes = &mut bytes[filled..];
        }
    }
}
