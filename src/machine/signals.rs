//! systemd's own signals, heard in the guest: that a unit is active is known
//! at once, without asking for it with a process each time.
//!
//! systemd's private socket speaks D-Bus without a bus in between.
//! `systemd-stdio-bridge`, part of systemd, passes bytes to it; two of its
//! messages are enough to be told of every change of a unit. In what comes
//! back, strings end in NUL: they are all that is looked at.

use std::fmt::Write;

/// How often systemd is asked all the same, in milliseconds: a unit may have
/// another name than the one it is called by.
pub(super) const PAUSE_MS: u32 = 500;

/// Root introduces itself, and calls `Subscribe` of systemd's manager: the
/// header of a D-Bus message (see the D-Bus specification, "Message Format")
/// with path, interface, member and destination, and no body. As the words of
/// `printf`.
const SUBSCRIBE: &str = concat!(
    r"\0AUTH EXTERNAL 30\r\nBEGIN\r\n",
    r"l\001\000\001\000\000\000\000\001\000\000\000\221\000\000\000",
    r"\001\001o\000\031\000\000\000/org/freedesktop/systemd1\000\000\000\000\000\000\000",
    r"\002\001s\000\040\000\000\000org.freedesktop.systemd1.Manager\000\000\000\000\000\000\000\000",
    r"\003\001s\000\011\000\000\000Subscribe\000\000\000\000\000\000\000",
    r"\006\001s\000\030\000\000\000org.freedesktop.systemd1\000\000\000\000\000\000\000\000",
);

/// Bash that listens to systemd and defines `rest SECONDS`, which ends a round
/// when the unit becomes active, and returns early when it fails. Where the
/// guest has no such systemd, `rest` rests.
pub(super) fn listen(unit: &str) -> Option<String> {
    let path = object_path(unit)?;
    Some(format!(
        "LC_ALL=C; bus=$never; if command -v systemd-stdio-bridge > /dev/null; then \
         coproc bridge {{ systemd-stdio-bridge -p unix:path=/run/systemd/private 2> /dev/null \
         | exec grep -azE --line-buffered '/org/freedesktop/systemd1/unit/|ActiveState$|(active|failed|activating)$' 2> /dev/null; }}; \
         exec {{bus}}<&${{bridge[0]}} {{calls}}>&${{bridge[1]}}; \
         (trap '' PIPE; printf '{SUBSCRIBE}' >&$calls); fi; \
         seen=; rest() {{ local n; for ((n = 0; n < 200; n++)); do \
         read -r -d '' -t $1 -u $bus chunk || {{ [ $? -gt 128 ] || bus=$never; return; }}; \
         case $seen$chunk in \
         *{path}) seen=unit:;; \
         */org/freedesktop/systemd1/*) seen=;; \
         unit:*ActiveState) seen=state:;; \
         state:*inactive | state:*failed) seen=; return;; \
         state:*deactivating | state:*activating) seen=;; \
         state:*active) end 0;; \
         esac; done; }}; "
    ))
}

/// systemd's D-Bus path of a unit; None for a name that systemd would change.
fn object_path(unit: &str) -> Option<String> {
    if unit.is_empty() || unit.contains(['/', '*', ' ']) {
        return None;
    }
    let full = if unit.contains('.') {
        unit.to_owned()
    } else {
        format!("{unit}.service")
    };
    let mut path = "/org/freedesktop/systemd1/unit/".to_owned();
    for (position, byte) in full.bytes().enumerate() {
        let is_plain = byte.is_ascii_alphabetic() || byte.is_ascii_digit() && position > 0;
        if is_plain {
            path.push(char::from(byte));
        } else {
            let _ = write!(path, "_{byte:02x}");
        }
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_have_a_path() {
        let path = |unit| object_path(unit).unwrap();
        assert_eq!(
            path("late"),
            "/org/freedesktop/systemd1/unit/late_2eservice"
        );
        assert_eq!(
            path("multi-user.target"),
            "/org/freedesktop/systemd1/unit/multi_2duser_2etarget"
        );
        assert_eq!(
            path("9p.mount"),
            "/org/freedesktop/systemd1/unit/_39p_2emount"
        );
        assert_eq!(object_path("/dev/vda"), None);
    }

    /// The header's own numbers: its fields are as long as it says, and the
    /// whole fills multiples of eight bytes.
    #[test]
    fn the_message_is_well_formed() {
        let output = std::process::Command::new("bash")
            .args(["-c", &format!("printf '{SUBSCRIBE}'")])
            .output()
            .unwrap();
        let begin = b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n";
        let message = output.stdout.strip_prefix(begin).unwrap();
        let fields = u32::from_le_bytes(message[12..16].try_into().unwrap()) as usize;
        assert_eq!(message.len(), (16 + fields).next_multiple_of(8));
    }
}
