//! Signals that end a run, as messages.

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
