//! Pairs of virtual cards, for hosts without taps: the guest has one end, the network's switch a packet socket on
//! the other.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::libc;
use nix::sched::{CloneFlags, unshare};
use rtnetlink::packet_route::link::{InfoData, InfoVeth};
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth};
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::network::{SWITCH_END, interface_request};

/// Frames of all protocols: `ETH_P_ALL` as a socket's address has it.
const ALL: u16 = 3_u16.to_be();

/// From linux/ethtool.h, which `libc` does not have.
const ETHTOOL_STXCSUM: u32 = 0x17;

nix::ioctl_write_ptr_bad!(set_option, libc::SIOCETHTOOL, libc::ifreq);

#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// Makes a card in the network namespace `guest`. Its other end is in a new one, in which this process is then.
/// Returns the socket on that end: each read and write is one frame. With it the pair ends.
///
/// # Errors
/// Returns an error if the kernel refuses.
pub(super) fn create(name: &str, address: [u8; 6], guest: &File) -> io::Result<OwnedFd> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    // The kernel sends nothing on this end by itself, as it has no address. Without IPv6 there is no such file.
    for interfaces in ["all", "default"] {
        let file = format!("/proc/sys/net/ipv6/conf/{interfaces}/disable_ipv6");
        let _ = fs::write(file, "1");
    }
    add_pair(name, address, guest)?;
    packet_socket()
}

fn add_pair(name: &str, address: [u8; 6], guest: &File) -> io::Result<()> {
    let card = LinkMessageBuilder::<LinkUnspec>::default()
        .name(name)
        .address(address.to_vec())
        .setns_by_fd(guest.as_raw_fd())
        .build();
    let pair = LinkVeth::new(SWITCH_END, name)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(card)))
        .up()
        .build();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let (connection, kernel, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        let added = kernel.link().add(pair).execute().await;
        added.map_err(|error| match error {
            rtnetlink::Error::NetlinkError(message) => message.to_io(),
            other => io::Error::other(other),
        })
    })
}

#[allow(unsafe_code)]
fn packet_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // Without a protocol it receives nothing until it is bound to the one interface.
    let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?;
    let index = name_to_index(&socket, SWITCH_END)?;
    // SAFETY: all of its parts are numbers, for which zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET.try_into().map_err(io::Error::other)?;
    address.sll_protocol = ALL;
    address.sll_ifindex = index.cast_signed();
    let length = size_of_val(&address).try_into().map_err(io::Error::other)?;
    // SAFETY: the kernel reads `address`, which lives until it returns, and is as long as said.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if bound == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}

/// Has the kernel send frames of a card as they are on a wire, with checksums and no longer than the card's limit.
///
/// # Errors
/// Returns an error if the kernel refuses.
#[allow(unsafe_code)]
pub(super) fn send_whole_frames(card: &str) -> io::Result<()> {
    let mut value = EthtoolValue {
        command: ETHTOOL_STXCSUM,
        data: 0,
    };
    let mut request = interface_request(card)?;
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    // SAFETY: the kernel reads `request` and `value`, which live until it returns.
    unsafe { set_option(socket.as_fd().as_raw_fd(), &raw const request) }?;
    Ok(())
}
