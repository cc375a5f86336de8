//! Network cards of containers: taps, or pairs of virtual cards if this process cannot make taps.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use nix::sched::{CloneFlags, setns};

use super::error::{AtStep, ContainerError};
use super::{tap, veth};
use crate::model::manifest::ContainerCard;

/// Makes the cards of a guest, in whose network namespace this process is. Returns for each what its network's switch
/// serves: the card is there as long as that is open.
///
/// # Errors
/// Returns the card whose name or address the kernel refuses.
pub(super) fn create_cards(
    cards: &[ContainerCard],
    guest: &File,
) -> Result<Vec<OwnedFd>, ContainerError> {
    let create = |card| create_card(card, guest);
    cards.iter().map(create).collect()
}

fn create_card(card: &ContainerCard, guest: &File) -> Result<OwnedFd, ContainerError> {
    let what = format!("making the network card {}", card.name);
    let address = hardware_address(&card.mac).at_step(&what)?;
    match tap::open_device() {
        Ok(device) => {
            tap::create(&device, &card.name, address).at_step(&what)?;
            Ok(device.into())
        }
        Err(error) => {
            let what = format!("{what} without {} ({error})", tap::DEVICE);
            let pair = veth::create(&card.name, address, guest);
            setns(guest, CloneFlags::CLONE_NEWNET).at_step(&what)?;
            let end = pair.at_step(&what)?;
            veth::send_whole_frames(&card.name).at_step(&what)?;
            Ok(end)
        }
    }
}

fn hardware_address(text: &str) -> io::Result<[u8; 6]> {
    let wrong = || {
        let message = format!("`{text}` is not a hardware address");
        io::Error::new(io::ErrorKind::InvalidInput, message)
    };
    let parts = text.split(':').map(|part| u8::from_str_radix(part, 16));
    let bytes: Vec<u8> = parts.collect::<Result<_, _>>().map_err(|_| wrong())?;
    bytes.try_into().map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_six_bytes() {
        let address = hardware_address("52:54:00:12:01:fe").unwrap();
        assert_eq!(address, [0x52, 0x54, 0, 0x12, 1, 0xfe]);
        for wrong in ["", "52:54:00:12:01", "52:54:00:12:01:02:03", "x"] {
            assert!(hardware_address(wrong).is_err(), "{wrong}");
        }
    }
}
