//! A machine of a test as a container.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};

use tokio::sync::Mutex;

use super::error::AtStep;
use super::plan::{Card, OnRestart, Plan};
use super::{Cgroup, ContainerError, Identity, MACHINE, RunNamespace};
use crate::backend::{
    Ability, Backend, BackendError, Boot, Inability, Launch, MachineFolders, NetworkControl,
    OnReboot, Prepared,
};
use crate::confined::{OpenFolder, Owner};
use crate::model::manifest::ContainerNode;
use crate::network::Links;

/// The file of the plan in the machine's folder.
const PLAN_FILE: &str = "container.json";

/// What all containers of a run share. Clones are the same.
#[derive(Debug, Clone)]
pub struct ContainerSettings {
    /// For the keeper's trees.
    pub trees: PathBuf,
    /// The sockets of the networks that take taps.
    pub networks: BTreeMap<u32, PathBuf>,
    pub links: Links,
    /// Started with the first container.
    pub namespace: Arc<Mutex<Option<RunNamespace>>>,
}

/// A container.
#[derive(Debug)]
pub struct ContainerBackend {
    name: String,
    node: ContainerNode,
    folders: MachineFolders,
    settings: ContainerSettings,
    /// That of the present boot.
    cgroup: StdMutex<Option<Cgroup>>,
}

impl Backend for ContainerBackend {
    fn prepare(&self, boot: Boot) -> Prepared<'_> {
        Box::pin(async move { self.plan(boot).await.map_err(BackendError::new) })
    }

    fn require(&self, ability: Ability) -> Result<(), Inability> {
        let reason = match ability {
            Ability::Monitor => "is a container, which has no QEMU monitor",
            Ability::Display => "is a container, which has no display",
            Ability::Keyboard => "is a container, which has no keyboard",
            Ability::Checkpoint => "is a container, which cannot be saved",
        };
        Err(Inability {
            reason,
            remedy: "run it as a virtual machine (`--backend vm`)",
        })
    }

    fn network_control(&self) -> NetworkControl {
        NetworkControl::Switch(self.settings.links.clone())
    }

    fn guest_root(&self) -> Result<Option<Owner>, BackendError> {
        let identity = Identity::find().map_err(BackendError::new)?;
        Ok(Some(identity.root()))
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
        folders: MachineFolders,
        settings: ContainerSettings,
    ) -> Self {
        Self {
            name: name.to_owned(),
            node,
            folders,
            settings,
            cgroup: StdMutex::default(),
        }
    }

    fn cgroup(&self) -> std::sync::MutexGuard<'_, Option<Cgroup>> {
        self.cgroup.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the plan of a boot, with what it needs of the run.
    async fn plan(&self, boot: Boot) -> Result<Launch, ContainerError> {
        let mut namespace = self.settings.namespace.lock().await;
        if namespace.is_none() {
            Cgroup::sweep();
            *namespace = Some(RunNamespace::start(&self.settings.trees).await?);
        }
        let namespace = namespace.as_mut().expect("it was just started");
        let tree = namespace.tree(&self.node.tree).await?;
        let root = namespace.identity().root();
        // What is of the last boot goes first.
        drop(self.cgroup().take());
        let cgroup = Cgroup::create(&self.name, root).at_step("making a control group")?;
        let plan = Plan {
            name: self.name.clone(),
            host_name: self.node.host_name.clone(),
            keeper: namespace.keeper(),
            trees: namespace.folder().to_owned(),
            tree,
            init: self.node.init.clone(),
            activation: self.node.activation.clone(),
            root_life: self.node.root_life,
            size_mib: self.node.size_mib,
            cards: self.cards(),
            folder: self.folders.state.clone(),
            shared: self.folders.shared.clone(),
            exchange: self.folders.exchange(),
            cgroup: Some(cgroup.path().to_owned()),
            on_restart: match boot.on_reboot {
                OnReboot::End => OnRestart::End,
                OnReboot::Continue => OnRestart::BootAgain,
            },
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
            program: std::env::current_exe().at_step("finding this program")?,
            arguments: vec![MACHINE.into(), file.into()],
            folder: self.folders.state.clone(),
            environment: Vec::new(),
        })
    }

    fn cards(&self) -> Vec<Card> {
        let cards = self.node.cards.iter();
        cards
            .map(|card| Card {
                name: card.name.clone(),
                mac: card.mac.clone(),
                network: card
                    .vlan
                    .and_then(|number| self.settings.networks.get(&number).cloned()),
            })
            .collect()
    }
}
