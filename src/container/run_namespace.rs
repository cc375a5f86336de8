//! The driver's side of the keeper: started for the first container of a run, and ended with the run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::KEEPER;
use super::error::{AtStep, ContainerError};
use super::identity::Identity;
use super::keeper::{Reply, Request};
use crate::child::{THIS_PROGRAM, describe_end, die_with_parent};

/// The namespace of a run. Ends when it is dropped.
#[derive(Debug)]
pub struct RunNamespace {
    keeper: Child,
    socket: BufReader<UnixStream>,
    folder: PathBuf,
    /// The names of the copies of trees.
    trees: BTreeMap<Option<PathBuf>, String>,
    /// The machines that have a folder for the run.
    folders: BTreeSet<String>,
}

impl RunNamespace {
    /// Starts the keeper, with a folder for its trees.
    ///
    /// Must be called on a thread of the runtime: the kernel ends the keeper when the thread that started it ends.
    ///
    /// # Errors
    /// Returns an error if the host has no user namespaces, or no IDs for them.
    pub async fn start(folder: &Path) -> Result<Self, ContainerError> {
        let identity = Identity::find()?;
        fs::create_dir_all(folder).at_step(format!("making {}", folder.display()))?;
        let (ours, theirs) = StdStream::pair().at_step("making a socket")?;
        ours.set_nonblocking(true).at_step("making a socket")?;
        let mut command = Command::new(THIS_PROGRAM);
        command
            .arg(KEEPER)
            .arg(folder)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null());
        die_with_parent(&mut command, Signal::SIGKILL);
        let keeper = command.spawn().at_step("starting this program again")?;
        let mut namespace = Self {
            keeper,
            socket: BufReader::new(UnixStream::from_std(ours).at_step("making a socket")?),
            folder: folder.to_owned(),
            trees: BTreeMap::new(),
            folders: BTreeSet::new(),
        };
        namespace.expect(&Reply::Unmapped).await?;
        identity.map(namespace.keeper.id())?;
        namespace.ask(&Request::Mapped).await?;
        Ok(namespace)
    }

    /// Checks that the namespace is still there.
    ///
    /// # Errors
    /// Returns how its process has ended.
    pub fn check(&mut self) -> Result<(), ContainerError> {
        match self.keeper.try_wait().at_step("looking for the keeper")? {
            Some(status) => Err(ContainerError::KeeperEnded(describe_end(status))),
            None => Ok(()),
        }
    }

    /// The process that keeps it.
    #[must_use]
    pub fn keeper(&self) -> u32 {
        self.keeper.id()
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The name of the copy of a tree, which is made the first time. None is a root of empty folders.
    ///
    /// # Errors
    /// Returns an error if it cannot be read, or there is no memory for it.
    pub async fn tree(&mut self, tree: Option<&Path>) -> Result<String, ContainerError> {
        let tree = tree.map(Path::to_owned);
        if let Some(name) = self.trees.get(&tree) {
            return Ok(name.clone());
        }
        let name = format!("tree{}", self.trees.len());
        self.ask(&Request::Copy {
            tree: tree.clone(),
            name: name.clone(),
        })
        .await?;
        self.trees.insert(tree, name.clone());
        Ok(name)
    }

    /// Makes the folder of a machine whose files live as long as the run, the first time.
    ///
    /// # Errors
    /// Returns the keeper's reason.
    pub async fn machine_folder(
        &mut self,
        machine: &str,
        size_mib: u64,
    ) -> Result<(), ContainerError> {
        if self.folders.insert(machine.to_owned()) {
            let machine = machine.to_owned();
            self.ask(&Request::Folder { machine, size_mib }).await?;
        }
        Ok(())
    }

    async fn ask(&mut self, request: &Request) -> Result<(), ContainerError> {
        let line = serde_json::to_string(request).at_step("asking the keeper")? + "\n";
        let sent = self.socket.get_mut().write_all(line.as_bytes()).await;
        sent.at_step("asking the keeper")?;
        self.expect(&Reply::Done).await
    }

    async fn expect(&mut self, expected: &Reply) -> Result<(), ContainerError> {
        let mut line = String::new();
        let read = self.socket.read_line(&mut line).await;
        read.at_step("waiting for the keeper")?;
        if line.is_empty() {
            let status = self.keeper.wait().at_step("waiting for the keeper")?;
            return Err(ContainerError::KeeperEnded(describe_end(status)));
        }
        match serde_json::from_str(&line).at_step("waiting for the keeper")? {
            reply if reply == *expected => Ok(()),
            Reply::Failed(message) => Err(ContainerError::Keeper(message)),
            reply => Err(ContainerError::Keeper(format!("{reply:?}"))),
        }
    }
}

impl Drop for RunNamespace {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}
