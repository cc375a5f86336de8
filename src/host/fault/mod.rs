//! Begins the faults that a script asks for, and ends them: all of them at the end of the run.

mod healing;
mod request;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use super::call_error::CallError;
use super::{Host, lock};
use crate::machine::Machine;
use crate::model::event::{Event, round};
use crate::model::fault_counts::FaultCounts;
use crate::network::{FaultId, FrameMatch, LinkEffects, LinkEnds, LinkFault};
use healing::Healing;
pub use request::{FaultCall, FaultRequest};

/// The faults of a run.
#[derive(Debug, Default)]
pub(super) struct RunFaults {
    begun: FaultId,
    active: BTreeMap<FaultId, ActiveFault>,
}

#[derive(Debug)]
struct ActiveFault {
    healing: Healing,
    since: Instant,
}

impl Host {
    /// Makes a call about a fault.
    pub(super) async fn make_fault_call(&self, call: FaultCall) -> Result<Value, CallError> {
        Ok(match call {
            FaultCall::Begin(request) => json!(self.begin_fault(*request).await?),
            FaultCall::End(id) => json!(self.end_fault(id).await?),
            FaultCall::Counts(id) => json!(self.fault_counts(id)),
        })
    }

    /// Begins a fault and returns its number. The fault has its effect when this returns.
    ///
    /// # Errors
    /// Returns an error if a machine is unknown, machines share no network, or the fault is none.
    async fn begin_fault(&self, request: FaultRequest) -> Result<FaultId, CallError> {
        let nodes = request.nodes().into_iter();
        let machines: Vec<Arc<Machine>> = nodes
            .map(|node| self.named(node))
            .collect::<Result<_, _>>()?;
        let id = {
            let mut faults = lock(&self.faults);
            faults.begun += 1;
            faults.begun
        };
        let text = request.describe();
        let healing = self.apply_fault(id, request).await?;
        let since = Instant::now();
        let active = ActiveFault { healing, since };
        lock(&self.faults).active.insert(id, active);
        self.captures.comment(format!("fault {id} begins: {text}"));
        self.events.emit(Event::FaultStarted {
            id,
            text,
            machines: machines
                .iter()
                .map(|machine| machine.name().to_owned())
                .collect(),
        });
        Ok(id)
    }

    async fn apply_fault(&self, id: FaultId, request: FaultRequest) -> Result<Healing, CallError> {
        match request {
            FaultRequest::Link {
                label,
                links,
                network,
                effects,
                matching,
            } => {
                effects.check().map_err(CallError::value)?;
                let is_somewhere =
                    self.begin_link_fault(id, &links, network, &effects, &matching)?;
                is_somewhere
                    .then_some(Healing::Links)
                    .ok_or_else(|| no_network(&label, network))
            }
            FaultRequest::Partition { label, links } => {
                let effects = LinkEffects::lose_all();
                let is_somewhere =
                    self.begin_link_fault(id, &links, None, &effects, &FrameMatch::default())?;
                is_somewhere
                    .then_some(Healing::Links)
                    .ok_or_else(|| no_network(&label, None))
            }
            other => self.apply_machine_fault(id, other).await,
        }
    }

    /// Begins a fault on all networks that have one of its links; returns whether there is one.
    fn begin_link_fault(
        &self,
        id: FaultId,
        links: &[(String, String)],
        only: Option<u32>,
        effects: &LinkEffects,
        matching: &FrameMatch,
    ) -> Result<bool, CallError> {
        let mut by_network: BTreeMap<u32, Vec<LinkEnds>> = BTreeMap::new();
        for (from, to) in links {
            let (from, to) = (self.named(from)?, self.named(to)?);
            let numbers = from.networks().iter().copied();
            let numbers = numbers.filter(|number| only.is_none_or(|only| only == *number));
            for number in numbers.filter(|number| to.networks().contains(number)) {
                let ends = (from.name().into(), to.name().into());
                by_network.entry(number).or_default().push(ends);
            }
        }
        let is_somewhere = !by_network.is_empty();
        for (number, links) in by_network {
            if let Some(network) = self.network(number) {
                let fault = LinkFault {
                    links,
                    effects: effects.clone(),
                    matching: matching.clone(),
                };
                network.switch().begin_fault(id, fault);
            }
        }
        Ok(is_somewhere)
    }

    /// Returns the counts of a fault so far. A fault that has ended has none.
    fn fault_counts(&self, id: FaultId) -> FaultCounts {
        let mut counts = FaultCounts::default();
        for network in &*self.networks {
            counts.add(&network.switch().fault_counts(id).unwrap_or_default());
        }
        counts
    }

    /// Ends a fault and returns its counts. A fault that has ended already is not an error.
    ///
    /// # Errors
    /// Returns an error if the machine cannot be healed.
    async fn end_fault(&self, id: FaultId) -> Result<FaultCounts, CallError> {
        let mut counts = FaultCounts::default();
        let Some(fault) = lock(&self.faults).active.remove(&id) else {
            return Ok(counts);
        };
        for network in &*self.networks {
            counts.add(&network.switch().end_fault(id).unwrap_or_default());
        }
        let healed = fault.healing.heal().await;
        self.captures.comment(format!("fault {id} is healed"));
        self.events.emit(Event::FaultFinished {
            id,
            duration_s: round(fault.since.elapsed().as_secs_f64()),
            counts,
        });
        healed.map(|()| counts)
    }

    /// Checks that no fault stops the processors of a machine: the machine could neither be saved nor restored.
    ///
    /// # Errors
    /// Returns an error that names a machine whose processors a fault stops.
    pub fn check_none_paused(&self, call: &str) -> Result<(), CallError> {
        let faults = lock(&self.faults);
        let mut stopped = faults.active.values();
        let stopped = stopped.find_map(|fault| fault.healing.stopped_machine());
        stopped.map_or(Ok(()), |machine| {
            Err(CallError::machine(format!(
                "{call} is not possible while a fault stops the processors of {}: end the fault first",
                machine.name()
            )))
        })
    }

    /// Ends the faults that the script has left.
    pub async fn end_faults(&self) {
        let left: Vec<FaultId> = lock(&self.faults).active.keys().copied().collect();
        for id in left {
            // The machines end, too.
            let _ = self.end_fault(id).await;
        }
    }
}

fn no_network(label: &str, network: Option<u32>) -> CallError {
    let which = match network {
        Some(number) => format!("is not on the network vlan{number}"),
        None => "has no network that both machines are on".to_owned(),
    };
    CallError::value(format!("the link {label} {which}"))
}
