//! The keyed hash that a journal has instead of units: BLAKE2b of 16 bytes.

use blake2::Blake2bVarCore;
use blake2::digest::block_api::{Block, Buffer, UpdateCore, VariableOutputCore};

const SIZE: usize = 16;
const MOST_KEY: usize = 64;

/// Hashes units. The key's block is hashed once and not with each of them, which is half of what a unit costs.
pub struct Hasher {
    keyed: Blake2bVarCore,
}

impl Hasher {
    /// Makes one with a key of 1 to 64 bytes; None with another.
    pub fn new(key: &[u8]) -> Option<Self> {
        if !(1..=MOST_KEY).contains(&key.len()) {
            return None;
        }
        let mut keyed = Blake2bVarCore::new_with_params(&[], &[], key.len(), SIZE);
        let mut block = Block::<Blake2bVarCore>::default();
        block[..key.len()].copy_from_slice(key);
        keyed.update_blocks(&[block]);
        Some(Self { keyed })
    }

    /// Returns the hash of a unit, which is not empty: the last block is hashed otherwise than those before.
    pub fn hash(&self, unit: &str) -> [u8; SIZE] {
        let mut core = self.keyed.clone();
        let mut buffer = Buffer::<Blake2bVarCore>::default();
        buffer.digest_blocks(unit.as_bytes(), |blocks| core.update_blocks(blocks));
        let mut hash = Default::default();
        core.finalize_variable_core(&mut buffer, &mut hash);
        std::array::from_fn(|place| hash[place])
    }
}

#[cfg(test)]
mod tests {
    use blake2::Blake2bMac;
    use blake2::digest::consts::U16;
    use blake2::digest::{FixedOutput, KeyInit, Update};

    use super::*;

    #[test]
    fn it_is_what_hashing_key_and_unit_together_gives_whatever_their_lengths() {
        for key in [1, 16, 63, 64] {
            let key = &[7; MOST_KEY][..key];
            let hasher = Hasher::new(key).unwrap();
            for length in [1, 2, 127, 128, 129, 256, 257, 1000] {
                let unit = "u".repeat(length);
                let mut whole = Blake2bMac::<U16>::new_from_slice(key).unwrap();
                whole.update(unit.as_bytes());
                assert_eq!(hasher.hash(&unit)[..], whole.finalize_fixed()[..], "{length}");
            }
        }
    }

    #[test]
    fn keys_of_other_lengths_are_refused() {
        assert!(Hasher::new(&[]).is_none() && Hasher::new(&[0; MOST_KEY + 1]).is_none());
    }
}
