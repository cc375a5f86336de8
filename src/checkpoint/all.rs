//! Saving and loading all machines of a test at once.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::JoinSet;

use super::Checkpoint;
use crate::machine::{ConsoleHistory, Machine, MachineError, QuietMachine, Saved};

type Machines = BTreeMap<String, Arc<Machine>>;

/// Writes all machines to `folder`, all of them paused meanwhile. Frames that
/// are on the way between them are lost for who starts from there, as on a
/// real network.
///
/// # Errors
/// Returns an error if one cannot be saved; they all go on.
pub async fn save(
    machines: &Machines,
    folder: &Path,
) -> Result<BTreeMap<String, Saved>, MachineError> {
    let mut quiet: BTreeMap<String, Arc<QuietMachine>> = BTreeMap::new();
    let mut failed = None;
    let quiesced = outcomes(machines.clone(), |_, machine| async move {
        machine.quiesce().await
    })
    .await;
    for (node, result) in quiesced {
        match result {
            Ok(machine) => drop(quiet.insert(node, Arc::new(machine))),
            Err(error) => failed = Some(error),
        }
    }
    tracing::debug!("all guests are ready to be saved");
    let saved = match failed {
        Some(error) => Err(error),
        None => save_paused(&quiet, folder).await,
    };
    tracing::debug!("all machines run again");
    let restored = all(
        quiet,
        |_, machine| async move { machine.restore_mounts().await },
    )
    .await;
    tracing::debug!("all guests have their folders again");
    let saved = saved?;
    restored?;
    Ok(saved)
}

async fn save_paused(
    quiet: &BTreeMap<String, Arc<QuietMachine>>,
    folder: &Path,
) -> Result<BTreeMap<String, Saved>, MachineError> {
    let paused = all(
        quiet.clone(),
        |_, machine| async move { machine.pause().await },
    )
    .await;
    tracing::debug!("they are paused");
    let saved = match paused {
        Ok(_) => {
            let folder = folder.to_owned();
            all(quiet.clone(), |node, machine| {
                let folder = of_node(&folder, &node);
                async move { machine.save(&folder).await }
            })
            .await
        }
        Err(error) => Err(error),
    };
    tracing::debug!("they are saved");
    let resumed = all(
        quiet.clone(),
        |_, machine| async move { machine.resume().await },
    )
    .await;
    let saved = saved?;
    resumed?;
    Ok(saved)
}

/// Starts all machines as they were at a checkpoint whose files are in
/// `folder`. Those that have `changed` boot.
///
/// # Errors
/// Returns an error if one of them cannot go on from there.
pub async fn load(
    machines: &Machines,
    checkpoint: &Checkpoint,
    changed: &BTreeSet<String>,
    folder: &Path,
    console: ConsoleHistory,
) -> Result<(), MachineError> {
    let mut saved = BTreeMap::new();
    for (node, machine) in machines {
        let Some(state) = checkpoint.machines.get(node) else {
            continue;
        };
        if !changed.contains(node) {
            saved.insert(node.clone(), (machine.clone(), state.clone()));
        } else if let Some(start) = state.start() {
            machine
                .life()
                .start(start.on_reboot, &start.allowed)
                .await?;
        }
    }
    let folder = folder.to_owned();
    all(saved.clone(), |node, (machine, state)| {
        let folder = of_node(&folder, &node);
        async move { machine.load(&state, &folder, console).await }
    })
    .await?;
    tracing::debug!("the machines are loaded");
    all(saved.clone(), |_, (machine, _)| async move {
        machine.resume().await
    })
    .await?;
    let clock = checkpoint.clock;
    tracing::debug!("all machines run again");
    all(saved, |_, (machine, state)| async move {
        machine.resume_shell(&state, clock).await
    })
    .await?;
    Ok(())
}

/// Ends the processes of all machines, which are about to be loaded.
pub async fn halt(machines: &Machines) {
    outcomes(machines.clone(), |_, machine| async move {
        machine.life().halt().await;
    })
    .await;
}

/// Nodes' names may be any text.
fn of_node(folder: &Path, node: &str) -> PathBuf {
    let name: String = node
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
            byte => format!("%{byte:02x}"),
        })
        .collect();
    folder.join(name)
}

/// Does the same with all of them side by side; the first error is it.
async fn all<T, R, F>(
    items: BTreeMap<String, T>,
    work: impl Fn(String, T) -> F,
) -> Result<BTreeMap<String, R>, MachineError>
where
    F: Future<Output = Result<R, MachineError>> + Send + 'static,
    R: Send + 'static,
{
    outcomes(items, work)
        .await
        .into_iter()
        .map(|(node, result)| Ok((node, result?)))
        .collect()
}

async fn outcomes<T, R, F>(
    items: BTreeMap<String, T>,
    work: impl Fn(String, T) -> F,
) -> BTreeMap<String, R>
where
    F: Future<Output = R> + Send + 'static,
    R: Send + 'static,
{
    let mut tasks = JoinSet::new();
    for (node, item) in items {
        let work = work(node.clone(), item);
        tasks.spawn(async move { (node, work.await) });
    }
    tasks.join_all().await.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_nodes_become_names_of_files() {
        let name = |node| of_node(Path::new("/c"), node);
        assert_eq!(name("server_1"), Path::new("/c/server_1"));
        assert_eq!(name("../a b"), Path::new("/c/%2e%2e%2fa%20b"));
    }
}
