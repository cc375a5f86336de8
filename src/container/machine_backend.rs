//! A machine of a test as a container.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};

use tokio::sync::Mutex;

use super::error::AtStep;
use super::identity::guest_root;
use super::limits::{Limits, is_limit_reached};
use super::plan::Plan;
use super::{Cgroup, ContainerError, MACHINE, RunNamespace};
use crate::backend::{
    Ability, Backend, BackendError, Boot, Freezer, Inability, Launch, MachineFolders,
    NetworkControl, Prepared, SHELL_INSTEAD,
};
use crate::child::THIS_PROGRAM;
use crate::confined::{OpenFolder, Owner};
use crate::model::manifest::{BackendKind, ContainerNode, RootLife};
use crate::network::Links;

/// The file of the plan in the machine's folder.
pub(super) const PLAN_FILE: &str = "container.json";

/// Settings that all containers of a run share. Clones share one namespace.
#[derive(Debug, Clone)]
pub struct ContainerSettings {
    /// For the keeper's trees.
    pub trees: PathBuf,
    /// The sockets of the networks that take cards.
    pub networks: BTreeMap<u32, PathBuf>,
    pub links: Links,
    /// The process of the run, after which control groups are named.
    pub run: u32,
    /// Started with the first container.
    pub namespace: Arc<Mutex<Option<RunNamespace>>>,
}

/// A container.
#[derive(Debug)]
pub struct ContainerBackend {
    name: String,
    node: ContainerNode,
    /// Memory of the guest, in MiB.
    memory_mib: u64,
    folders: MachineFolders,
    settings: ContainerSettings,
    /// The control group of the present boot.
    cgroup: StdMutex<Option<Cgroup>>,
}

impl Backend for ContainerBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::Container
    }

    fn prepare(&self, boot: Boot) -> Prepared<'_> {
        Box::pin(async move { self.plan(boot).await.map_err(BackendError::new) })
    }

    fn require(&self, ability: Ability) -> Result<(), Inability> {
        const AS_VM: &str = "run it as a virtual machine (`--backend vm`)";
        let (reason, remedy) = match ability {
            Ability::Monitor => ("is a container, which has no QEMU monitor", AS_VM),
            Ability::Keyboard => ("is a container, which has no keyboard", AS_VM),
            Ability::Display => ("is a container, which has no display", AS_VM),
            Ability::SshBackdoor => ("is a container, which has no SSH backdoor", SHELL_INSTEAD),
        };
        Err(Inability { reason, remedy })
    }

    fn network_control(&self) -> NetworkControl {
        NetworkControl::Switch(self.settings.links.clone())
    }

    fn freezer(&self) -> Freezer {
        let cgroup = self.cgroup();
        let group = cgroup.as_ref().map(|cgroup| &cgroup.paths().machine);
        group.map_or(Freezer::Signals, |group| {
            Freezer::ControlGroup(group.join("cgroup.freeze"))
        })
    }

    fn guest_root(&self) -> Option<Owner> {
        Some(guest_root())
    }

    fn is_at_limit(&self) -> bool {
        let cgroup = self.cgroup();
        let groups = cgroup.as_ref().map(Cgroup::paths);
        groups.is_some_and(is_limit_reached)
    }

    fn clean_up(&self) {
        drop(self.cgroup().take());
    }
}

impl ContainerBackend {
    #[must_use]
    pub fn new(
        name: &str,
        node: ContainerNode,
        memory_mib: u64,
        folders: MachineFolders,
        settings: ContainerSettings,
    ) -> Self {
        Self {
            name: name.to_owned(),
            node,
            memory_mib,
            folders,
            settings,
            cgroup: StdMutex::default(),
        }
    }

    fn cgroup(&self) -> std::sync::MutexGuard<'_, Option<Cgroup>> {
        self.cgroup.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the name of the copy of the node's tree, the process that keeps the copy, and the folder of all copies.
    /// The keeper serves one machine at a time: all that does not need it is done without its lock.
    async fn tree(&self) -> Result<(String, u32, PathBuf), ContainerError> {
        let mut namespace = self.settings.namespace.lock().await;
        let namespace = match &mut *namespace {
            Some(namespace) => namespace,
            none => {
                Cgroup::sweep();
                none.insert(RunNamespace::start(&self.settings.trees).await?)
            }
        };
        namespace.check()?;
        let tree = namespace.tree(self.node.tree.as_deref()).await?;
        if self.node.root_life == RootLife::Run {
            let size_mib = self.node.size_mib;
            namespace.machine_folder(&self.name, size_mib).await?;
        }
        Ok((tree, namespace.keeper(), namespace.folder().to_owned()))
    }

    /// Writes the plan of a boot, with what it needs of the run.
    async fn plan(&self, boot: Boot) -> Result<Launch, ContainerError> {
        let (tree, keeper, place) = self.tree().await?;
        let root = guest_root();
        // What is of the last boot goes first.
        drop(self.cgroup().take());
        let limits = Limits::of(self.node.granted_mib(self.memory_mib));
        let cgroup = Cgroup::create(self.settings.run, &self.name, root, limits);
        let cgroup = cgroup.at_step("making a control group")?;
        let plan = Plan {
            name: self.name.clone(),
            node: self.node.clone(),
            networks: self.networks(),
            keeper,
            trees: place,
            tree,
            folder: self.folders.state.clone(),
            shared: self.folders.shared.clone(),
            exchange: self.folders.exchange(),
            memory_mib: self.memory_mib,
            groups: cgroup.paths().clone(),
            on_reboot: boot.on_reboot,
        };
        *self.cgroup() = Some(cgroup);
        for folder in [&plan.shared, &plan.exchange] {
            OpenFolder::open(folder)
                .and_then(|open| open.give_to(root))
                .at_step(format!("giving {} to the guest", folder.display()))?;
        }
        let file = self.folders.state.join(PLAN_FILE);
        let text = serde_json::to_vec(&plan).at_step("writing the plan")?;
        std::fs::write(&file, text).map_err(|source| ContainerError::File {
            path: file.clone(),
            source,
        })?;
        Ok(Launch {
            program: THIS_PROGRAM.into(),
            arguments: vec![MACHINE.into(), file.into()],
            folder: self.folders.state.clone(),
            environment: Vec::new(),
        })
    }

    /// For each card, the socket of its network.
    fn networks(&self) -> Vec<Option<PathBuf>> {
        let cards = self.node.cards.iter();
        cards
            .map(|card| self.settings.networks.get(&card.vlan?).cloned())
            .collect()
    }
}
