//! QEMU's monitor: display, keyboard, network cards, and what scripts ask of QEMU.

mod display;
mod film;
mod keyboard;

use std::sync::Arc;

use super::MachineError;
use super::life_cycle::{LifeCycle, Running};
use crate::backend::{Ability, Link, NetworkControl};
use crate::qemu::Qmp;

/// The monitor of a machine.
#[derive(Debug)]
pub struct MachineMonitor {
    life: Arc<LifeCycle>,
}

impl MachineMonitor {
    pub(in crate::machine) fn new(life: Arc<LifeCycle>) -> Self {
        Self { life }
    }

    /// Returns the connection to the monitor, and makes it if there is none.
    pub(in crate::machine) async fn qmp<'a>(
        &self,
        running: &'a Running,
    ) -> Result<&'a Qmp, MachineError> {
        self.life.require(Ability::Monitor)?;
        self.life
            .guard(running, async {
                running
                    .monitor
                    .get_or_try_init(|| Qmp::connect(&running.monitor_socket))
                    .await
                    .map_err(MachineError::from)
            })
            .await
    }

    /// Runs a command of QEMU's human monitor.
    ///
    /// # Errors
    /// Returns an error if the machine is off or QEMU refuses.
    pub async fn human(&self, command: &str) -> Result<String, MachineError> {
        let running = self.life.running()?;
        let monitor = self.qmp(&running).await?;
        self.life
            .guard(&running, async { Ok(monitor.human(command).await?) })
            .await
    }

    /// Plugs the machine into all of its virtual networks, or out of them.
    ///
    /// # Errors
    /// Returns an error if the machine is off or has none.
    pub async fn set_networks(&self, link: Link) -> Result<(), MachineError> {
        if self.life.node.vlans.is_empty() {
            return Err(self.life.unable("is on no virtual network"));
        }
        for network in &self.life.node.vlans {
            self.set_network(*network, link).await?;
        }
        Ok(())
    }

    /// Plugs the machine into one virtual network, or out of it.
    ///
    /// # Errors
    /// Returns an error if the machine is off or not on that network.
    pub async fn set_network(&self, network: u32, link: Link) -> Result<(), MachineError> {
        let vlans = &self.life.node.vlans;
        let Some(place) = vlans.iter().position(|vlan| *vlan == network) else {
            return Err(self
                .life
                .unable(format!("is not on the network vlan{network}")));
        };
        let running = self.life.running()?;
        if let NetworkControl::Switch(links) = self.life.backend.network_control() {
            links.set(self.life.name(), network, link);
            return Ok(());
        }
        let monitor = self.qmp(&running).await?;
        let card = format!("vlan{}", place + 1);
        self.life
            .guard(&running, async { Ok(monitor.set_link(&card, link).await?) })
            .await
    }
}
