//! Network cards of containers: tap devices, whose other end the network's switch serves.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use nix::libc;

/// The device that taps are made of.
const DEVICE: &str = "/dev/net/tun";

nix::ioctl_write_ptr_bad!(
    set_interface,
    nix::request_code_write!(b'T', 202, size_of::<libc::c_int>()),
    libc::ifreq
);
nix::ioctl_write_ptr_bad!(set_address, libc::SIOCSIFHWADDR, libc::ifreq);

/// Opens the device for one tap: before a process enters its namespaces, where the user may not.
///
/// # Errors
/// When it is missing, or not for this user.
pub(super) fn open_device() -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(DEVICE)
}

/// Makes a tap in this process' network namespace. The file becomes its other end: each read and write is one frame.
///
/// # Errors
/// When the name or the address is none, or the kernel refuses.
#[allow(unsafe_code)]
pub(super) fn create(device: &File, name: &str, address: &str) -> io::Result<()> {
    let mut request = request(name)?;
    let flags = libc::IFF_TAP | libc::IFF_NO_PI;
    request.ifr_ifru.ifru_flags = flags.try_into().map_err(io::Error::other)?;
    // SAFETY: the kernel reads and writes `request`, which lives until it returns.
    unsafe { set_interface(device.as_raw_fd(), &raw const request) }?;
    request.ifr_ifru.ifru_hwaddr = hardware_address(address)?;
    // SAFETY: as above; the device takes this call for its interface.
    unsafe { set_address(device.as_raw_fd(), &raw const request) }?;
    Ok(())
}

#[allow(unsafe_code)]
fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: all of its parts are numbers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.is_empty() || name.len() >= request.ifr_name.len() {
        return Err(invalid(format!(
            "`{name}` cannot be the name of an interface"
        )));
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = byte.cast_signed();
    }
    Ok(request)
}

fn hardware_address(text: &str) -> io::Result<libc::sockaddr> {
    let wrong = || invalid(format!("`{text}` is not a hardware address"));
    let mut address = libc::sockaddr {
        sa_family: libc::ARPHRD_ETHER,
        sa_data: [0; 14],
    };
    let mut parts = text.split(':');
    for place in &mut address.sa_data[..6] {
        let part = parts.next().ok_or_else(wrong)?;
        *place = u8::from_str_radix(part, 16)
            .map_err(|_| wrong())?
            .cast_signed();
    }
    match parts.next() {
        None => Ok(address),
        Some(_) => Err(wrong()),
    }
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_six_bytes() {
        let address = hardware_address("52:54:00:12:01:fe").unwrap();
        assert_eq!(address.sa_data[..6], [0x52, 0x54, 0, 0x12, 1, -2]);
        for wrong in ["", "52:54:00:12:01", "52:54:00:12:01:02:03", "x"] {
            assert!(hardware_address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_fit_the_kernel() {
        assert!(request("eth1").is_ok());
        assert!(request("").is_err());
        assert!(request("sixteen-letters-").is_err());
    }
}
