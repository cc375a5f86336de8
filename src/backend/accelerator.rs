//! The ways in which a virtual machine runs.

use std::fmt;

/// The way in which a virtual machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// By the processor.
    Kvm,
    /// Emulated: slower by a factor of ten to twenty.
    Tcg,
}

impl Accelerator {
    /// The factor for default timeouts, compared with KVM.
    #[must_use]
    pub fn slowness(self) -> f64 {
        match self {
            Self::Kvm => 1.0,
            Self::Tcg => 10.0,
        }
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "KVM",
            Self::Tcg => "TCG",
        })
    }
}
