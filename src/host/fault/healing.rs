//! Faults of machines and their disks, and the ways to end faults.

use std::sync::Arc;

use super::request::FaultRequest;
use crate::backend::Link;
use crate::host::Host;
use crate::host::call_error::CallError;
use crate::machine::{
    DiskLimits, DiskRequests, FailingDisk, GuestRemedy, Machine, SlowMachine, ThrottledDisk,
};
use crate::model::quantity::ByteSize;
use crate::network::FaultId;

/// The slowest and the fastest clock, as factors.
const CLOCK_FACTORS: std::ops::RangeInclusive<f64> = 0.001..=1000.0;

/// The way to end a fault.
#[derive(Debug)]
pub(super) enum Healing {
    /// The switches forget the fault.
    Links,
    Plug {
        machine: Arc<Machine>,
        network: u32,
    },
    Thaw(Arc<Machine>),
    SpeedUp {
        machine: Arc<Machine>,
        slow: SlowMachine,
    },
    InGuest {
        machine: Arc<Machine>,
        remedy: GuestRemedy,
    },
    Unthrottle {
        machine: Arc<Machine>,
        disk: ThrottledDisk,
    },
    Repair {
        machine: Arc<Machine>,
        disk: FailingDisk,
    },
}

impl Healing {
    /// Returns the machine whose processors the fault stops, for ever or again and again.
    pub fn stopped_machine(&self) -> Option<&Machine> {
        match self {
            Self::Thaw(machine) | Self::SpeedUp { machine, .. } => Some(machine),
            _ => None,
        }
    }

    /// Ends the effect of the fault. A machine that has ended since is as good as healed.
    ///
    /// # Errors
    /// Returns an error if the machine cannot be healed.
    pub async fn heal(self) -> Result<(), CallError> {
        let (machine, healed) = match self {
            Self::Links => return Ok(()),
            Self::Plug { machine, network } => {
                let plugged = machine.monitor().set_network(network, Link::Up).await;
                (machine, plugged)
            }
            Self::Thaw(machine) => {
                let thawed = machine.thaw();
                (machine, thawed)
            }
            Self::SpeedUp { machine, slow } => {
                drop(slow);
                let thawed = machine.thaw();
                (machine, thawed)
            }
            Self::InGuest { machine, remedy } if machine.life().is_up() => {
                let healed = machine.apply_remedy(remedy).await;
                (machine, healed)
            }
            Self::InGuest { machine, .. } => (machine, Ok(())),
            Self::Unthrottle { machine, disk } => {
                let healed = machine.unthrottle_disk(&disk).await;
                (machine, healed)
            }
            Self::Repair { machine, disk } => {
                let healed = machine.repair_disk(&disk).await;
                (machine, healed)
            }
        };
        match healed {
            Err(_) if !machine.life().is_up() => Ok(()),
            other => other.map_err(CallError::from),
        }
    }
}

impl Host {
    /// Begins a fault of a machine.
    ///
    /// # Errors
    /// Returns an error if the machine cannot have the fault, or the fault is none.
    pub(super) async fn apply_machine_fault(
        &self,
        id: FaultId,
        request: FaultRequest,
    ) -> Result<Healing, CallError> {
        let nodes = request.nodes();
        let node = nodes.first().copied().unwrap_or_default();
        let machine = self.named(node)?;
        apply(machine, id, request).await
    }
}

async fn apply(
    machine: Arc<Machine>,
    id: FaultId,
    request: FaultRequest,
) -> Result<Healing, CallError> {
    Ok(match request {
        // Links have their faults at the switch.
        FaultRequest::Link { .. } | FaultRequest::Partition { .. } => Healing::Links,
        FaultRequest::Unplugged { network, .. } => {
            machine.monitor().set_network(network, Link::Down).await?;
            Healing::Plug { machine, network }
        }
        FaultRequest::Paused { .. } => {
            machine.freeze()?;
            Healing::Thaw(machine)
        }
        FaultRequest::SlowProcessor { speed, .. } => {
            if speed.value() < 0.01 {
                let message = format!("speed={} is too slow: pause the machine", speed.value());
                return Err(CallError::value(message));
            }
            let slow = machine.slow_down(speed)?;
            Healing::SpeedUp { machine, slow }
        }
        FaultRequest::MemoryPressure { size, .. } => {
            let remedy = machine.press_memory(&size).await?;
            Healing::InGuest { machine, remedy }
        }
        FaultRequest::ClockDrift { factor, .. } => {
            if !CLOCK_FACTORS.contains(&factor) {
                let message = format!("{factor} is no factor of a clock, from 0.001 to 1000");
                return Err(CallError::value(message));
            }
            let remedy = machine.drift_clock(factor).await?;
            Healing::InGuest { machine, remedy }
        }
        FaultRequest::DiskThrottle {
            disk, iops, bps, ..
        } => {
            let limits = DiskLimits {
                requests: iops,
                bytes: bps.as_ref().map_or(0, ByteSize::bytes),
            };
            if limits == DiskLimits::default() {
                let message = "throttle() needs a limit: iops or bps".to_owned();
                return Err(CallError::value(message));
            }
            let disk = machine.throttle_disk(&disk, limits).await?;
            Healing::Unthrottle { machine, disk }
        }
        FaultRequest::DiskFailure {
            disk, read, write, ..
        } => {
            let requests = match (read, write) {
                (true, true) => DiskRequests::All,
                (true, false) => DiskRequests::Reads,
                (false, true) => DiskRequests::Writes,
                (false, false) => {
                    let message = "fail() needs read=True, write=True or both".to_owned();
                    return Err(CallError::value(message));
                }
            };
            let disk = machine.fail_disk(&disk, requests, id).await?;
            Healing::Repair { machine, disk }
        }
        FaultRequest::DiskFull { disk, .. } => {
            let remedy = machine.fill_disk(&disk).await?;
            Healing::InGuest { machine, remedy }
        }
    })
}
