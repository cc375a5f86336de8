//! Ctrl-Z: the progress bars make room for the user's shell.

use indicatif::MultiProgress;
use nix::sys::signal::{Signal, raise};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};

/// Removes `bars` while the terminal has suspended this process, as long as the runtime of the caller lives.
pub fn make_room_when_suspended(bars: MultiProgress) {
    // Without a runtime, or a signal to catch, the system stops the process as it is.
    let Ok(runtime) = Handle::try_current() else {
        return;
    };
    let Ok(mut suspended) = signal(SignalKind::from_raw(nix::libc::SIGTSTP)) else {
        return;
    };
    runtime.spawn(async move {
        while suspended.recv().await.is_some() {
            // `raise` returns after all threads have stopped and the shell has continued them. `kill` may return before,
            // which draws the bars again.
            let _ = bars.suspend(|| raise(Signal::SIGSTOP));
        }
    });
}
