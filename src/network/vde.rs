//! The control protocol of `vde_switch`, as QEMU's `-netdev vde` (libvdeplug) speaks it.
//!
//! A client connects to the stream socket `ctl` and sends a `request_v3` with
//! the address of its own datagram socket; the answer is the address of the
//! switch's. Frames are datagrams. The client is attached as long as the
//! stream is open.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixDatagram, UnixListener, UnixStream};

use super::switch::{MAX_FRAME_BYTES, Switch};
use super::{Attachment, Faults, report};

const MAGIC: u32 = 0xfeed_face;
const VERSION: u32 = 3;
/// magic, version, type: a `u32` each.
const HEADER_BYTES: usize = 12;
/// The family, and the path that fills the rest with zero bytes.
const ADDRESS_BYTES: usize = 110;
const FAMILY_UNIX: u16 = 1;

pub(super) async fn serve(
    listener: UnixListener,
    folder: PathBuf,
    switch: Switch,
    attachment: Attachment,
    faults: Faults,
) {
    let mut number = 0;
    while let Ok((mut connection, _)) = listener.accept().await {
        number += 1;
        let socket = folder.join(format!("port{number}"));
        let (switch, faults, attachment) = (switch.clone(), faults.clone(), attachment.clone());
        tokio::spawn(async move {
            let attached = attach(&mut connection, socket, switch, attachment.clone()).await;
            // A machine that ends before it has asked for anything is no fault.
            if let Err(error) = attached
                && error.kind() != std::io::ErrorKind::UnexpectedEof
            {
                report(&faults, &attachment, &connection, &error);
            }
        });
    }
}

async fn attach(
    control: &mut UnixStream,
    socket: PathBuf,
    switch: Switch,
    attachment: Attachment,
) -> std::io::Result<()> {
    let mut request = [0; HEADER_BYTES + ADDRESS_BYTES];
    control.read_exact(&mut request).await?;
    let client = client_address(&request)
        .ok_or_else(|| std::io::Error::other("it does not speak the protocol of VDE switches"))?;
    let data = Arc::new(UnixDatagram::bind(&socket)?);
    // At once: the client removes its socket's name after the answer.
    data.connect(&client)?;
    control.write_all(&address(&socket)?).await?;

    let (port, mut outgoing) = switch.plug_in(attachment);
    let sending = {
        let data = data.clone();
        async move {
            while let Some(frame) = outgoing.recv().await {
                // One that the client cannot take is lost, as on a real network.
                let _ = data.send(&frame).await;
            }
        }
    };
    let receiving = async move {
        let mut frame = vec![0; MAX_FRAME_BYTES];
        while let Ok(length) = data.recv(&mut frame).await {
            port.receive(&frame[..length]).await;
        }
    };
    let closed = async move {
        let mut rest = [0; 256];
        // What is left of the request is a description.
        while matches!(control.read(&mut rest).await, Ok(length) if length > 0) {}
    };
    tokio::select! {
        () = sending => {}
        () = receiving => {}
        () = closed => {}
    }
    let _ = std::fs::remove_file(&socket);
    Ok(())
}

fn client_address(request: &[u8; HEADER_BYTES + ADDRESS_BYTES]) -> Option<PathBuf> {
    let number = |from: usize| Some(u32::from_ne_bytes(request[from..from + 4].try_into().ok()?));
    // The low byte of the type is the kind of request; 0 asks for a port.
    if number(0)? != MAGIC || number(4)? != VERSION || number(8)? & 0xff != 0 {
        return None;
    }
    let path = &request[HEADER_BYTES + 2..];
    let length = path
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(path.len());
    let path = std::str::from_utf8(&path[..length]).ok()?;
    (!path.is_empty()).then(|| PathBuf::from(path))
}

fn address(socket: &std::path::Path) -> std::io::Result<[u8; ADDRESS_BYTES]> {
    let path = socket.as_os_str().as_encoded_bytes();
    let mut address = [0; ADDRESS_BYTES];
    address[..2].copy_from_slice(&FAMILY_UNIX.to_ne_bytes());
    address
        .get_mut(2..2 + path.len())
        .ok_or_else(|| std::io::Error::other("the path of the socket is too long"))?
        .copy_from_slice(path);
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn two_clients_exchange_frames() {
        let folder = tempfile::tempdir().unwrap();
        let switch = Switch::new(1, 0);
        let control = folder.path().join("ctl");
        let listener = UnixListener::bind(&control).unwrap();
        let attachment = Attachment {
            network: 7,
            machine: Some("server".into()),
        };
        let (faults, mut reported) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(serve(
            listener,
            folder.path().to_owned(),
            switch,
            attachment.clone(),
            faults,
        ));

        let mut clients = Vec::new();
        for name in ["a", "b"] {
            let own = folder.path().join(name);
            let data = UnixDatagram::bind(&own).unwrap();
            let mut stream = UnixStream::connect(&control).await.unwrap();
            let mut request = Vec::new();
            for number in [MAGIC, VERSION, 0] {
                request.extend(u32::to_ne_bytes(number));
            }
            request.extend(address(&own).unwrap());
            request.extend(b"test client");
            stream.write_all(&request).await.unwrap();
            let mut answer = [0; ADDRESS_BYTES];
            stream.read_exact(&mut answer).await.unwrap();
            let path = std::str::from_utf8(&answer[2..]).unwrap();
            data.connect(path.trim_end_matches('\0')).unwrap();
            clients.push((data, stream));
        }
        let mut frame = vec![0xff; 6];
        frame.extend([2, 0, 0, 0, 0, 1, 8, 0, 42]);
        clients[0].0.send(&frame).await.unwrap();
        let mut received = [0; 64];
        let length = clients[1].0.recv(&mut received).await.unwrap();
        assert_eq!(&received[..length], &frame[..]);

        // Something that is no machine's QEMU is reported, with its process.
        let mut stranger = UnixStream::connect(&control).await.unwrap();
        stranger.write_all(&[0; 200]).await.unwrap();
        let fault = reported.recv().await.unwrap();
        assert_eq!(fault.attachment, attachment);
        assert_eq!(fault.pid, i32::try_from(std::process::id()).ok());
        assert_eq!(
            fault.reason,
            "it does not speak the protocol of VDE switches"
        );
    }

    #[test]
    fn requests_of_other_protocols_are_refused() {
        assert_eq!(client_address(&[0; HEADER_BYTES + ADDRESS_BYTES]), None);
    }
}
