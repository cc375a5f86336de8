//! Digests that are written to disk: the same for the same content, whatever release made them.

use std::fs::File;
use std::io;
use std::path::Path;

/// How many characters of a digest make a file name.
const NAME_CHARACTERS: usize = 32;

/// A digest of several fields. Each is hashed with its length, so that no two lists of fields are the same bytes.
#[derive(Debug)]
pub struct Digest(blake3::Hasher);

impl Default for Digest {
    fn default() -> Self {
        Self(blake3::Hasher::new())
    }
}

impl Digest {
    /// A digest that cannot be computed or compared without the key.
    #[must_use]
    pub fn keyed(key: &[u8; 32]) -> Self {
        Self(blake3::Hasher::new_keyed(key))
    }

    /// Adds a field.
    pub fn field(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let bytes = bytes.as_ref();
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// Adds the content of a file.
    ///
    /// # Errors
    /// Returns an error if it cannot be read.
    pub fn file(&mut self, path: &Path) -> io::Result<&mut Self> {
        self.0.update_reader(File::open(path)?)?;
        Ok(self)
    }

    /// The digest in hexadecimal, 64 characters.
    #[must_use]
    pub fn hex(&self) -> String {
        self.0.finalize().to_hex().to_string()
    }

    /// The digest as a name for a file or folder.
    #[must_use]
    pub fn name(&self) -> String {
        self.hex()[..NAME_CHARACTERS].to_owned()
    }
}

/// Whether a text is one that [`Digest::name`] gives.
#[must_use]
pub fn is_name(text: &str) -> bool {
    text.len() == NAME_CHARACTERS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The digest of a file's content, in hexadecimal.
///
/// # Errors
/// Returns an error if it cannot be read.
pub fn of_file(path: &Path) -> io::Result<String> {
    Ok(Digest::default().file(path)?.hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_do_not_change_with_releases() {
        let mut digest = Digest::default();
        digest.field("a").field("bc");
        assert!(is_name(&digest.name()) && !is_name("0"));
        assert_eq!(digest.name(), "405e183e2494cdbe2df89349cc0ffa5b");
    }

    #[test]
    fn fields_have_borders() {
        let of = |fields: [&str; 2]| {
            let mut digest = Digest::default();
            for field in fields {
                digest.field(field);
            }
            digest.hex()
        };
        assert_ne!(of(["ab", "c"]), of(["a", "bc"]));
        assert_ne!(
            Digest::keyed(&[1; 32]).field("a").hex(),
            Digest::keyed(&[2; 32]).field("a").hex()
        );
    }
}
