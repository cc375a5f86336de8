//! The native module `_snowglobe`, which the test API is built on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use rustpython_vm::builtins::{PyBaseExceptionRef, PyCode, PyDictRef, PyModule, PyStr, PyStrRef};
use rustpython_vm::scope::Scope as Globals;
use rustpython_vm::{AsObject, PyObjectRef, PyRef, PyResult, VirtualMachine};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::cancellation::{self, CancelCause, Cancellations, Scope};
use super::exceptions::{API_MODULE, api_exception};
use super::failure::describe;
use super::host::{CallError, Host};
use super::input::Script;
use super::interrupt::Interrupter;
use super::replay::Caller;
use super::sources::Sources;
use super::values::{from_json, to_json};
use crate::event::{Event, Failure, Level};
use crate::language::check::implied_modules;
use crate::language::{API, Vocabulary};
use crate::manifest::python_name;

/// What the native functions share.
pub(super) struct EngineState {
    /// Gone when the script is over: the functions stay as long as the program.
    host: Mutex<Option<Arc<Host>>>,
    pub script: Script,
    pub sources: Sources,
    /// Whether the user is at a prompt.
    pub prompting: watch::Sender<bool>,
    pub handle: Handle,
    pub cancellations: Arc<Cancellations>,
    pub interrupter: Interrupter,
    /// What was printed of a line that is not over.
    partial: Mutex<String>,
    /// Why the script has failed although it came to its end.
    failed: Mutex<Option<Failure>>,
    /// The script's code and names, once it is compiled.
    compiled: Mutex<Option<(PyRef<PyCode>, Globals)>>,
}

impl EngineState {
    pub fn new(
        script: Script,
        host: Arc<Host>,
        handle: Handle,
        cancellations: Arc<Cancellations>,
        interrupter: Interrupter,
    ) -> Self {
        Self {
            host: Mutex::new(Some(host)),
            sources: Sources::new(script.source_map.clone()),
            prompting: watch::Sender::default(),
            script,
            handle,
            cancellations,
            interrupter,
            partial: Mutex::default(),
            failed: Mutex::default(),
            compiled: Mutex::default(),
        }
    }

    pub fn host(&self) -> Option<Arc<Host>> {
        lock(&self.host).clone()
    }

    /// The script is over: nothing of the run is to be reached any more.
    pub fn close(&self) {
        lock(&self.compiled).take();
        lock(&self.host).take();
    }

    pub fn keep_compiled(&self, code: PyRef<PyCode>, globals: Globals) {
        *lock(&self.compiled) = Some((code, globals));
    }

    /// The failure of a script that came to its end; None if it has none.
    pub fn failed(&self) -> Option<Failure> {
        lock(&self.failed).take()
    }

    pub fn emit(&self, event: Event) {
        if let Some(host) = self.host() {
            host.events.emit(event);
        }
    }

    pub fn note(&self, level: Level, text: &str) {
        if let Some(host) = self.host() {
            host.events.note(level, text);
        }
    }

    /// `print` writes in pieces: each line is an event.
    fn print(&self, text: &str) {
        let mut partial = lock(&self.partial);
        partial.push_str(text);
        while let Some(end) = partial.find('\n') {
            let line: String = partial.drain(..=end).collect();
            let text = line.trim_end_matches('\n').to_owned();
            self.emit(Event::Output { text });
        }
    }

    pub fn print_rest(&self) {
        let mut partial = lock(&self.partial);
        if !partial.is_empty() {
            let text = std::mem::take(&mut *partial);
            self.emit(Event::Output { text });
        }
    }
}

/// Creates `_snowglobe` and the test API; returns the API's module.
pub(super) fn install(vm: &VirtualMachine, state: &Arc<EngineState>) -> PyResult<PyRef<PyModule>> {
    let modules = vm.sys_module.get_attr("modules", vm)?;
    let native = native_module(vm, state)?;
    modules.set_item("_snowglobe", native.into(), vm)?;
    let api = vm.new_module(API_MODULE, vm.ctx.new_dict(), None);
    modules.set_item(API_MODULE, api.clone().into(), vm)?;
    for module in API.iter().chain(state.script.further_modules) {
        let code = vm
            .compile(
                module.source,
                rustpython_vm::compiler::Mode::Exec,
                module.name,
            )
            .map_err(|error| error.into_pyexception(vm, Some(module.source)))?;
        vm.run_code_obj(code, Globals::with_builtins(None, api.dict(), vm))?;
    }
    Ok(api)
}

fn native_module(vm: &VirtualMachine, state: &Arc<EngineState>) -> PyResult<PyRef<PyModule>> {
    let native = vm.new_module("_snowglobe", vm.ctx.new_dict(), None);
    macro_rules! function {
        ($name:literal, $function:expr) => {
            native.set_attr($name, vm.new_function($name, $function), vm)?;
        };
    }
    let shared = state.clone();
    function!("call", move |target: PyStrRef,
                            operation: PyStrRef,
                            arguments: PyDictRef,
                            pause: Option<f64>,
                            on_pause: PyObjectRef,
                            vm: &VirtualMachine|
          -> PyResult {
        let mut arguments = to_json(arguments.as_object(), vm)?;
        arguments["operation"] = json!(operation.to_string_lossy());
        let pause = pause.map(|seconds| (Duration::from_secs_f64(seconds), on_pause));
        call(&shared, &target, arguments, pause.as_ref(), vm)
    });
    let shared = state.clone();
    function!("write", move |text: PyStrRef,
                             vm: &VirtualMachine|
          -> usize {
        let lossy = text.to_string_lossy().into_owned();
        vm.allow_threads(|| shared.print(&lossy));
        text.char_len()
    });
    let shared = state.clone();
    function!("describe", move |exception: PyBaseExceptionRef,
                                vm: &VirtualMachine|
          -> PyResult {
        let failure = describe(vm, &exception, &shared.sources);
        let failure = serde_json::to_value(failure).unwrap_or_default();
        from_json(failure, vm)
    });
    let shared = state.clone();
    function!("fail", move |exception: PyBaseExceptionRef,
                            vm: &VirtualMachine| {
        let failure = describe(vm, &exception, &shared.sources);
        lock(&shared.failed).get_or_insert(failure);
    });
    let shared = state.clone();
    function!("run_script", move |vm: &VirtualMachine| -> PyResult {
        let compiled = lock(&shared.compiled).clone();
        match compiled {
            Some((code, globals)) => vm.run_code_obj(code, globals),
            None => Err(vm.new_runtime_error("there is no script yet")),
        }
    });
    let shared = state.clone();
    function!("begin_scope", move |_vm: &VirtualMachine| -> u64 {
        shared.cancellations.new_scope()
    });
    let shared = state.clone();
    function!("begin_deadline", move |seconds: f64,
                                      _vm: &VirtualMachine|
          -> u64 {
        begin_deadline(&shared, seconds)
    });
    let shared = state.clone();
    function!("cancel_scope", move |scope: u64, _vm: &VirtualMachine| {
        shared.cancellations.cancel(scope);
    });
    let shared = state.clone();
    function!("end_scope", move |scope: u64, _vm: &VirtualMachine| {
        shared.cancellations.forget(scope);
    });
    function!("scopes", |vm: &VirtualMachine| -> PyResult {
        from_json(json!(cancellation::entered()), vm)
    });
    function!("enter_scopes", |scopes: PyObjectRef,
                               vm: &VirtualMachine|
     -> PyResult<()> {
        let scopes = to_json(&scopes, vm)?;
        cancellation::enter(serde_json::from_value(scopes).unwrap_or_default());
        Ok(())
    });
    function!("after_fork", |_vm: &VirtualMachine| {
        // Where the kernel refuses, the child ends when it is done.
        let _ = set_pdeathsig(Signal::SIGKILL);
    });
    if let Some(host) = state.host() {
        let session = describe_session(&state.script, &host);
        native.set_attr("session", from_json(session, vm)?, vm)?;
    }
    Ok(native)
}

/// The data that the API creates its objects from.
fn describe_session(script: &Script, host: &Host) -> Value {
    let machines: Vec<Value> = host
        .machines()
        .iter()
        .map(|(node, machine)| {
            json!({
                "node": node,
                "name": machine.name(),
                "python_names": [python_name(node), python_name(machine.name())],
                "state_dir": machine.state_folder(),
            })
        })
        .collect();
    json!({
        "machines": machines,
        "vlans": host.vlans,
        "out_dir": host.output_folder,
        "shared_dir": host.shared_folder,
        "python_packages": script.python_packages,
        "answers": script.answers,
        "timeout_factor": script.timeout_factor,
        "remembers": host.replay.remembers(),
        "modules": implied_modules(script.source_map.script(), Vocabulary::standard()),
    })
}

/// Ends what the calling thread does in the scope that it gives, after a time.
fn begin_deadline(state: &Arc<EngineState>, seconds: f64) -> Scope {
    let scope = state.cancellations.new_scope();
    let limit = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO);
    let main = state.interrupter.is_this_thread();
    let (interrupter, cancellations) = (state.interrupter.clone(), state.cancellations.clone());
    let timer = state.handle.spawn(async move {
        tokio::time::sleep(limit).await;
        if main {
            interrupter.cancel(scope).await;
        } else {
            cancellations.cancel(scope);
        }
    });
    state.cancellations.keep_timer(scope, timer);
    scope
}

/// Work that goes on while Python looks after something else, and no longer
/// than anyone waits for it.
struct Work(JoinHandle<Result<Value, CallError>>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.abort();
    }
}

enum CallStep {
    Done(Result<Value, CallError>),
    CancelCause(CancelCause),
    Pause,
}

fn call(
    state: &EngineState,
    target: &PyStr,
    arguments: Value,
    pause: Option<&(Duration, PyObjectRef)>,
    vm: &VirtualMachine,
) -> PyResult {
    let Some(host) = state.host() else {
        return Err(api_exception(vm, "Interrupted", "the script is over"));
    };
    // Before the check, so that no interrupt falls between the two.
    let mut watch = state.cancellations.watch();
    vm.check_signals()?;
    let target = target.to_string_lossy().into_owned();
    let caller = match pause {
        None if state.interrupter.is_this_thread() => Caller::Script,
        _ => Caller::Beside,
    };
    let mut work = Work(
        state
            .handle
            .spawn(async move { host.call(&target, arguments, caller).await }),
    );
    loop {
        let step = vm.allow_threads(|| {
            state.handle.block_on(async {
                tokio::select! {
                    biased;
                    alarm = watch.cancelled() => CallStep::CancelCause(alarm),
                    done = &mut work.0 => CallStep::Done(done.unwrap_or_else(|error| Err(CallError::broken(&error)))),
                    () = wait(pause) => CallStep::Pause,
                }
            })
        });
        match (step, pause) {
            (CallStep::Done(Ok(value)), _) => return from_json(value, vm),
            (CallStep::Done(Err(error)), _) => return Err(exception_of(vm, &error)),
            (CallStep::CancelCause(alarm), _) => return Err(raise(alarm, vm)?),
            (CallStep::Pause, Some((_, callback))) => {
                callback.call((), vm)?;
            }
            (CallStep::Pause, None) => {}
        }
    }
}

async fn wait(pause: Option<&(Duration, PyObjectRef)>) {
    match pause {
        Some((pause, _)) => tokio::time::sleep(*pause).await,
        None => std::future::pending().await,
    }
}

/// The exception for an alarm, unless the main thread's signal brings it.
fn raise(alarm: CancelCause, vm: &VirtualMachine) -> PyResult<PyBaseExceptionRef> {
    vm.check_signals()?;
    Ok(match alarm {
        CancelCause::Cancelled(scope) => {
            cancellation::leave(scope);
            api_exception(vm, "_Cancelled", &scope.to_string())
        }
        // Other threads than the main one have no signals.
        CancelCause::Interrupt => api_exception(vm, "Interrupted", "interrupted"),
    })
}

fn exception_of(vm: &VirtualMachine, error: &CallError) -> PyBaseExceptionRef {
    let exception = api_exception(vm, error.class, &error.message);
    if let Some(details) = &error.details
        && let Ok(details) = serde_json::to_value(details)
        && let Ok(details) = from_json(details, vm)
    {
        // Without them the message has to do.
        let _ = exception.as_object().set_attr("_details", details, vm);
    }
    exception
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
