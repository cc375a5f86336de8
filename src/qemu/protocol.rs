//! QEMU's machine protocol as scripts speak it: any command, every event.
//!
//! The driver's own commands are typed (see `qmp`); what scripts send is not
//! known before.

use std::path::Path;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex, mpsc, watch};

use super::QmpError;
use super::qmp::reach;

/// A connection that remembers every event since it was made.
#[derive(Debug)]
pub struct Protocol {
    conversation: Mutex<Conversation>,
    events: watch::Receiver<Vec<Value>>,
}

#[derive(Debug)]
struct Conversation {
    outgoing: OwnedWriteHalf,
    replies: mpsc::UnboundedReceiver<Value>,
}

impl Protocol {
    /// Connects, waiting until QEMU has made the socket.
    ///
    /// # Errors
    /// Returns an error if what answers is no monitor.
    pub async fn connect(socket: &Path) -> Result<Self, QmpError> {
        let (incoming, outgoing) = reach(socket).await?.into_split();
        let (tell_event, events) = watch::channel(Vec::new());
        let (tell_reply, replies) = mpsc::unbounded_channel();
        tokio::spawn(read(incoming, tell_event, tell_reply));
        let protocol = Self {
            conversation: Mutex::new(Conversation { outgoing, replies }),
            events,
        };
        protocol.send("qmp_capabilities", &json!({})).await?;
        Ok(protocol)
    }

    /// Runs a command; returns QEMU's whole answer.
    ///
    /// # Errors
    /// Returns an error if QEMU refuses or is gone.
    pub async fn send(&self, command: &str, arguments: &Value) -> Result<Value, QmpError> {
        let mut conversation = self.conversation.lock().await;
        // Replies to callers that have stopped waiting.
        while conversation.replies.try_recv().is_ok() {}
        let mut request = json!({ "execute": command });
        if arguments.as_object().is_some_and(|map| !map.is_empty()) {
            request["arguments"] = arguments.clone();
        }
        let line = format!("{request}\n");
        conversation
            .outgoing
            .write_all(line.as_bytes())
            .await
            .map_err(QmpError::Connect)?;
        let answer = conversation.replies.recv().await.ok_or(QmpError::Gone)?;
        match answer["error"]["desc"].as_str() {
            Some(reason) => Err(QmpError::Answer {
                command: command.to_owned(),
                reason: reason.to_owned(),
            }),
            None => Ok(answer),
        }
    }

    /// The event of this number, counted from 0, as soon as it has happened.
    ///
    /// # Errors
    /// Returns an error if QEMU is gone.
    pub async fn event(&self, number: usize) -> Result<Value, QmpError> {
        let mut events = self.events.clone();
        let happened = events.wait_for(|events| events.len() > number).await;
        happened
            .map(|events| events[number].clone())
            .map_err(|_| QmpError::Gone)
    }

    /// Waits until QEMU has stopped the guest because a file of one of its disks cannot
    /// grow; returns QEMU's name for the disk. Elsewhere errors are the guest's to see.
    ///
    /// # Errors
    /// Returns an error if QEMU is gone.
    pub async fn full_disk(&self) -> Result<String, QmpError> {
        let mut number = 0;
        loop {
            if let Some(disk) = disk_without_room(&self.event(number).await?) {
                return Ok(disk);
            }
            number += 1;
        }
    }

    /// How many events there were.
    #[must_use]
    pub fn event_count(&self) -> usize {
        self.events.borrow().len()
    }
}

/// The disk that has stopped its guest, if that is what the event says.
fn disk_without_room(event: &Value) -> Option<String> {
    let data = &event["data"];
    let stops = data["nospace"] == true && data["action"] == "stop";
    if event["event"] != "BLOCK_IO_ERROR" || !stops {
        return None;
    }
    let names = [&data["device"], &data["qom-path"], &data["node-name"]];
    let mut names = names.into_iter().filter_map(Value::as_str);
    let name = names.find(|name| !name.is_empty());
    Some(name.unwrap_or_default().to_owned())
}

async fn read(
    incoming: OwnedReadHalf,
    events: watch::Sender<Vec<Value>>,
    replies: mpsc::UnboundedSender<Value>,
) {
    // A guest's name in a message may be no text: that is no end of the monitor.
    let mut lines = BufReader::new(incoming).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let Ok(message) = serde_json::from_slice::<Value>(&line) else {
            continue;
        };
        if message.get("event").is_some() {
            events.send_modify(|events| events.push(message));
        } else if message.get("QMP").is_none() && replies.send(message).is_err() {
            return;
        }
    }
}
