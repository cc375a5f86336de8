//! Watches over a running script: what ends it early, and what its end means.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::event::{Details, Events, Failure, Level, Verdict};
use crate::network::NetworkFault;
use crate::qemu::Trouble;
use crate::script::{Ended, Engine, Restart};

/// How long a script that was interrupted may take to clean up after itself.
const SCRIPT_GRACE: Duration = Duration::from_secs(10);

/// How long a script has to end by itself when a machine is in trouble: what
/// it asks of the machine fails at once.
const TROUBLE_GRACE: Duration = Duration::from_millis(500);

/// A wish to end, from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Ctrl-C: at a prompt it is the call that is to end, not the session.
    Interrupt,
    Terminate,
}

/// What ends a script early.
#[derive(Debug)]
pub(super) enum Cut {
    Timeout {
        limit: Duration,
        steps: Vec<String>,
    },
    Interrupt,
    Trouble {
        machine: String,
        trouble: Trouble,
    },
    Network(NetworkFault),
    /// What is repeated is not as it was: the run begins again.
    Restart(Restart),
}

/// What is told by those who look after the machines.
pub(super) struct Alarms {
    pub troubles: mpsc::UnboundedReceiver<(String, Trouble)>,
    pub restarts: mpsc::UnboundedReceiver<Restart>,
    pub networks: mpsc::UnboundedReceiver<NetworkFault>,
}

impl From<(String, Trouble)> for Cut {
    fn from((machine, trouble): (String, Trouble)) -> Self {
        Self::Trouble { machine, trouble }
    }
}

/// Waits for the script's end, and brings it about where something demands it.
pub(super) async fn supervise(
    engine: Engine,
    limit: Duration,
    events: &Events,
    interrupts: &mut mpsc::UnboundedReceiver<Wish>,
    mut alarms: Alarms,
) -> (Option<Ended>, Option<Cut>) {
    let Engine {
        interrupter,
        mut prompting,
        mut ended,
    } = engine;
    let timeout = tokio::time::sleep(limit);
    tokio::pin!(timeout);
    let cut = loop {
        let by_hand = *prompting.borrow_and_update();
        tokio::select! {
            biased;
            Some(restart) = alarms.restarts.recv() => break Cut::Restart(restart),
            // The script has the first word: what it says tells more.
            result = &mut ended => {
                let trouble = alarms.troubles.try_recv().ok().map(Cut::from);
                let fault = || alarms.networks.try_recv().ok().map(Cut::Network);
                return (result.ok(), trouble.or_else(fault));
            }
            Ok(()) = prompting.changed() => {}
            Some((machine, trouble)) = alarms.troubles.recv() => {
                if by_hand {
                    events.note(Level::Warning, describe_trouble(&machine, &trouble).1);
                    continue;
                }
                let cut = Cut::Trouble { machine, trouble };
                tokio::select! {
                    biased;
                    Some(restart) = alarms.restarts.recv() => break Cut::Restart(restart),
                    result = &mut ended => return (result.ok(), Some(cut)),
                    () = tokio::time::sleep(TROUBLE_GRACE) => break cut,
                }
            }
            Some(fault) = alarms.networks.recv() => {
                if by_hand {
                    events.note(Level::Warning, describe_fault(&fault, None));
                    continue;
                }
                break Cut::Network(fault);
            }
            () = &mut timeout, if !by_hand => {
                break Cut::Timeout { limit, steps: events.open_steps() };
            }
            wish = interrupts.recv() => {
                if !(by_hand && wish == Some(Wish::Interrupt)) {
                    break Cut::Interrupt;
                }
                interrupter.interrupt("interrupted").await;
            }
        }
    };
    let reason = match &cut {
        Cut::Timeout { .. } => "the test took too long",
        Cut::Interrupt => "the run was interrupted",
        Cut::Trouble { .. } => "a machine is in trouble",
        Cut::Network(_) => "a network is not whole",
        Cut::Restart(_) => "the run begins again",
    };
    if !matches!(cut, Cut::Restart(_)) {
        events.note(
            Level::Warning,
            format!("{reason}: ending the script (once more: at once)"),
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
    (result, Some(cut))
}

/// What the end of a script means. `machine_of` knows the machine of a process.
pub(super) fn judge(
    ended: Option<Ended>,
    cut: Option<Cut>,
    machine_of: impl Fn(i32) -> Option<String>,
) -> (Verdict, Option<Failure>) {
    match (cut, ended) {
        (_, Some(Ended::Left)) => (Verdict::Left, None),
        // Where it begins again, another run has the verdict.
        (Some(Cut::Interrupt | Cut::Restart(_)), _) => (Verdict::Interrupted, None),
        (Some(Cut::Trouble { machine, trouble }), ended) => in_trouble(&machine, &trouble, ended),
        (Some(Cut::Network(fault)), _) => {
            let machine = fault.pid.and_then(machine_of);
            let message = describe_fault(&fault, machine.as_deref());
            let mut failure = failure("NetworkFault", message);
            failure.details.machine = machine;
            (Verdict::Broken, Some(failure))
        }
        (Some(Cut::Timeout { limit, steps }), ended) => {
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
            (Verdict::Broken, Some(failure("EngineError", message)))
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

fn describe_trouble(machine: &str, trouble: &Trouble) -> (&'static str, String) {
    match trouble {
        Trouble::Sick(sickness) => (
            "MachineSick",
            format!("machine {machine} is sick: {sickness}"),
        ),
        Trouble::Died(exit) => ("MachineDied", format!("machine {machine} has died {exit}")),
    }
}

/// A machine in trouble ends the test, whatever the script has made of it.
fn in_trouble(
    machine: &str,
    trouble: &Trouble,
    ended: Option<Ended>,
) -> (Verdict, Option<Failure>) {
    let verdict = match trouble {
        Trouble::Sick(_) => Verdict::Failed,
        Trouble::Died(_) => Verdict::Broken,
    };
    let (kind, message) = describe_trouble(machine, trouble);
    let failure = match ended {
        // What failed because of it tells more.
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
        Some(Ended::Passed | Ended::Left) | None => failure(kind, message),
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
