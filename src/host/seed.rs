//! The seed of everything that is random in a run.

use std::fs::File;
use std::io::Read as _;

use serde::{Deserialize, Serialize};

use crate::event_bus::monotonic_ns;

/// A seed, and whether the user has given it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seed {
    Given(u64),
    Drawn(u64),
}

impl Seed {
    /// Draws one. It is short, so that people can copy it.
    #[must_use]
    pub fn draw() -> Self {
        let mut bytes = [0; 4];
        // Without a source of random bytes the clock has to do.
        if File::open("/dev/urandom")
            .and_then(|mut source| source.read_exact(&mut bytes))
            .is_err()
        {
            bytes.copy_from_slice(&monotonic_ns().to_le_bytes()[..4]);
        }
        Self::Drawn(u32::from_le_bytes(bytes).into())
    }

    /// Returns the number.
    #[must_use]
    pub fn number(self) -> u64 {
        match self {
            Self::Given(number) | Self::Drawn(number) => number,
        }
    }

    /// Returns the number if the user has given it.
    #[must_use]
    pub fn given(self) -> Option<u64> {
        match self {
            Self::Given(number) => Some(number),
            Self::Drawn(_) => None,
        }
    }

    /// Returns the random bytes of this number for the script: sixteen of them, in hexadecimal digits.
    #[must_use]
    pub fn script_bytes(self, number: u64) -> String {
        let mut hash = blake3::Hasher::new();
        hash.update(b"script");
        hash.update(&self.number().to_le_bytes());
        hash.update(&number.to_le_bytes());
        hash.finalize().to_hex()[..32].to_owned()
    }
}

impl Default for Seed {
    fn default() -> Self {
        Self::draw()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_bytes_each_time() {
        let bytes = Seed::Given(7).script_bytes(1);
        assert_eq!(bytes, Seed::Drawn(7).script_bytes(1));
        assert_eq!(bytes.len(), 32);
        assert_ne!(bytes, Seed::Given(7).script_bytes(2));
        assert_ne!(bytes, Seed::Given(8).script_bytes(1));
    }
}
