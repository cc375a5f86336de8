//! A connection of one thread of a CPython: its requests, one after the other.

use std::io;
use std::os::unix::net::UnixStream as StdStream;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::runtime::Handle;

use super::messages::{Explained, Interrupted, explain, failure};
use crate::engine::failure::failure_of;
use crate::engine::raised::{ColumnUnit, RaisedException};
use crate::engine::state::EngineState;
use crate::model::event::Failure;

/// A connection, used by a thread that may wait.
pub(super) struct Conversation {
    stream: BufReader<UnixStream>,
    handle: Handle,
}

impl Conversation {
    /// # Errors
    /// Returns an error if the system has no room to watch the connection.
    pub fn new(stream: StdStream, handle: Handle) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let _runtime = handle.enter();
        let stream = BufReader::new(UnixStream::from_std(stream)?);
        Ok(Self { stream, handle })
    }

    /// Waits for a message; `None` if the other end is gone, or says what is none.
    pub fn receive<T: DeserializeOwned>(&mut self) -> Option<T> {
        let mut line = String::new();
        let read = self.stream.read_line(&mut line);
        self.handle.clone().block_on(read).ok()?;
        serde_json::from_str(&line).ok()
    }

    /// Sends a message. A failure is seen by the next one that is waited for.
    pub fn send(&mut self, message: &impl Serialize) {
        let Ok(mut line) = serde_json::to_vec(message) else {
            return;
        };
        line.push(b'\n');
        let _ = self
            .handle
            .clone()
            .block_on(self.stream.get_mut().write_all(&line));
    }

    /// Waits for work; `None` if the other end goes away meanwhile.
    pub fn while_there<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let gone = self.stream.fill_buf();
        self.handle.clone().block_on(async {
            tokio::select! {
                biased;
                result = work => Some(result),
                _ = gone => None,
            }
        })
    }

    /// Makes the failure of an exception, whose interpreter is asked for values, and sends it.
    pub fn describe(&mut self, raised: &RaisedException, state: &EngineState) -> Failure {
        let described = failure_of(raised, ColumnUnit::Byte, state, |place| {
            self.send(&explain(&place));
            self.receive::<Explained>()?.explanation
        });
        self.send(&failure(&described));
        described
    }

    /// Interrupts the script; returns whether it was taken.
    pub fn interrupt(&mut self, reason: &str) -> bool {
        self.send(&super::messages::interrupt(reason));
        let reply: Option<Interrupted> = self.receive();
        reply.is_some_and(|reply| reply.taken)
    }
}
