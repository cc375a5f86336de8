//! Requests about a network interface, as the kernel's ioctls take them.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::libc;

/// The end of a pair of virtual cards that its network's switch holds: alone in a network namespace, so that it
/// can have the same name in each.
pub const SWITCH_END: &str = "switch";

nix::ioctl_write_ptr_bad!(set_flags, libc::SIOCSIFFLAGS, libc::ifreq);

/// A request that names an interface, and says nothing more.
///
/// # Errors
/// Returns an error if an interface cannot have this name.
#[allow(unsafe_code)]
pub fn interface_request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: all of its parts are numbers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.is_empty() || name.len() >= request.ifr_name.len() {
        let message = format!("`{name}` cannot be the name of an interface");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = byte.cast_signed();
    }
    Ok(request)
}

/// Sets the flags of an interface, such as `IFF_UP`, in the network namespace of a socket.
///
/// # Errors
/// Returns an error if there is none of this name, or the kernel refuses.
#[allow(unsafe_code)]
pub fn set_interface_flags(socket: impl AsFd, name: &str, flags: libc::c_int) -> io::Result<()> {
    let mut request = interface_request(name)?;
    request.ifr_ifru.ifru_flags = flags.try_into().map_err(io::Error::other)?;
    // SAFETY: the kernel reads `request`, which lives until it returns.
    unsafe { set_flags(socket.as_fd().as_raw_fd(), &raw const request) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_kernel() {
        assert!(interface_request("eth1").is_ok());
        assert!(interface_request("").is_err());
        assert!(interface_request("sixteen-letters-").is_err());
    }
}
