//! The sockets by which one virtual machine attaches to a network.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::UnixListener;
use tokio::task::JoinHandle;

use super::switch::Switch;
use super::{Attachment, Faults, stream, vde};
use crate::folders::create_private;

/// A folder with a socket for each protocol, which are served until the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Entrance {
    folder: PathBuf,
    _served: Arc<Served>,
}

#[derive(Debug)]
struct Served(Vec<JoinHandle<()>>);

impl Drop for Served {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

impl Entrance {
    /// Makes the folder and serves its sockets.
    ///
    /// # Errors
    /// Returns an error if a socket cannot be made, for instance because its path is too long.
    pub(super) fn open(
        folder: &Path,
        switch: &Switch,
        attachment: Attachment,
        faults: &Faults,
    ) -> io::Result<Self> {
        create_private(folder)?;
        let stream = UnixListener::bind(folder.join("stream"))?;
        let control = UnixListener::bind(folder.join("ctl"))?;
        let stream = stream::serve(stream, switch.clone(), attachment.clone(), faults.clone());
        let folder = folder.to_owned();
        let vde = vde::serve(
            control,
            folder.clone(),
            switch.clone(),
            attachment,
            faults.clone(),
        );
        Ok(Self {
            folder,
            _served: Arc::new(Served(vec![tokio::spawn(stream), tokio::spawn(vde)])),
        })
    }

    /// Returns the value of `QEMU_VDE_SOCKET_<number>` for run scripts.
    #[must_use]
    pub fn vde_folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the value of `SNOWGLOBE_STREAM_SOCKET_<number>` for run scripts of the built-in guests.
    #[must_use]
    pub fn stream_socket(&self) -> PathBuf {
        self.folder.join("stream")
    }
}
