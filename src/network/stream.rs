//! QEMU's `-netdev stream`: frames over a Unix socket, each after its length in four bytes, big-endian.

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::switch::{MAX_FRAME_BYTES, Switch};
use super::{Attachment, Faults, report};

pub(super) async fn serve(
    listener: UnixListener,
    switch: Switch,
    attachment: Attachment,
    faults: Faults,
) {
    while let Ok((connection, _)) = listener.accept().await {
        tokio::spawn(attach(
            connection,
            switch.clone(),
            attachment.clone(),
            faults.clone(),
        ));
    }
}

async fn attach(connection: UnixStream, switch: Switch, attachment: Attachment, faults: Faults) {
    let (port, mut outgoing) = switch.plug_in(attachment);
    let (reader, mut writer) = connection.into_split();
    let writing = async move {
        while let Some(frame) = outgoing.recv().await {
            let Ok(length) = u32::try_from(frame.len()) else {
                continue;
            };
            let mut packet = Vec::with_capacity(4 + frame.len());
            packet.extend(length.to_be_bytes());
            packet.extend(&frame[..]);
            if writer.write_all(&packet).await.is_err() {
                return;
            }
        }
    };
    let reading = async move {
        let mut reader = BufReader::with_capacity(MAX_FRAME_BYTES, reader);
        let mut frame = vec![0; MAX_FRAME_BYTES];
        while let Ok(length) = reader.read_u32().await {
            let Some(frame) = frame.get_mut(..length as usize) else {
                let reason = format!("it sent a frame of {length} bytes, which no network carries");
                let connection: &UnixStream = reader.get_ref().as_ref();
                report(&faults, port.attachment(), connection, &reason);
                return;
            };
            if reader.read_exact(frame).await.is_err() {
                return;
            }
            port.receive(frame).await;
        }
    };
    // Either side's end is the end of the connection.
    tokio::select! {
        () = writing => {}
        () = reading => {}
    }
}
