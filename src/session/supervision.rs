//! Watches over a running script: what ends it early, and what its end means.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::event::{Details, Events, Failure, Level, Verdict};
use crate::network::NetworkFault;
use crate::qemu::MachineFault;
use crate::script::{Ended, Engine, Restart};

/// How long a script that was interrupted may take to clean up after itself.
const SCRIPT_GRACE: Duration = Duration::from_secs(10);

/// How long a script has to end by itself when a machine is in fault: what
/// it asks of the machine fails at once.
const FAULT_GRACE: Duration = Duration::from_millis(500);

/// A request from outside to end the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupt {
    /// Ctrl-C: at a prompt it is the call that is to end, not the session.
    CtrlC,
    Terminate,
}

/// What ends a script early.
#[derive(Debug)]
pub(super) enum EarlyEnd {
    Timeout {
        limit: Duration,
        steps: Vec<String>,
    },
    Interrupt,
    MachineFault {
        machine: String,
        fault: MachineFault,
    },
    Network(NetworkFault),
    /// What is repeated is not as it was: the run begins again.
    Restart(Restart),
}

/// Faults and restarts, from the tasks that watch machines, networks and the replay.
pub(super) struct FaultChannels {
    pub machine_faults: mpsc::UnboundedReceiver<(String, MachineFault)>,
    pub restarts: mpsc::UnboundedReceiver<Restart>,
    pub networks: mpsc::UnboundedReceiver<NetworkFault>,
}

impl From<(String, MachineFault)> for EarlyEnd {
    fn from((machine, fault): (String, MachineFault)) -> Self {
        Self::MachineFault { machine, fault }
    }
}

/// Waits for the script's end, and brings it about where something demands it.
pub(super) async fn supervise(
    engine: Engine,
    limit: Duration,
    events: &Events,
    interrupts: &mut mpsc::UnboundedReceiver<Interrupt>,
    mut channels: FaultChannels,
) -> (Option<Ended>, Option<EarlyEnd>) {
    let Engine {
        interrupter,
        mut prompting,
        mut ended,
    } = engine;
    let timeout = tokio::time::sleep(limit);
    tokio::pin!(timeout);
    let early_end = loop {
        let by_hand = *prompting.borrow_and_update();
        tokio::select! {
            biased;
            Some(restart) = channels.restarts.recv() => break EarlyEnd::Restart(restart),
            // The script's own exception explains more.
            result = &mut ended => {
                let fault = channels.machine_faults.try_recv().ok().map(EarlyEnd::from);
                let network_fault = || channels.networks.try_recv().ok().map(EarlyEnd::Network);
                return (result.ok(), fault.or_else(network_fault));
            }
            Ok(()) = prompting.changed() => {}
            Some((machine, fault)) = channels.machine_faults.recv() => {
                if by_hand {
                    events.note(Level::Warning, describe_machine_fault(&machine, &fault).1);
                    continue;
                }
                let early_end = EarlyEnd::MachineFault { machine, fault };
                tokio::select! {
                    biased;
                    Some(restart) = channels.restarts.recv() => break EarlyEnd::Restart(restart),
                    result = &mut ended => return (result.ok(), Some(early_end)),
                    () = tokio::time::sleep(FAULT_GRACE) => break early_end,
                }
            }
            Some(fault) = channels.networks.recv() => {
                if by_hand {
                    events.note(Level::Warning, describe_fault(&fault, None));
                    continue;
                }
                break EarlyEnd::Network(fault);
            }
            () = &mut timeout, if !by_hand => {
                break EarlyEnd::Timeout { limit, steps: events.open_steps() };
            }
            interrupt = interrupts.recv() => {
                if !(by_hand && interrupt == Some(Interrupt::CtrlC)) {
                    break EarlyEnd::Interrupt;
                }
                interrupter.interrupt("interrupted").await;
            }
        }
    };
    let reason = match &early_end {
        EarlyEnd::Timeout { .. } => "the test took too long",
        EarlyEnd::Interrupt => "the run was interrupted",
        EarlyEnd::MachineFault { .. } => "a machine is in fault",
        EarlyEnd::Network(_) => "a network is not whole",
        EarlyEnd::Restart(_) => "the run begins again",
    };
    if !matches!(early_end, EarlyEnd::Restart(_)) {
        events.note(
            Level::Warning,
            format!("{reason}: ending the script (interrupt again to end at once)"),
        );
    }
    let ending = async {
        interrupter.interrupt(reason).await;
        // It ends the call, and there would be the next prompt.
        if *prompting.borrow() {
            return None;
        }
        (&mut ended).await.ok()
    };
    let result = tokio::select! {
        result = tokio::time::timeout(SCRIPT_GRACE, ending) => result.ok().flatten(),
        _ = interrupts.recv() => None,
    };
    (result, Some(early_end))
}

/// What the end of a script means. `machine_of` knows the machine of a process.
pub(super) fn judge(
    ended: Option<Ended>,
    early_end: Option<EarlyEnd>,
    machine_of: impl Fn(i32) -> Option<String>,
) -> (Verdict, Option<Failure>) {
    match (early_end, ended) {
        (_, Some(Ended::SessionClosed)) => (Verdict::SessionClosed, None),
        // Where it begins again, another run has the verdict.
        (Some(EarlyEnd::Interrupt | EarlyEnd::Restart(_)), _) => (Verdict::Interrupted, None),
        (Some(EarlyEnd::MachineFault { machine, fault }), ended) => {
            machine_faulted(&machine, &fault, ended)
        }
        (Some(EarlyEnd::Network(fault)), _) => {
            let machine = fault.pid.and_then(machine_of);
            let message = describe_fault(&fault, machine.as_deref());
            let mut failure = failure("NetworkFault", message);
            failure.details.machine = machine;
            (Verdict::Error, Some(failure))
        }
        (Some(EarlyEnd::Timeout { limit, steps }), ended) => {
            let doing = if steps.is_empty() {
                "no machine was being waited for".to_owned()
            } else {
                format!("it was at: {}", steps.join("; "))
            };
            let message = format!(
                "the test took longer than {} s; {doing}",
                limit.as_secs_f64()
            );
            let at = match ended {
                Some(Ended::Interrupted(at)) => *at,
                _ => Failure::default(),
            };
            let failure = Failure {
                kind: "GlobalTimeout".to_owned(),
                message,
                ..at
            };
            (Verdict::Failed, Some(failure))
        }
        (None, Some(Ended::Passed)) => (Verdict::Passed, None),
        (None, Some(Ended::Failed(failure))) => (Verdict::Failed, Some(*failure)),
        (None, Some(Ended::Interrupted(_)) | None) => {
            let message = "the script engine stopped without a result".to_owned();
            (Verdict::Error, Some(failure("EngineError", message)))
        }
    }
}

fn describe_fault(fault: &NetworkFault, machine: Option<&str>) -> String {
    let NetworkFault {
        network,
        pid,
        reason,
    } = fault;
    let who = match (machine, pid) {
        (Some(machine), _) => format!("machine {machine}"),
        (None, Some(pid)) => format!("process {pid}"),
        (None, None) => "a process".to_owned(),
    };
    format!("{who} cannot be attached to virtual network {network}: {reason}")
}

fn describe_machine_fault(machine: &str, fault: &MachineFault) -> (&'static str, String) {
    match fault {
        MachineFault::Failed(failure) => (
            "MachineFailure",
            format!("machine {machine} has crashed: {failure}"),
        ),
        MachineFault::Died(exit) => ("MachineDied", format!("machine {machine} has died {exit}")),
    }
}

/// A machine in fault ends the test, whatever the script has made of it.
fn machine_faulted(
    machine: &str,
    fault: &MachineFault,
    ended: Option<Ended>,
) -> (Verdict, Option<Failure>) {
    let verdict = match fault {
        MachineFault::Failed(_) => Verdict::Failed,
        MachineFault::Died(_) => Verdict::Error,
    };
    let (kind, message) = describe_machine_fault(machine, fault);
    let failure = match ended {
        // The exception that it caused explains more.
        Some(Ended::Failed(failure)) => *failure,
        Some(Ended::Interrupted(at)) => Failure {
            kind: kind.to_owned(),
            message,
            details: Details {
                machine: Some(machine.to_owned()),
                ..at.details
            },
            ..*at
        },
        Some(Ended::Passed | Ended::SessionClosed) | None => failure(kind, message),
    };
    (verdict, Some(failure))
}

fn failure(kind: &str, message: String) -> Failure {
    Failure {
        kind: kind.to_owned(),
        message,
        ..Failure::default()
    }
}
