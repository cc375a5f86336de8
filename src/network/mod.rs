//! Virtual networks: a switch for each, that machines attach to by sockets.

mod stream;
mod switch;
mod vde;

use std::io;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;
use tokio::task::JoinHandle;

pub use switch::Switch;

/// One network. Ends when it is dropped.
#[derive(Debug)]
pub struct Network {
    number: u32,
    folder: PathBuf,
    tasks: Vec<JoinHandle<()>>,
}

impl Network {
    /// Opens network `number`, with its sockets below `folder`.
    ///
    /// # Errors
    /// When a socket cannot be made, for instance where its path is too long.
    pub fn open(folder: &Path, number: u32) -> io::Result<Self> {
        let folder = folder.join(format!("vde{number}.ctl"));
        std::fs::create_dir(&folder)?;
        let switch = Switch::default();
        let stream = UnixListener::bind(folder.join("stream"))?;
        let control = UnixListener::bind(folder.join("ctl"))?;
        let tasks = vec![
            tokio::spawn(stream::serve(stream, switch.clone())),
            tokio::spawn(vde::serve(control, folder.clone(), switch)),
        ];
        Ok(Self {
            number,
            folder,
            tasks,
        })
    }

    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// What run scripts take as `QEMU_VDE_SOCKET_<number>`.
    #[must_use]
    pub fn vde_folder(&self) -> &Path {
        &self.folder
    }

    /// What our own run scripts take as `SNOWGLOBE_STREAM_SOCKET_<number>`.
    #[must_use]
    pub fn stream_socket(&self) -> PathBuf {
        self.folder.join("stream")
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}
