//! The stage of a script: machines, networks and folders, set up before it and taken down after it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::SessionError;
use super::attach::{WayIn, attach_command, serve_attached};
use super::disk_watch::{DiskWatch, RunningDiskWatch};
use super::input::{AttachPolicy, Film, TestInput};
use super::persistent_state::PersistentState;
use super::saved_disks::restore_disks;
use super::scratch::{Scratch, base};
use super::supervision::{EarlyEnd, FaultChannels, Interrupt, supervise};
use crate::backend::{EnvironmentAtStart, FaultReporter};
use crate::backends::Backends;
use crate::container::ContainerSettings;
use crate::engine::{Ended, Engine, RunMode, Script};
use crate::event_bus::Events;
use crate::host::{Folders, Host, HostNetworks, MachineFactory};
use crate::machine::{Machine, MachineContext, StateRetention};
use crate::model::event::{Level, UnitState};
use crate::model::manifest::{Manifest, Node};
use crate::network::{Faults, Links, Network};
use crate::qemu::QemuSettings;
use crate::repl::RemotePrompt;
use crate::replay::{Replay, Restart, ScriptCheckpoints};

/// How long a guest may take to say which of its units have failed.
const UNITS_LIMIT: Duration = Duration::from_secs(5);

/// How long the console of a container may take to say that a limit is reached.
const LIMIT_GRACE: Duration = Duration::from_secs(2);

/// Taken down when it is dropped; [`Stage::stop_machines`] ends the machines before.
pub(super) struct Stage {
    pub host: Arc<Host>,
    events: Events,
    restart: mpsc::UnboundedSender<Restart>,
    disk_watch: DiskWatch,
    channels: FaultChannels,
    /// For users in other processes.
    prompt: RemotePrompt,
    /// Serves the clients of other processes.
    _attached: JoinSet<()>,
    /// The networks, and the namespace of the run's containers.
    _backends: Backends,
    scratch: Scratch,
    _persistent: PersistentState,
}

/// Whether machines can be on the networks of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StageNetworks {
    Open,
    /// No machine is ever started.
    InNameOnly,
}

/// Says why SSH does not reach machines, although their test asks for that.
fn warn_of_missing_backdoor(
    manifest: &Manifest,
    machines: &BTreeMap<String, Arc<Machine>>,
    events: &Events,
) {
    let nodes = manifest.nodes.iter();
    let wanted = nodes.filter(|(_, node)| node.ssh_backdoor.is_some());
    let mut wanted = wanted.filter_map(|(name, _)| machines.get(name));
    if let Some(error) = wanted.find_map(|machine| machine.ssh_backdoor_command().err()) {
        events.note(Level::Warning, error.to_string());
    }
}

impl Stage {
    /// Opens the networks of a test and makes its machines, which are off.
    ///
    /// # Errors
    /// Returns an error if a folder or socket cannot be made.
    pub fn set_up(
        input: &TestInput,
        networks: StageNetworks,
        events: &Events,
    ) -> Result<Self, SessionError> {
        let manifest = &input.manifest;
        let scratch = Scratch::create().map_err(SessionError::Scratch)?;
        let (faults, networks_faults) = mpsc::unbounded_channel();
        let links = Links::default();
        let networks = match networks {
            StageNetworks::Open => open_networks(input, scratch.path(), &links, &faults)?,
            StageNetworks::InNameOnly => Vec::new(),
        };
        let networks: Arc<[Network]> = networks.into();
        let (faults, machine_faults) = mpsc::unbounded_channel();
        let (restart, restarts) = mpsc::unbounded_channel();
        let disk_watch = DiskWatch::new(
            scratch.shared(),
            input.output_folder.clone(),
            FaultReporter(faults.clone()),
        );
        let context = context(input, events, FaultReporter(faults), &scratch);
        let containers = ContainerSettings {
            trees: scratch.path().join("containers"),
            networks: networks
                .iter()
                .map(|network| (network.number(), network.card_socket()))
                .collect(),
            links,
            run: input.run,
            namespace: Arc::default(),
        };
        let backends = Backends {
            qemu: QemuSettings {
                host: input.host.clone(),
                timeout_factor: input.timeout_factor(),
                environment: Arc::new(EnvironmentAtStart::now()),
            },
            containers,
            networks,
        };
        let mut persistent = PersistentState::default();
        let machines = make_machines(manifest, &context, &backends, |name| {
            match input.settings.states {
                StateRetention::ThisRun => scratch.machine(name).map_err(SessionError::Scratch),
                StateRetention::Persistent => persistent.machine(&base(), name),
            }
        })?;
        if let Some(folder) = &input.settings.disks_from {
            restore_disks(folder, &machines)?;
        }
        warn_of_missing_backdoor(manifest, &machines, events);
        let host = Host::new(
            machines,
            HostNetworks {
                numbers: manifest.vlans.clone(),
                open: backends.networks.clone(),
                seed: input.seed,
            },
            events.clone(),
            Folders {
                output: input.output_folder.clone(),
                shared: scratch.shared(),
            },
            factory(context, &scratch, backends.clone()),
            input.settings.subtests.clone(),
        );
        let host = Arc::new(host);
        let prompt = RemotePrompt::for_users_of(attach_command(scratch.path()));
        let (end_call, call_ends) = mpsc::unbounded_channel();
        let way_in = WayIn {
            host: host.clone(),
            driver: input.run,
            test: manifest.name.clone(),
            events: events.clone(),
            prompt: prompt.clone(),
            end_call,
        };
        let attached = serve_attached(scratch.path(), way_in).map_err(SessionError::Scratch)?;
        Ok(Self {
            host,
            events: events.clone(),
            restart,
            disk_watch,
            channels: FaultChannels {
                machine_faults,
                restarts,
                networks: networks_faults,
                call_ends,
            },
            prompt,
            _attached: attached,
            _backends: backends,
            scratch,
            _persistent: persistent,
        })
    }

    /// Returns the checkpoints that the script of the run can rewind to; none are taken so far.
    pub fn script_checkpoints(&self, input: &TestInput) -> Arc<ScriptCheckpoints> {
        let folder = self.scratch.path().join("checkpoints");
        let checkpoints = ScriptCheckpoints::new(folder, input.script.script());
        if matches!(input.settings.mode, RunMode::Prompt(_)) {
            checkpoints.want();
        }
        Arc::new(checkpoints)
    }

    /// Where a replay that cannot go on says so.
    pub fn restarts(&self) -> mpsc::UnboundedSender<Restart> {
        self.restart.clone()
    }

    /// Runs a script to its end, or until something ends it early.
    ///
    /// # Errors
    /// Returns an error if there is no thread for the engine.
    pub async fn run(
        &mut self,
        script: Script,
        input: &TestInput,
        replay: Arc<Replay>,
        interrupts: &mut mpsc::UnboundedReceiver<Interrupt>,
    ) -> Result<(Option<Ended>, Option<EarlyEnd>), SessionError> {
        let settings = &input.settings;
        let remote = || Arc::new(self.prompt.clone());
        let mode = match (&settings.mode, settings.attach) {
            (RunMode::Script, AttachPolicy::AtFailures) => RunMode::PromptOnFailure(remote()),
            (mode, _) => mode.clone(),
        };
        let mut breakpoints = settings.breakpoints.clone();
        if breakpoints.is_none() && settings.attach != AttachPolicy::Nowhere {
            breakpoints = Some(remote());
        }
        let started = Engine::start(script, mode, breakpoints, replay).await;
        self.supervise(started, input, interrupts).await
    }

    /// Runs a script that waits for no user.
    ///
    /// # Errors
    /// As for [`Stage::run`].
    pub async fn run_unattended(
        &mut self,
        script: Script,
        input: &TestInput,
        replay: Arc<Replay>,
        interrupts: &mut mpsc::UnboundedReceiver<Interrupt>,
    ) -> Result<(), SessionError> {
        let started = Engine::start(script, RunMode::Script, None, replay).await;
        self.supervise(started, input, interrupts).await.map(drop)
    }

    async fn supervise(
        &mut self,
        started: std::io::Result<Engine>,
        input: &TestInput,
        interrupts: &mut mpsc::UnboundedReceiver<Interrupt>,
    ) -> Result<(Option<Ended>, Option<EarlyEnd>), SessionError> {
        let engine = started.map_err(SessionError::Engine)?;
        let limit = input.global_timeout();
        let watch = self.disk_watch.start(self.host.machines());
        let (ended, mut early_end) =
            supervise(engine, limit, &self.events, interrupts, &mut self.channels).await;
        if early_end.is_none() {
            let has_failed = matches!(ended, Some(Ended::Failed(_)));
            early_end = self.late_fault(&watch, has_failed).await;
        }
        Ok((ended, early_end))
    }

    /// Looks for a fault of the moment in which a script has ended.
    async fn late_fault(&mut self, watch: &RunningDiskWatch, has_failed: bool) -> Option<EarlyEnd> {
        watch.look();
        let machines = self.host.machines();
        if !has_failed
            || !machines
                .values()
                .any(|machine| machine.life().is_at_limit())
        {
            let fault = self.channels.machine_faults.try_recv().ok();
            return fault.map(EarlyEnd::from);
        }
        let fault = tokio::time::timeout(LIMIT_GRACE, self.channels.machine_faults.recv());
        fault.await.ok().flatten().map(EarlyEnd::from)
    }

    /// Takes pictures of all displays until the result is dropped.
    pub fn film(&self, film: Film) -> JoinSet<()> {
        let mut cameras = JoinSet::new();
        if film == Film::Taken {
            for machine in self.host.machines().into_values() {
                cameras.spawn(async move { machine.monitor().film().await });
            }
        }
        cameras
    }

    /// Returns the failed units of all machines. A guest that does not answer soon is left out.
    pub async fn failed_units(&self) -> Vec<UnitState> {
        let asked = self
            .host
            .machines()
            .into_values()
            .map(|machine| async move {
                let found = machine.shell().failed_units(None);
                let found = tokio::time::timeout(UNITS_LIMIT, found).await;
                found.unwrap_or_default()
            });
        futures_util::future::join_all(asked).await.concat()
    }

    /// Ends all machines.
    pub async fn stop_machines(&self) {
        let begin = Instant::now();
        let info = |text: String| self.events.note(Level::Info, text);
        self.host.end_faults().await;
        self.host.end_captures();
        info("cleaning up".to_owned());
        for machine in self.host.machines().values() {
            if let Some(pid) = machine.life().pid().filter(|_| machine.life().is_up()) {
                info(format!("killing {} (pid {pid})", machine.name()));
            }
            machine.life().release().await;
        }
        info(format!("({:.2} seconds)", begin.elapsed().as_secs_f64()));
    }
}

fn open_networks(
    input: &TestInput,
    folder: &Path,
    links: &Links,
    faults: &Faults,
) -> Result<Vec<Network>, SessionError> {
    let seed = input.seed.number();
    let open = |number: u32| {
        let network = Network::open(folder, number, links.clone(), faults.clone(), seed)
            .map_err(|source| SessionError::Network { number, source })?;
        if let Some(most_bytes) = input.settings.capture.kept_bytes() {
            network.switch().keep_last_frames(most_bytes);
        }
        Ok(network)
    };
    input.manifest.vlans.iter().copied().map(open).collect()
}

fn make_machines(
    manifest: &Manifest,
    shared: &MachineContext,
    backends: &Backends,
    mut state_folder: impl FnMut(&str) -> Result<PathBuf, SessionError>,
) -> Result<BTreeMap<String, Arc<Machine>>, SessionError> {
    manifest
        .nodes
        .iter()
        .map(|(node_name, node)| {
            let name = manifest
                .machine_name(node_name)
                .ok_or_else(|| SessionError::StartScript(node_name.clone()))?;
            let context = MachineContext {
                state_folder: state_folder(name)?,
                ..shared.clone()
            };
            let backend = backends
                .of_node(name, node, context.folders())
                .map_err(|source| SessionError::Sockets {
                    machine: name.to_owned(),
                    source,
                })?
                .ok_or_else(|| SessionError::NotBuilt(node_name.clone()))?;
            let machine = Machine::new(name, node, backend, context);
            Ok((node_name.clone(), Arc::new(machine)))
        })
        .collect()
}

/// Returns the context that all machines of a test share.
fn context(
    input: &TestInput,
    events: &Events,
    faults: FaultReporter,
    scratch: &Scratch,
) -> MachineContext {
    MachineContext {
        events: events.clone(),
        faults,
        script: input.script.script().into(),
        shell_options: input.manifest.shell_options,
        failed_units: input.settings.failed_units,
        state_folder: PathBuf::new(),
        state_retention: input.settings.states,
        shared_folder: scratch.shared(),
        output_folder: input.output_folder.clone(),
    }
}

/// Makes the machines that a script asks for beyond its nodes.
fn factory(context: MachineContext, scratch: &Scratch, backends: Backends) -> MachineFactory {
    let folder = scratch.path().to_owned();
    MachineFactory(Box::new(move |command, name| {
        let backend =
            |script, node: &Node, folders| backends.of_command(name, script, node, folders);
        Machine::from_command(command, name, &folder, context.clone(), backend)
    }))
}
