//! Signals that end a run, as messages.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{broadcast, mpsc};

use super::error::RunnerError;
use crate::session::Interrupt;

/// Requests from outside to end a run.
pub type Interrupts = mpsc::UnboundedReceiver<Interrupt>;

/// Listens for Ctrl-C and SIGTERM, and for the end of the terminal.
///
/// # Errors
/// Returns an error if the system refuses.
pub fn interrupts() -> Result<Interrupts, RunnerError> {
    let (sender, receiver) = mpsc::unbounded_channel();
    for (kind, interrupt) in [
        (SignalKind::interrupt(), Interrupt::CtrlC),
        (SignalKind::terminate(), Interrupt::Terminate),
        (SignalKind::hangup(), Interrupt::Terminate),
    ] {
        let mut signals = signal(kind).map_err(RunnerError::host("cannot listen for signals"))?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                let _ = sender.send(interrupt);
            }
        });
    }
    Ok(receiver)
}

/// Where requests to end a run come from.
pub trait InterruptSource: Send {
    /// Waits for the next request. Returns `None` if there can be no more.
    fn next(&mut self) -> impl Future<Output = Option<Interrupt>> + Send;
}

impl InterruptSource for Interrupts {
    async fn next(&mut self) -> Option<Interrupt> {
        self.recv().await
    }
}

impl InterruptSource for broadcast::Receiver<Interrupt> {
    async fn next(&mut self) -> Option<Interrupt> {
        loop {
            match self.recv().await {
                Ok(interrupt) => return Some(interrupt),
                // It was slower than the user, who wants the end all the more.
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

/// A request that came too late for what it was to end concerns what comes next.
pub(super) struct LateFirst<'a> {
    pub late: Option<Interrupt>,
    pub others: &'a mut Interrupts,
}

impl InterruptSource for LateFirst<'_> {
    async fn next(&mut self) -> Option<Interrupt> {
        match self.late.take() {
            None => self.others.recv().await,
            late => late,
        }
    }
}

/// How long after an error of Nix the interrupt may come that is its reason. Ctrl-C reaches Nix as well, which stays in
/// the terminal's process group: ssh may ask for a passphrase there.
const LATE: Duration = Duration::from_millis(100);

/// Does `work` of Nix until an interrupt; returns `None` then, also if Nix was quicker to end by it.
pub(super) async fn unless_interrupted<T, E>(
    work: impl Future<Output = Result<T, E>>,
    interrupts: &mut impl InterruptSource,
) -> Option<Result<T, E>> {
    let done = tokio::select! {
        biased;
        _ = interrupts.next() => return None,
        done = work => done,
    };
    match done {
        Err(error) if late_interrupt(interrupts).await.is_none() => Some(Err(error)),
        Err(_) => None,
        Ok(done) => Some(Ok(done)),
    }
}

/// Returns the interrupt that is the reason of an error of Nix, if it is one.
pub(super) async fn late_interrupt(interrupts: &mut impl InterruptSource) -> Option<Interrupt> {
    let late = tokio::time::timeout(LATE, interrupts.next());
    late.await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[tokio::test]
    async fn an_error_by_an_interrupt_is_an_interrupt() {
        let (sender, mut interrupts) = mpsc::unbounded_channel();
        let failing = async { Err::<Infallible, _>("interrupted by the user") };
        let sent = sender.clone();
        let (done, ()) = tokio::join!(unless_interrupted(failing, &mut interrupts), async move {
            tokio::task::yield_now().await;
            let _ = sent.send(Interrupt::CtrlC);
        });
        assert!(done.is_none());
        let failing = async { Err::<Infallible, _>("a reason of its own") };
        let done = unless_interrupted(failing, &mut interrupts).await;
        assert_eq!(done, Some(Err("a reason of its own")));
    }
}
