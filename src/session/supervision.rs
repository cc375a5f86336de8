//! Watches over a running script: what ends it early, and what its end means.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::event_bus::Events;

use crate::backend::MachineFault;
use crate::engine::{Ended, Engine, Prompting};
use crate::model::event::{Details, Failure, Level, Verdict};
use crate::network::NetworkFault;
use crate::replay::Restart;

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

/// An event that ends a script early.
#[derive(Debug)]
pub(super) enum EarlyEnd {
    Timeout {
        limit: Duration,
        whereabouts: String,
    },
    Interrupt {
        whereabouts: String,
    },
    MachineFault {
        machine: String,
        fault: MachineFault,
    },
    Network(NetworkFault),
    /// The calls differ from those of the recording: the run begins again.
    Restart(Restart),
}

/// Faults and restarts, from the tasks that watch machines, networks and the replay.
pub(super) struct FaultChannels {
    pub machine_faults: mpsc::UnboundedReceiver<(String, MachineFault)>,
    pub restarts: mpsc::UnboundedReceiver<Restart>,
    pub networks: mpsc::UnboundedReceiver<NetworkFault>,
    /// Demands of an attached user that the call end.
    pub call_ends: mpsc::UnboundedReceiver<()>,
}

impl EarlyEnd {
    fn reason(&self) -> &'static str {
        match self {
            Self::Timeout { .. } => "the test took too long",
            Self::Interrupt { .. } => "the run was interrupted",
            Self::MachineFault { .. } => "a machine is in fault",
            Self::Network(_) => "a network is not whole",
            Self::Restart(_) => "the run begins again",
        }
    }
}

impl From<(String, MachineFault)> for EarlyEnd {
    fn from((machine, fault): (String, MachineFault)) -> Self {
        Self::MachineFault { machine, fault }
    }
}

/// How waiting for a script ended.
enum ScriptWait {
    /// By itself; a fault of that moment may explain it.
    Ended(Option<Ended>, Option<EarlyEnd>),
    /// Something demands the end.
    Early(EarlyEnd),
}

/// Waits for the script's end, and brings it about where something demands it.
pub(super) async fn supervise(
    mut engine: Engine,
    limit: Duration,
    events: &Events,
    interrupts: &mut mpsc::UnboundedReceiver<Interrupt>,
    channels: &mut FaultChannels,
) -> (Option<Ended>, Option<EarlyEnd>) {
    let waited = wait_for_end(&mut engine, limit, events, interrupts, channels).await;
    let early_end = match waited {
        ScriptWait::Ended(ended, fault) => return (ended, fault),
        ScriptWait::Early(early_end) => early_end,
    };
    let reason = early_end.reason();
    if !matches!(early_end, EarlyEnd::Restart(_)) {
        let again = if matches!(early_end, EarlyEnd::Interrupt { .. }) {
            "interrupt again"
        } else {
            "interrupt"
        };
        events.note(
            Level::Warning,
            format!("{reason}: ending the script ({again} to end at once)"),
        );
    }
    let ending = async {
        engine.interrupter.interrupt(reason).await;
        // It ends the call, and there would be the next prompt.
        if *engine.prompting.borrow() != Prompting::No {
            return None;
        }
        (&mut engine.ended).await.ok()
    };
    let result = tokio::select! {
        result = tokio::time::timeout(SCRIPT_GRACE, ending) => result.ok().flatten(),
        _ = interrupts.recv() => None,
    };
    (result, Some(early_end))
}

async fn wait_for_end(
    engine: &mut Engine,
    limit: Duration,
    events: &Events,
    interrupts: &mut mpsc::UnboundedReceiver<Interrupt>,
    channels: &mut FaultChannels,
) -> ScriptWait {
    let timeout = tokio::time::sleep(limit);
    tokio::pin!(timeout);
    loop {
        let prompting = *engine.prompting.borrow_and_update();
        let by_hand = matches!(prompting, Prompting::AtTerminal | Prompting::Attached);
        tokio::select! {
            biased;
            Some(restart) = channels.restarts.recv() => {
                return ScriptWait::Early(EarlyEnd::Restart(restart));
            }
            // The script's own exception explains more.
            result = &mut engine.ended => {
                let fault = channels.machine_faults.try_recv().ok().map(EarlyEnd::from);
                let network_fault = || channels.networks.try_recv().ok().map(EarlyEnd::Network);
                return ScriptWait::Ended(result.ok(), fault.or_else(network_fault));
            }
            Ok(()) = engine.prompting.changed() => {}
            Some((machine, fault)) = channels.machine_faults.recv() => {
                if by_hand {
                    events.note(Level::Warning, describe_machine_fault(&machine, &fault).1);
                    continue;
                }
                return after_fault(engine, EarlyEnd::MachineFault { machine, fault }, channels).await;
            }
            Some(fault) = channels.networks.recv() => {
                if by_hand {
                    events.note(Level::Warning, describe_fault(&fault));
                    continue;
                }
                return ScriptWait::Early(EarlyEnd::Network(fault));
            }
            () = &mut timeout, if !by_hand => {
                return ScriptWait::Early(EarlyEnd::Timeout { limit, whereabouts: events.whereabouts() });
            }
            interrupt = interrupts.recv() => {
                if !(prompting == Prompting::AtTerminal && interrupt == Some(Interrupt::CtrlC)) {
                    return ScriptWait::Early(EarlyEnd::Interrupt { whereabouts: events.whereabouts() });
                }
                engine.interrupter.interrupt("interrupted").await;
            }
            Some(()) = channels.call_ends.recv() => {
                engine.interrupter.interrupt("interrupted").await;
            }
        }
    }
}

/// Gives a script time to end by itself after the fault of a machine.
async fn after_fault(
    engine: &mut Engine,
    fault: EarlyEnd,
    channels: &mut FaultChannels,
) -> ScriptWait {
    tokio::select! {
        biased;
        Some(restart) = channels.restarts.recv() => ScriptWait::Early(EarlyEnd::Restart(restart)),
        result = &mut engine.ended => ScriptWait::Ended(result.ok(), Some(fault)),
        () = tokio::time::sleep(FAULT_GRACE) => ScriptWait::Early(fault),
    }
}

/// Decides the verdict of a script that has ended, and the failure to report.
pub(super) fn judge(
    ended: Option<Ended>,
    early_end: Option<EarlyEnd>,
) -> (Verdict, Option<Failure>) {
    match (early_end, ended) {
        (_, Some(Ended::SessionClosed)) => (Verdict::SessionClosed, None),
        // Where it begins again, another run has the verdict.
        (Some(EarlyEnd::Restart(_)), _) => (Verdict::Interrupted, None),
        (Some(EarlyEnd::Interrupt { whereabouts }), ended) => {
            let message = format!("the run was interrupted; {whereabouts}");
            let failure = at_end(ended, "Interrupted", message);
            (Verdict::Interrupted, Some(failure))
        }
        (Some(EarlyEnd::MachineFault { machine, fault }), ended) => {
            machine_faulted(&machine, &fault, ended)
        }
        (Some(EarlyEnd::Network(fault)), _) => {
            let mut failure = failure("NetworkFault", describe_fault(&fault));
            failure.details.machine = fault.attachment.machine.map(|name| name.to_string());
            (Verdict::Error, Some(failure))
        }
        (Some(EarlyEnd::Timeout { limit, whereabouts }), ended) => {
            let message = format!(
                "the test took longer than {} s; {whereabouts}",
                limit.as_secs_f64()
            );
            let failure = at_end(ended, "GlobalTimeout", message);
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

/// Returns the failure of a script that was ended, with the statement that it was at.
fn at_end(ended: Option<Ended>, kind: &str, message: String) -> Failure {
    let at = match ended {
        Some(Ended::Interrupted(at)) => *at,
        _ => Failure::default(),
    };
    Failure {
        kind: kind.to_owned(),
        message,
        ..at
    }
}

fn describe_fault(fault: &NetworkFault) -> String {
    let NetworkFault {
        attachment,
        pid,
        reason,
    } = fault;
    let who = match (&attachment.machine, pid) {
        (Some(machine), _) => format!("machine {machine}"),
        (None, Some(pid)) => format!("process {pid}"),
        (None, None) => "a process".to_owned(),
    };
    format!(
        "{who} cannot be attached to virtual network {}: {reason}",
        attachment.network
    )
}

fn describe_machine_fault(machine: &str, fault: &MachineFault) -> (&'static str, String) {
    match fault {
        MachineFault::Failed(failure) => (
            "MachineFailure",
            format!("machine {machine} has crashed: {failure}"),
        ),
        MachineFault::Died(exit) => ("MachineDied", format!("machine {machine} has died {exit}")),
        MachineFault::Host(reason) => (
            "HostFailure",
            format!("the host cannot run machine {machine}: {reason}"),
        ),
        MachineFault::DiskFull(what) => (
            "HostDiskFull",
            format!(
                "the host has no room for what machine {machine} writes: {what}; free some, or choose other places: \
                 -o for the output folder, XDG_RUNTIME_DIR or TMPDIR for disks and copies under way"
            ),
        ),
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
        MachineFault::Died(_) | MachineFault::DiskFull(_) | MachineFault::Host(_) => Verdict::Error,
    };
    let (kind, message) = describe_machine_fault(machine, fault);
    let failure = match (fault, ended) {
        // The exception that it caused explains more, but for a command that the kernel has killed.
        (MachineFault::Failed(_) | MachineFault::Died(_), Some(Ended::Failed(failure)))
            if failure.details.command.is_none() || matches!(fault, MachineFault::Died(_)) =>
        {
            *failure
        }
        (_, Some(Ended::Interrupted(at) | Ended::Failed(at))) => Failure {
            kind: kind.to_owned(),
            message,
            details: Details {
                machine: Some(machine.to_owned()),
                ..at.details
            },
            ..*at
        },
        (_, Some(Ended::Passed | Ended::SessionClosed) | None) => failure(kind, message),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    use super::*;
    use crate::backend::Exit;
    use crate::engine::{PythonPackages, RunMode, Script, ScriptInterpreter};
    use crate::host::{Folders, Host, HostNetworks, MachineFactory, Subtests};
    use crate::machine::MachineError;
    use crate::network::Attachment;
    use crate::replay::{Replay, ScriptCheckpoints};
    use crate::source_map::SourceMap;

    const FOREVER: Duration = Duration::from_hours(1);

    /// A running script, and the ends of what may end it.
    struct Supervised {
        engine: Engine,
        events: Events,
        channels: FaultChannels,
        machine_faults: mpsc::UnboundedSender<(String, MachineFault)>,
        networks: mpsc::UnboundedSender<NetworkFault>,
        restarts: mpsc::UnboundedSender<Restart>,
        interrupt: mpsc::UnboundedSender<Interrupt>,
        interrupts: mpsc::UnboundedReceiver<Interrupt>,
    }

    impl Supervised {
        async fn start(text: &str) -> Self {
            let (sender, _) = channel();
            let events = Events::new(sender);
            let folders = Folders {
                output: "/nowhere".into(),
                shared: "/nowhere".into(),
            };
            let factory = MachineFactory(Box::new(|_, name| {
                Err(MachineError::File {
                    path: name.into(),
                    source: std::io::ErrorKind::Unsupported.into(),
                })
            }));
            let host = Host::new(
                BTreeMap::new(),
                HostNetworks::default(),
                events.clone(),
                folders,
                factory,
                Subtests::default(),
            );
            let script = Script {
                source_map: Arc::new(SourceMap::of_text(text.to_owned())),
                python_packages: PythonPackages::new(),
                interpreter: ScriptInterpreter::Embedded,
                further_modules: &[],
                stop: None,
                timeout_factor: 1.0,
                answers: serde_json::Value::Null,
            };
            let checkpoints = Arc::new(ScriptCheckpoints::new("/none".into(), text));
            let replay = Arc::new(Replay::none(Arc::new(host), checkpoints));
            let (machine_faults, machine_faults_seen) = mpsc::unbounded_channel();
            let (networks, networks_seen) = mpsc::unbounded_channel();
            let (restarts, restarts_seen) = mpsc::unbounded_channel();
            let (interrupt, interrupts) = mpsc::unbounded_channel();
            Self {
                engine: Engine::start(script, RunMode::Script, None, replay)
                    .await
                    .unwrap(),
                events,
                channels: FaultChannels {
                    machine_faults: machine_faults_seen,
                    restarts: restarts_seen,
                    networks: networks_seen,
                    call_ends: mpsc::unbounded_channel().1,
                },
                machine_faults,
                networks,
                restarts,
                interrupt,
                interrupts,
            }
        }

        /// One whose script runs until it is ended.
        async fn start_endless() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("runs");
            let script =
                format!("import time\nopen({file:?}, 'w')\nwhile True:\n    time.sleep(1)\n");
            let supervised = Self::start(&script).await;
            while !file.exists() {
                tokio::task::yield_now().await;
            }
            supervised
        }

        async fn end(mut self, limit: Duration) -> (Option<Ended>, Option<EarlyEnd>) {
            supervise(
                self.engine,
                limit,
                &self.events,
                &mut self.interrupts,
                &mut self.channels,
            )
            .await
        }

        async fn verdict(self, limit: Duration) -> (Verdict, String) {
            let (ended, early_end) = self.end(limit).await;
            let (verdict, failure) = judge(ended, early_end);
            (
                verdict,
                failure.map_or(String::new(), |failure| failure.kind),
            )
        }
    }

    fn died() -> (String, MachineFault) {
        let exit = Exit {
            status: "signal: 9 (SIGKILL)".to_owned(),
            words: String::new(),
            killed: false,
        };
        ("server".to_owned(), MachineFault::Died(exit))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_script_that_ends_has_its_own_verdict() {
        for (script, verdict, kind) in [
            ("pass", Verdict::Passed, ""),
            ("raise ValueError('x')", Verdict::Failed, "ValueError"),
            ("exit(1)", Verdict::Failed, "SystemExit"),
        ] {
            let supervised = Supervised::start(script).await;
            let found = supervised.verdict(FOREVER).await;
            assert_eq!(found, (verdict, kind.to_owned()), "{script}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_script_that_takes_too_long_fails() {
        let supervised = Supervised::start_endless().await;
        let (ended, early_end) = supervised.end(Duration::ZERO).await;
        assert!(matches!(ended, Some(Ended::Interrupted(_))), "{ended:?}");
        assert!(matches!(early_end, Some(EarlyEnd::Timeout { .. })));
        assert_eq!(judge(ended, early_end).0, Verdict::Failed);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_interrupt_says_where_the_script_was() {
        let supervised = Supervised::start_endless().await;
        supervised.interrupt.send(Interrupt::CtrlC).unwrap();
        let found = supervised.verdict(FOREVER).await;
        assert_eq!(found, (Verdict::Interrupted, "Interrupted".to_owned()));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_interrupt_waits_for_the_script_to_begin() {
        // The interpreter is still reading the test API.
        let supervised = Supervised::start("while True:\n    pass\n").await;
        supervised.interrupt.send(Interrupt::CtrlC).unwrap();
        let (ended, _) = supervised.end(FOREVER).await;
        assert!(matches!(ended, Some(Ended::Interrupted(_))), "{ended:?}");
        // One that cannot begin is not waited for.
        let supervised = Supervised::start("while").await;
        supervised.interrupt.send(Interrupt::CtrlC).unwrap();
        let (ended, _) = supervised.end(FOREVER).await;
        assert!(matches!(ended, Some(Ended::Failed(_))), "{ended:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_machine_that_dies_is_no_failure_of_the_test() {
        let supervised = Supervised::start_endless().await;
        supervised.machine_faults.send(died()).unwrap();
        let found = supervised.verdict(FOREVER).await;
        assert_eq!(found, (Verdict::Error, "MachineDied".to_owned()));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_scripts_own_exception_explains_more_than_a_fault() {
        let supervised = Supervised::start("raise ValueError('it is gone')").await;
        // The interpreter may take longer to begin than a script has to end after a fault.
        while supervised.engine.ended.is_empty() {
            tokio::task::yield_now().await;
        }
        supervised.machine_faults.send(died()).unwrap();
        let found = supervised.verdict(FOREVER).await;
        assert_eq!(found, (Verdict::Error, "ValueError".to_owned()));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_network_that_is_not_whole_names_the_machine() {
        let supervised = Supervised::start_endless().await;
        let fault = NetworkFault {
            attachment: Attachment {
                network: 1,
                machine: Some("server".into()),
            },
            pid: Some(7),
            reason: "refused".to_owned(),
        };
        supervised.networks.send(fault).unwrap();
        let (ended, early_end) = supervised.end(FOREVER).await;
        let (verdict, failure) = judge(ended, early_end);
        assert_eq!(verdict, Verdict::Error);
        assert_eq!(
            failure.unwrap().message,
            "machine server cannot be attached to virtual network 1: refused"
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_restart_comes_before_everything() {
        let supervised = Supervised::start("pass").await;
        let restart = Restart::NoCheckpoint("it is new".to_owned());
        supervised.restarts.send(restart.clone()).unwrap();
        supervised.machine_faults.send(died()).unwrap();
        let (_, early_end) = supervised.end(FOREVER).await;
        assert!(matches!(early_end, Some(EarlyEnd::Restart(found)) if found == restart));
    }
}
