//! Runs a script: an interpreter on a thread of its own, the prelude, and the calls that lead out of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustpython::InterpreterBuilderExt;
use rustpython_vm::builtins::{PyBaseExceptionRef, PyDictRef, PyStr, PyStrRef, PyTypeRef};
use rustpython_vm::compiler::Mode;
use rustpython_vm::scope::Scope;
use rustpython_vm::signal::user_signal_channel;
use rustpython_vm::{
    AsObject, Interpreter, InterpreterBuilder, PyResult, Settings, VirtualMachine,
};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use super::failure::describe;
use super::host::Host;
use super::interrupt::Interrupter;
use super::values::{from_json, to_json};
use crate::event::{Event, Failure};

/// What tracebacks call the script.
pub(super) const SCRIPT_NAME: &str = "testScript";
const PRELUDE_NAME: &str = "snowglobe_prelude";
const PRELUDE: &str = include_str!("prelude.py");

/// Python's recursion is the stack's here: room for deep ones.
const STACK_BYTES: usize = 256 << 20;

/// A script and what it runs over.
#[derive(Debug, Clone)]
pub struct Script {
    pub source: String,
    pub host: Arc<Host>,
}

/// How a script ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    Passed,
    Failed(Failure),
    /// By an interrupt from outside.
    Interrupted,
}

/// A running script.
#[derive(Debug)]
pub struct Engine {
    pub interrupter: Interrupter,
    pub ended: oneshot::Receiver<Ended>,
}

impl Engine {
    /// Starts a script. Its calls run on the runtime that this is called from.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub async fn start(script: Script) -> std::io::Result<Self> {
        let handle = Handle::current();
        let (tell_ready, ready) = oneshot::channel();
        let (tell_ended, ended) = oneshot::channel();
        thread::Builder::new()
            .name("script".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let ended = run(&script, handle, |interrupter| {
                    let _ = tell_ready.send(interrupter);
                });
                let _ = tell_ended.send(ended);
            })?;
        let interrupter = ready
            .await
            .map_err(|_| std::io::Error::other("the script engine did not start"))?;
        Ok(Self { interrupter, ended })
    }
}

/// What the native functions share.
struct State {
    /// Gone when the script is over: the functions stay as long as the program.
    host: Mutex<Option<Arc<Host>>>,
    handle: Handle,
    /// Counts interrupts: calls in flight end when it changes.
    interrupts: Arc<watch::Sender<u64>>,
    /// What was printed of a line that is not over.
    partial: Mutex<String>,
}

fn run(script: &Script, handle: Handle, tell_ready: impl FnOnce(Interrupter)) -> Ended {
    let state = Arc::new(State {
        host: Mutex::new(Some(script.host.clone())),
        handle,
        interrupts: Arc::new(watch::Sender::new(0)),
        partial: Mutex::default(),
    });
    let (sender, receiver) = user_signal_channel();
    let interpreter = InterpreterBuilder::new()
        .settings(settings())
        .init_stdlib()
        .init_hook(move |vm| vm.set_user_signal_channel(receiver))
        .interpreter();
    let interrupter = Interrupter::for_this_thread(sender, state.interrupts.clone());
    tell_ready(interrupter.clone());
    let ended = interpreter.enter(|vm| match prepare(vm, script, &state) {
        Ok(scope) => execute(vm, scope, script, &interrupter),
        Err(exception) => Ended::Failed(describe(vm, &exception, PRELUDE)),
    });
    finish(interpreter, &state);
    ended
}

fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.utf8_mode = 1;
    // Ctrl-C is this program's: see `Interrupter`.
    settings.install_signal_handlers = false;
    settings.ignore_environment = true;
    settings.isolated = true;
    settings.import_site = false;
    settings.user_site_directory = false;
    settings.write_bytecode = false;
    settings.argv = vec![SCRIPT_NAME.to_owned()];
    settings
}

/// Installs the native module and the prelude; gives the script's globals.
fn prepare(vm: &VirtualMachine, script: &Script, state: &Arc<State>) -> PyResult<Scope> {
    let modules = vm.sys_module.get_attr("modules", vm)?;
    let native = vm.new_module("_snowglobe", vm.ctx.new_dict(), None);
    let called = state.clone();
    let call = vm.new_function(
        "call",
        move |target: PyStrRef,
              operation: PyStrRef,
              arguments: PyDictRef,
              vm: &VirtualMachine|
              -> PyResult { call(&called, &target, &operation, &arguments, vm) },
    );
    native.set_attr("call", call, vm)?;
    let printed = state.clone();
    let write = vm.new_function(
        "write",
        move |text: PyStrRef, vm: &VirtualMachine| -> usize {
            let lossy = text.to_string_lossy().into_owned();
            vm.allow_threads(|| printed.print(&lossy));
            text.char_len()
        },
    );
    native.set_attr("write", write, vm)?;
    native.set_attr(
        "session",
        from_json(describe_session(&script.host), vm)?,
        vm,
    )?;
    modules.set_item("_snowglobe", native.into(), vm)?;

    let prelude = vm.new_module(PRELUDE_NAME, vm.ctx.new_dict(), None);
    modules.set_item(PRELUDE_NAME, prelude.clone().into(), vm)?;
    let code = vm
        .compile(PRELUDE, Mode::Exec, PRELUDE_NAME)
        .map_err(|error| error.into_pyexception(vm, Some(PRELUDE)))?;
    vm.run_code_obj(code, Scope::with_builtins(None, prelude.dict(), vm))?;

    let scope = vm.new_scope_with_main()?;
    let vocabulary = prelude.get_attr("vocabulary", vm)?;
    scope
        .globals
        .as_object()
        .to_owned()
        .get_attr("update", vm)?
        .call((vocabulary,), vm)?;
    Ok(scope)
}

/// What the prelude makes its objects from.
fn describe_session(host: &Host) -> Value {
    let machines: Vec<Value> = host
        .machines
        .iter()
        .map(|(node, machine)| {
            json!({
                "node": node,
                "name": machine.name(),
                "python_name": crate::manifest::python_name(node),
                "state_dir": host.state_folder.join(format!("vm-state-{}", machine.name())),
            })
        })
        .collect();
    json!({
        "machines": machines,
        "vlans": host.vlans,
        "out_dir": host.output_folder,
        "shared_dir": host.shared_folder,
    })
}

fn call(
    state: &State,
    target: &PyStr,
    operation: &PyStr,
    arguments: &PyDictRef,
    vm: &VirtualMachine,
) -> PyResult {
    let mut arguments = to_json(arguments.as_object(), vm)?;
    arguments["operation"] = json!(operation.to_string_lossy());
    let target = target.to_string_lossy();
    let Some(host) = state.host() else {
        return Err(prelude_exception(vm, "Interrupted", "the script is over"));
    };
    // Before the check, so that no interrupt falls between the two.
    let mut interrupts = state.interrupts.subscribe();
    vm.check_signals()?;
    let outcome = vm.allow_threads(|| {
        state.handle.block_on(async {
            tokio::select! {
                outcome = host.call(&target, arguments) => Some(outcome),
                _ = interrupts.changed() => None,
            }
        })
    });
    match outcome {
        Some(Ok(value)) => from_json(value, vm),
        Some(Err(error)) => Err(prelude_exception(vm, error.class, &error.message)),
        None => {
            // In the main thread this raises; other threads have no signals.
            vm.check_signals()?;
            Err(prelude_exception(vm, "Interrupted", "interrupted"))
        }
    }
}

fn execute(vm: &VirtualMachine, scope: Scope, script: &Script, interrupter: &Interrupter) -> Ended {
    let code = match vm.compile(&script.source, Mode::Exec, SCRIPT_NAME) {
        Ok(code) => code,
        Err(error) => {
            let exception = error.into_pyexception(vm, Some(&script.source));
            return Ended::Failed(describe(vm, &exception, &script.source));
        }
    };
    match interrupter.while_armed(|| vm.run_code_obj(code, scope)) {
        Ok(_) => Ended::Passed,
        Err(exception) => ended_by(vm, &exception, script),
    }
}

fn ended_by(vm: &VirtualMachine, exception: &PyBaseExceptionRef, script: &Script) -> Ended {
    if is_prelude_exception(vm, exception, "Interrupted") {
        return Ended::Interrupted;
    }
    if exception.fast_isinstance(vm.ctx.exceptions.system_exit) && exits_well(vm, exception) {
        return Ended::Passed;
    }
    let mut failure = describe(vm, exception, &script.source);
    failure.subtest = script.host.subtest();
    Ended::Failed(failure)
}

/// As Python takes it: no code, and the code 0, mean success.
fn exits_well(vm: &VirtualMachine, exception: &PyBaseExceptionRef) -> bool {
    let code = exception.as_object().get_attr("code", vm);
    code.and_then(|code| to_json(&code, vm))
        .is_ok_and(|code| code == json!(null) || code == json!(0) || code == json!(false))
}

/// Ends the interpreter: what was printed is flushed, exit handlers run.
fn finish(interpreter: Interpreter, state: &State) {
    // Threads that the script left are not waited for; their calls end.
    state.interrupts.send_modify(|count| *count += 1);
    interpreter.enter(|vm| {
        let forget = || -> PyResult<()> {
            let modules = vm.sys_module.get_attr("modules", vm)?;
            if let Ok(threading) = modules.get_item("threading", vm) {
                let nothing = vm.new_function("_shutdown", |_vm: &VirtualMachine| {});
                threading.set_attr("_shutdown", nothing, vm)?;
            }
            Ok(())
        };
        // Nothing depends on it but how long the end takes.
        let _ = forget();
    });
    interpreter.finalize(None);
    state.print_rest();
    state.lock_host().take();
}

impl State {
    fn host(&self) -> Option<Arc<Host>> {
        self.lock_host().clone()
    }

    fn lock_host(&self) -> MutexGuard<'_, Option<Arc<Host>>> {
        self.host.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_output(&self, text: String) {
        if let Some(host) = self.host() {
            host.events.tell(Event::Output { text });
        }
    }

    /// `print` writes in pieces: they are told line by line.
    fn print(&self, text: &str) {
        let mut partial = self.partial.lock().unwrap_or_else(PoisonError::into_inner);
        partial.push_str(text);
        while let Some(end) = partial.find('\n') {
            let line: String = partial.drain(..=end).collect();
            self.tell_output(line.trim_end_matches('\n').to_owned());
        }
    }

    fn print_rest(&self) {
        let mut partial = self.partial.lock().unwrap_or_else(PoisonError::into_inner);
        if !partial.is_empty() {
            self.tell_output(std::mem::take(&mut partial));
        }
    }
}

/// An exception of one of the prelude's classes. Runs no bytecode to find it:
/// the next interrupt would strike there.
pub(super) fn prelude_exception(
    vm: &VirtualMachine,
    class: &'static str,
    message: &str,
) -> PyBaseExceptionRef {
    prelude_class(vm, class)
        .and_then(|class| vm.invoke_exception(&class, vec![vm.ctx.new_str(message).into()]))
        .unwrap_or_else(|error| error)
}

fn is_prelude_exception(
    vm: &VirtualMachine,
    exception: &PyBaseExceptionRef,
    class: &'static str,
) -> bool {
    prelude_class(vm, class).is_ok_and(|class| exception.fast_isinstance(&class))
}

fn prelude_class(vm: &VirtualMachine, class: &'static str) -> PyResult<PyTypeRef> {
    let modules = vm.sys_module.get_attr("modules", vm)?;
    let class = modules.get_item(PRELUDE_NAME, vm)?.get_attr(class, vm)?;
    class
        .downcast()
        .map_err(|_| vm.new_type_error("the prelude holds no such class"))
}
