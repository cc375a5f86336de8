//! Machines that a script makes from a command, beyond the test's nodes.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::at;
use super::{Machine, MachineContext, MachineError, StateRetention};
use crate::backend::{Backend, MachineFolders};
use crate::model::manifest::Node;

impl Machine {
    /// Returns a machine that `command` starts: shell text such as the path of a run script or the command line of QEMU.
    /// Its private folder is made below `folder`, and `backend` makes its backend from the run script there.
    ///
    /// # Errors
    /// Returns an error if the folder cannot be written, or the backend cannot be made.
    pub fn from_command(
        command: &str,
        name: &str,
        folder: &Path,
        context: MachineContext,
        backend: impl FnOnce(PathBuf, &Node, MachineFolders) -> io::Result<Box<dyn Backend>>,
    ) -> Result<Arc<Self>, MachineError> {
        let file_name = name.replace('/', "-");
        let state_folder = folder.join(format!("vm-state-{file_name}"));
        let start_script = state_folder.join(format!("run-{file_name}-vm"));
        write_start(&state_folder, &start_script, command)
            .map_err(|source| at(&state_folder, source))?;
        let node = Node::of_script(start_script.clone());
        let context = MachineContext {
            state_folder,
            state_retention: StateRetention::ThisRun,
            ..context
        };
        let backend = backend(start_script, &node, context.folders())
            .map_err(|source| at(&context.state_folder, source))?;
        Ok(Arc::new(Self::new(name, &node, backend, context)))
    }
}

fn write_start(folder: &Path, script: &Path, command: &str) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(folder)?;
    // Run scripts of NixOS would take the options from the environment a second time.
    let text = format!("#!/bin/sh\noptions=$QEMU_OPTS\nunset QEMU_OPTS\nexec {command} $options\n");
    fs::write(script, text)?;
    fs::set_permissions(script, fs::Permissions::from_mode(0o700))
}
