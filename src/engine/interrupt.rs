//! Ends a running script from outside.
//!
//! The next instruction of the interpreter's main thread is interrupted. A signal to the thread cuts a system call
//! short, and a counter that each call to a machine watches ends the call.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::libc;
use nix::sys::signal::Signal;
use rustpython_vm::VirtualMachine;
use rustpython_vm::builtins::PyBaseExceptionRef;
use rustpython_vm::signal::UserSignalSender;
use tokio::sync::Mutex;

use super::cancellation::{CancelScope, Cancellations, leave};
use super::exceptions::api_exception;
use crate::child::catch_signal;

/// How often the script is reminded until it has taken the interrupt.
const REMINDERS: u32 = 200;
const REMINDER_PAUSE: Duration = Duration::from_millis(20);

/// RustPython looks for signals before every instruction. A second exception
/// right at the start of the first one's handler would lose the handler.
const GAP: Duration = Duration::from_millis(50);

/// Clones lead to the same script.
#[derive(Clone)]
pub struct Interrupter {
    sender: UserSignalSender,
    thread: libc::pthread_t,
    armed: Arc<Armed>,
    cancellations: Arc<Cancellations>,
    turn: Arc<Mutex<()>>,
}

impl fmt::Debug for Interrupter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interrupter").finish_non_exhaustive()
    }
}

impl Interrupter {
    /// For the interpreter of the calling thread.
    pub(super) fn for_this_thread(
        sender: UserSignalSender,
        cancellations: Arc<Cancellations>,
    ) -> Self {
        // It ends the system call that the script waits in. A script that sets another handler has the signals.
        catch_signal(Signal::SIGUSR1);
        Self {
            sender,
            thread: nix::sys::pthread::pthread_self(),
            armed: Arc::default(),
            cancellations,
            turn: Arc::default(),
        }
    }

    /// Does `run`, which can be interrupted meanwhile.
    pub fn while_armed<T>(&self, run: impl FnOnce() -> T) -> T {
        let before = self.armed.replace(true);
        self.set_begun();
        let result = run();
        self.armed.replace(before);
        result
    }

    /// Does `run`, in which the user decides what is interrupted.
    pub(super) fn while_disarmed<T>(&self, run: impl FnOnce() -> T) -> T {
        let before = self.armed.replace(false);
        let result = run();
        self.armed.replace(before);
        result
    }

    /// Whether this is the thread that the script's main part runs in.
    pub(super) fn is_this_thread(&self) -> bool {
        nix::sys::pthread::pthread_self() == self.thread
    }

    /// Nothing more is to be waited for before an interrupt: the script is over, or the user is at a prompt.
    pub(super) fn set_begun(&self) {
        self.armed.has_begun.store(true, Ordering::Release);
    }

    /// Raises `Interrupted(reason)` in the script, as soon as it has begun; returns whether it was taken. It is not if
    /// no script runs any more, or it is stuck in what cannot be cut short.
    pub async fn interrupt(&self, reason: &str) -> bool {
        while !self.armed.has_begun.load(Ordering::Acquire) {
            tokio::time::sleep(REMINDER_PAUSE).await;
        }
        let reason = reason.to_owned();
        let make = move |vm: &VirtualMachine| Some(api_exception(vm, "Interrupted", &reason));
        let alarm = || self.cancellations.interrupt();
        self.raise(make, alarm).await
    }

    /// Ends what the main thread does in a scope, if it is still in there.
    pub(super) async fn cancel(&self, scope: CancelScope) {
        let make = move |vm: &VirtualMachine| {
            leave(scope).then(|| api_exception(vm, "Cancelled", &scope.to_string()))
        };
        self.raise(make, || self.cancellations.cancel(scope)).await;
    }

    /// Has the main thread raise what `make` makes there; `alarm` ends the call
    /// that it may be in.
    async fn raise(
        &self,
        make: impl Fn(&VirtualMachine) -> Option<PyBaseExceptionRef> + Send + 'static,
        alarm: impl FnOnce(),
    ) -> bool {
        let _turn = self.turn.lock().await;
        let taken = Arc::new(AtomicBool::new(false));
        let sent = self.sender.send(Box::new({
            let (taken, armed) = (taken.clone(), self.armed.clone());
            move |vm| {
                if taken.swap(true, Ordering::AcqRel) || !armed.is_set() {
                    return Ok(());
                }
                make(vm).map_or(Ok(()), Err)
            }
        }));
        if sent.is_err() {
            return false;
        }
        alarm();
        for _ in 0..REMINDERS {
            if taken.load(Ordering::Acquire) {
                tokio::time::sleep(GAP).await;
                return true;
            }
            // One that arrives just before the system call begins is lost.
            if !self.armed.signal(self.thread) {
                break;
            }
            tokio::time::sleep(REMINDER_PAUSE).await;
            // What is sent is only looked at after something new was sent.
            let _ = self.sender.send(Box::new(|_| Ok(())));
        }
        taken.swap(true, Ordering::AcqRel)
    }
}

/// Whether the script's thread runs the script. While it is, the thread is there.
#[derive(Default)]
struct Armed {
    is_armed: StdMutex<bool>,
    /// Whether it has been, or never will be.
    has_begun: AtomicBool,
}

impl Armed {
    /// Returns what it was before.
    fn replace(&self, is_armed: bool) -> bool {
        std::mem::replace(&mut *self.lock(), is_armed)
    }

    fn is_set(&self) -> bool {
        *self.lock()
    }

    /// Cuts short a system call of the script's thread; false if the script is over.
    fn signal(&self, thread: libc::pthread_t) -> bool {
        let is_armed = self.lock();
        if *is_armed {
            // The thread cannot end meanwhile: it needs the lock for that.
            let _ = nix::sys::pthread::pthread_kill(thread, Signal::SIGUSR1);
        }
        *is_armed
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.is_armed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
