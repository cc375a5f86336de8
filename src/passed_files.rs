//! Open files that go from one process to another over a socket.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// How many files may come at once.
const MAX_FILES: usize = 8;

/// The longest text that comes with them.
const MAX_TEXT_BYTES: usize = 255;

/// Sends copies of open files, at most eight, with a text that is not empty.
///
/// # Errors
/// Returns an error if the other end is closed.
pub fn send_files(socket: impl AsFd, text: &str, files: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(files));
    let text = IoSlice::new(text.as_bytes());
    sendmsg(socket, &[text], &mut control, SendFlags::empty())?;
    Ok(())
}

/// Receives a text of at most 255 bytes, and the open files that come with it.
///
/// # Errors
/// Returns an error if the socket is closed, or nothing is there yet and it does not wait.
pub fn receive_files(socket: impl AsFd) -> io::Result<(String, Vec<OwnedFd>)> {
    let mut text = [0; MAX_TEXT_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let parts = &mut [IoSliceMut::new(&mut text)];
    let received = recvmsg(socket, parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let files = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(files) => Some(files),
        _ => None,
    });
    let files = files.flatten().collect();
    let text = String::from_utf8_lossy(&text[..received.bytes]).into_owned();
    Ok((text, files))
}
