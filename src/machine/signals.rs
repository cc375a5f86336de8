//! systemd's own signals, heard in the guest: that a unit is active is known
//! at once, without asking for it with a process each time.
//!
//! systemd's private socket speaks D-Bus without a bus in between.
//! `systemd-stdio-bridge`, part of systemd, passes bytes to it; two of its
//! messages are enough to receive every change of a unit. In what comes
//! back, strings end in NUL: they are all that is looked at.

/// How often systemd is asked all the same, in milliseconds: at first, and at
/// last. An attempt takes as long as some pauses elsewhere.
const FIRST_PAUSE_MS: u32 = 500;
const LONGEST_PAUSE_MS: u32 = 4000;

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

/// Bash that listens to systemd and defines `pause`, which ends a round when
/// the unit whose own name is `id` becomes active, and returns early when it
/// fails. Where the guest has no such systemd, it rests.
pub(super) fn listen() -> String {
    format!(
        "LC_ALL=C; bus=$never; if command -v systemd-stdio-bridge > /dev/null; then \
         coproc bridge {{ systemd-stdio-bridge -p unix:path=/run/systemd/private 2> /dev/null \
         | exec grep -azE --line-buffered '/org/freedesktop/systemd1/unit/|ActiveState$|(active|failed|activating)$' 2> /dev/null; }}; \
         exec {{bus}}<&${{bridge[0]}} {{calls}}>&${{bridge[1]}}; \
         (trap '' PIPE; printf '{SUBSCRIBE}' >&$calls); fi; \
         seen=; hear() {{ local n name; seconds $1; for ((n = 0; n < 200; n++)); do \
         read -r -d '' -t $s -u $bus chunk || {{ [ $? -gt 128 ] || bus=$never; return; }}; \
         case $seen$chunk in \
         */org/freedesktop/systemd1/unit/*) {NAME}; seen=; [ \"$name\" != \"$id\" ] || seen=unit:;; \
         unit:*ActiveState) seen=state:;; \
         state:*inactive | state:*failed) seen=; return;; \
         state:*deactivating | state:*activating) seen=;; \
         state:*active) end 0;; \
         esac; done; }}; \
         i={FIRST_PAUSE_MS}; pause() {{ hear $i; i=$((i * 2)); \
         [ $i -le {LONGEST_PAUSE_MS} ] || i={LONGEST_PAUSE_MS}; }}"
    )
}

/// Bash that sets `name` to the unit whose D-Bus path ends `chunk`: there, all
/// but letters and digits is `_` and two hexadecimal digits.
const NAME: &str = r#"name=${chunk##*/}; printf -v name %b "${name//_/\\x}""#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_known_by_their_path() {
        for (path, unit) in [
            ("late_2eservice", "late.service"),
            ("multi_2duser_2etarget", "multi-user.target"),
            ("_39p_2emount", "9p.mount"),
        ] {
            let script =
                format!("chunk=/org/freedesktop/systemd1/unit/{path}; {NAME}; printf %s \"$name\"");
            let output = std::process::Command::new("bash")
                .args(["-c", &script])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), unit);
        }
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
