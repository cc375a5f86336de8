//! The host's KVM, asked as QEMU asks it: whether it makes a virtual machine with a processor.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// The version of KVM's interface, which has not changed since Linux 2.6.22 (Documentation/virt/kvm/api.rst).
const API_VERSION: i32 = 12;

/// The extension that tells how many bits the addresses of a guest's memory may have, on aarch64.
const ARM_ADDRESS_BITS: i32 = 165;

/// How many they have in a machine of no special kind.
const USUAL_ADDRESS_BITS: i32 = 40;

/// Returns the kind of machine to make on a host with so many bits: processors with fewer than usual, such as Apple's,
/// make none of the usual kind. 0 is what other architectures tell.
fn kind_of_machine(bits: i32) -> i32 {
    if (1..USUAL_ADDRESS_BITS).contains(&bits) {
        bits
    } else {
        0
    }
}

/// The answer of the host's KVM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KvmAnswer {
    NoDevice,
    Closed,
    /// The device is there, and makes no virtual machine, or none with a processor.
    MakesNoMachine,
    MakesMachines,
}

mod calls {
    const KVM: u8 = 0xae;
    nix::ioctl_none_bad!(get_api_version, nix::request_code_none!(KVM, 0x00));
    nix::ioctl_write_int_bad!(create_vm, nix::request_code_none!(KVM, 0x01));
    nix::ioctl_write_int_bad!(check_extension, nix::request_code_none!(KVM, 0x03));
    nix::ioctl_write_int_bad!(create_vcpu, nix::request_code_none!(KVM, 0x41));
}

/// Asks the host's KVM.
pub(super) fn ask() -> KvmAnswer {
    let device = match OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        Ok(device) => device,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return KvmAnswer::NoDevice,
        Err(_) => return KvmAnswer::Closed,
    };
    match make_machine(&device) {
        Ok(()) => KvmAnswer::MakesMachines,
        Err(_) => KvmAnswer::MakesNoMachine,
    }
}

/// Makes a virtual machine with one processor, which go away at once.
#[allow(unsafe_code)]
fn make_machine(device: &File) -> nix::Result<()> {
    // SAFETY: the call takes no argument and touches no memory of this process.
    if unsafe { calls::get_api_version(device.as_raw_fd()) }? != API_VERSION {
        return Err(nix::errno::Errno::ENOTSUP);
    }
    // SAFETY: the argument is a number.
    let bits = unsafe { calls::check_extension(device.as_raw_fd(), ARM_ADDRESS_BITS) };
    let kind = kind_of_machine(bits.unwrap_or_default());
    // SAFETY: the argument is a number, and the result a new file that nothing else owns.
    let machine = unsafe { OwnedFd::from_raw_fd(calls::create_vm(device.as_raw_fd(), kind)?) };
    // SAFETY: as above.
    let processor = unsafe { OwnedFd::from_raw_fd(calls::create_vcpu(machine.as_raw_fd(), 0)?) };
    drop(processor);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_with_short_addresses_have_machines_of_their_kind() {
        assert_eq!([0, 36, 40, 48].map(kind_of_machine), [0, 36, 0, 0]);
    }
}
