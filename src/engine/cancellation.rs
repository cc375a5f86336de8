//! Reasons to end a call early: interrupts of the whole script, and the end of a scope (a deadline, a failed parallel
//! function).

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Statements that can be ended together.
pub(super) type CancelScope = u64;

thread_local! {
    /// The scopes that this thread's statements are in, outermost first.
    static ENTERED: RefCell<Vec<CancelScope>> = const { RefCell::new(Vec::new()) };
}

/// The cancellations of one script.
#[derive(Debug, Default)]
pub(super) struct Cancellations {
    state: watch::Sender<CancelState>,
    next: AtomicU64,
    timers: Mutex<HashMap<CancelScope, JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct CancelState {
    interrupts: u64,
    cancelled: BTreeSet<CancelScope>,
}

/// The reason why a call was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CancelCause {
    Interrupt,
    Cancelled(CancelScope),
}

/// A call's ear for cancellations.
#[derive(Debug)]
pub(super) struct CallWatch {
    receiver: watch::Receiver<CancelState>,
    interrupts: u64,
    scopes: Vec<CancelScope>,
}

impl Cancellations {
    pub fn interrupt(&self) {
        self.state.send_modify(|state| state.interrupts += 1);
    }

    pub fn new_scope(&self) -> CancelScope {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Ends what waits in a scope.
    pub fn cancel(&self, scope: CancelScope) {
        self.state.send_modify(|state| {
            state.cancelled.insert(scope);
        });
    }

    /// A scope is over; its timer is in vain.
    pub fn forget(&self, scope: CancelScope) {
        if let Some(timer) = self.timers().remove(&scope) {
            timer.abort();
        }
        self.state.send_if_modified(|state| {
            state.cancelled.remove(&scope);
            false
        });
    }

    pub fn keep_timer(&self, scope: CancelScope, timer: JoinHandle<()>) {
        self.timers().insert(scope, timer);
    }

    /// For a call of this thread.
    pub fn watch(&self) -> CallWatch {
        let receiver = self.state.subscribe();
        let interrupts = receiver.borrow().interrupts;
        CallWatch {
            receiver,
            interrupts,
            scopes: entered(),
        }
    }

    fn timers(&self) -> std::sync::MutexGuard<'_, HashMap<CancelScope, JoinHandle<()>>> {
        self.timers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CallWatch {
    pub async fn cancelled(&mut self) -> CancelCause {
        let (interrupts, scopes) = (self.interrupts, &self.scopes);
        let rung = |state: &CancelState| {
            state.interrupts != interrupts
                || scopes.iter().any(|scope| state.cancelled.contains(scope))
        };
        match self.receiver.wait_for(rung).await {
            Ok(state) => {
                let cancelled = scopes.iter().find(|scope| state.cancelled.contains(scope));
                match cancelled {
                    Some(scope) if state.interrupts == interrupts => CancelCause::Cancelled(*scope),
                    _ => CancelCause::Interrupt,
                }
            }
            Err(_) => CancelCause::Interrupt,
        }
    }
}

/// The scopes that this thread's statements are in.
pub(super) fn entered() -> Vec<CancelScope> {
    ENTERED.with_borrow(Clone::clone)
}

pub(super) fn enter(scopes: Vec<CancelScope>) {
    ENTERED.set(scopes);
}

/// Takes a scope off this thread's: each ends a thread's statements once, so
/// that those which clean up go through. Tells whether it was there.
pub(super) fn leave(scope: CancelScope) -> bool {
    ENTERED.with_borrow_mut(|scopes| {
        let before = scopes.len();
        scopes.retain(|other| *other != scope);
        scopes.len() < before
    })
}
