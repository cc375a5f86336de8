//! Network cards of containers: a connection passes the open end of one, and the card is plugged in as long as both are open.
//! The end is a tap, or a packet socket on the other end of a pair of virtual cards.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::time::Duration;

use nix::libc;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};

use super::interface::{SWITCH_END, set_interface_flags};
use super::links::{Link, Links};
use super::queue::EthernetFrame;
use super::switch::{MAX_FRAME_BYTES, Port, Switch};
use super::{Attachment, Faults, report};
use crate::async_file::register;
use crate::passed_files::receive_files;

/// How long to wait for a card that the guest has taken down.
const DOWN: Duration = Duration::from_millis(50);

nix::ioctl_write_ptr_bad!(
    set_carrier,
    nix::request_code_write!(b'T', 226, size_of::<libc::c_int>()),
    libc::c_int
);

pub(super) async fn serve(
    listener: UnixListener,
    switch: Switch,
    links: Links,
    network: u32,
    faults: Faults,
) {
    while let Ok((mut connection, _)) = listener.accept().await {
        let (switch, links, faults) = (switch.clone(), links.clone(), faults.clone());
        tokio::spawn(async move {
            let mut attachment = Attachment {
                network,
                machine: None,
            };
            let attached = attach(&mut connection, &switch, &links, &mut attachment).await;
            if let Err(error) = attached
                && error.kind() != io::ErrorKind::UnexpectedEof
            {
                report(&faults, &attachment, &connection, &error);
            }
        });
    }
}

/// Attaches the card that a connection passes, with the name of its machine.
async fn attach(
    connection: &mut UnixStream,
    switch: &Switch,
    links: &Links,
    attachment: &mut Attachment,
) -> io::Result<()> {
    let (machine, end) = receive(connection).await?;
    attachment.machine = Some(machine.as_str().into());
    let end = register(File::from(end))?;
    let (port, outgoing) = switch.plug_in(attachment.clone());
    let link = links.follow(&machine, attachment.network);
    let closed = async move {
        let mut rest = [0; 64];
        while matches!(connection.read(&mut rest).await, Ok(1..)) {}
    };
    tokio::select! {
        () = send(&end, outgoing, link.clone()) => {}
        () = receive_frames(&end, &port, link.clone()) => {}
        () = follow(&end, link) => {}
        () = closed => {}
    }
    Ok(())
}

async fn send(
    end: &AsyncFd<File>,
    mut outgoing: mpsc::Receiver<EthernetFrame>,
    link: watch::Receiver<Link>,
) {
    while let Some(frame) = outgoing.recv().await {
        if *link.borrow() == Link::Down {
            continue;
        }
        let written = end.async_io(Interest::WRITABLE, |mut end| end.write(&frame));
        // The guest may have taken the card down: what is sent to it is lost.
        let _ = written.await;
    }
}

async fn receive_frames(end: &AsyncFd<File>, port: &Port, link: watch::Receiver<Link>) {
    let mut frame = vec![0; MAX_FRAME_BYTES];
    loop {
        let read = end.async_io(Interest::READABLE, |mut end| end.read(&mut frame));
        match read.await {
            Ok(length) if *link.borrow() == Link::Up => port.receive(&frame[..length]).await,
            Ok(_) => {}
            // The card is down, or gone: its end comes with the connection's.
            Err(_) => tokio::time::sleep(DOWN).await,
        }
    }
}

/// Shows the guest whether a cable is plugged in.
async fn follow(end: &AsyncFd<File>, mut link: watch::Receiver<Link>) {
    while link.changed().await.is_ok() {
        let link = *link.borrow_and_update();
        // Taps since Linux 5.0; without it the guest only misses the sign.
        let _ = show_carrier(end.get_ref(), link);
    }
    std::future::pending::<()>().await;
}

#[allow(unsafe_code)]
fn show_carrier(end: &File, link: Link) -> io::Result<()> {
    if end.metadata()?.file_type().is_socket() {
        // A card has a carrier if the other one of its pair is up.
        let flags = if link == Link::Up { libc::IFF_UP } else { 0 };
        return set_interface_flags(end, SWITCH_END, flags);
    }
    let carrier = libc::c_int::from(link == Link::Up);
    // SAFETY: the kernel reads one number, which lives until it returns.
    unsafe { set_carrier(end.as_raw_fd(), &raw const carrier) }?;
    Ok(())
}

/// Receives an open file, and with it the name of its machine.
async fn receive(connection: &UnixStream) -> io::Result<(String, OwnedFd)> {
    loop {
        connection.readable().await?;
        match connection.try_io(Interest::READABLE, || receive_now(connection)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => return other,
        }
    }
}

fn receive_now(connection: &UnixStream) -> io::Result<(String, OwnedFd)> {
    let (machine, files) = receive_files(connection)?;
    let end = files.into_iter().next();
    let end = end.ok_or_else(|| io::Error::other("it passed no network card"))?;
    Ok((machine, end))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn what_passes_no_card_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("cards");
        let (faults, mut reported) = mpsc::unbounded_channel();
        let listener = UnixListener::bind(&socket).unwrap();
        tokio::spawn(serve(
            listener,
            Switch::new(1, 0),
            Links::default(),
            7,
            faults,
        ));
        // One that leaves at once is no fault.
        drop(UnixStream::connect(&socket).await.unwrap());
        let mut stranger = UnixStream::connect(&socket).await.unwrap();
        stranger.write_all(b"server").await.unwrap();
        let fault = reported.recv().await.unwrap();
        assert_eq!(
            (fault.attachment.network, &*fault.reason),
            (7, "it passed no network card")
        );
    }

    #[tokio::test]
    async fn cards_of_later_boots_are_as_those_before() {
        let links = Links::default();
        links.set("server", 1, Link::Down);
        assert_eq!(*links.follow("server", 1).borrow(), Link::Down);
        assert_eq!(*links.follow("server", 2).borrow(), Link::Up);
        assert_eq!(*links.follow("client", 1).borrow(), Link::Up);
    }
}
