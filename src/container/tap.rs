//! Tap devices: the guest has the card, the network's switch the file.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use nix::libc;

use crate::network::interface_request;

/// The device that taps are made of.
pub(super) const DEVICE: &str = "/dev/net/tun";

nix::ioctl_write_ptr_bad!(
    set_interface,
    nix::request_code_write!(b'T', 202, size_of::<libc::c_int>()),
    libc::ifreq
);
nix::ioctl_write_ptr_bad!(set_address, libc::SIOCSIFHWADDR, libc::ifreq);

/// Opens the device for one tap: in the network namespace that the tap is to be in.
///
/// # Errors
/// Returns an error if it is missing, or not for this user.
pub(super) fn open_device() -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(DEVICE)
}

/// Makes a tap. The file becomes its other end: each read and write is one frame.
///
/// # Errors
/// Returns an error if the kernel refuses the name or the address.
#[allow(unsafe_code)]
pub(super) fn create(device: &File, name: &str, address: [u8; 6]) -> io::Result<()> {
    let mut request = interface_request(name)?;
    let flags = libc::IFF_TAP | libc::IFF_NO_PI;
    request.ifr_ifru.ifru_flags = flags.try_into().map_err(io::Error::other)?;
    // SAFETY: the kernel reads and writes `request`, which lives until it returns.
    unsafe { set_interface(device.as_raw_fd(), &raw const request) }?;
    let mut hardware = libc::sockaddr {
        sa_family: libc::ARPHRD_ETHER,
        sa_data: [0; 14],
    };
    for (place, byte) in hardware.sa_data.iter_mut().zip(address) {
        *place = byte.cast_signed();
    }
    request.ifr_ifru.ifru_hwaddr = hardware;
    // SAFETY: as above; the device takes this call for its interface.
    unsafe { set_address(device.as_raw_fd(), &raw const request) }?;
    Ok(())
}
