//! What runs in the guest beside its shell.

use super::line::{GUARD_PORT, REPLIES_PORT};

const PROGRAM: &str = include_str!("guard.sh");

/// A line for the guest's shell: starts the guard if there is a port for
/// it, and prints the file of the port for replies, or nothing. With job
/// control, or the guard and the shells that it starts would ignore Ctrl-C.
pub(super) fn set_up_line() -> String {
    let program = shlex::try_quote(PROGRAM).unwrap_or_default();
    format!(
        "g= r=; for p in /sys/class/virtio-ports/*; do n=; read -r n < $p/name; case $n in \
         {GUARD_PORT}) g=/dev/${{p##*/}};; {REPLIES_PORT}) r=/dev/${{p##*/}};; esac; done 2> /dev/null; \
         [ -c \"$g\" ] && (set -m; setsid bash -c {program} guard $$ $g < /dev/null > /dev/null 2>&1 &); \
         [ -c \"$r\" ] || r=; echo $r\n"
    )
}
