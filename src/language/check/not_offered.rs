//! Members of nixpkgs' driver that Snowglobe does not offer, and what to use in their place.

const REMEDIES: [(&str, &str); 18] = [
    ("monitor", "use `send_monitor_command()`, or `qmp_client`"),
    ("monitor_path", "use `send_monitor_command()`"),
    ("qmp_path", "use `qmp_client`"),
    ("shell_path", "use `shell`"),
    ("serial_thread", "use `get_console_log()`, or `last_lines`"),
    ("log_serial", "use `log()`"),
    (
        "start_command",
        "`create_machine()` makes a machine of a run script",
    ),
    ("callbacks", "use `polling_condition()`"),
    (
        "keep_machine_state",
        "it is an option of `snowglobe driver`",
    ),
    ("vsock_guest", SHELL),
    ("vsock_host", SHELL),
    ("get_systemd_process", "use `process.pid`"),
    ("polling_conditions", "use `polling_condition()`"),
    (
        "check_polling_conditions",
        "use `run_callbacks()` of a machine",
    ),
    ("race_timer", "use `deadline()`"),
    ("terminate_test", "use `exit()`"),
    (
        "test_symbols",
        "`help()` at the prompt lists the names of a script",
    ),
    ("tests", "use `test_script()`"),
];

const SHELL: &str = "without SSH, `snowglobe shell --running NODE` opens a shell while a test runs";

/// Returns what to use in the place of a member that only nixpkgs' driver has.
pub(super) fn remedy(name: &str) -> Option<String> {
    let (_, remedy) = REMEDIES.iter().find(|(member, _)| *member == name)?;
    Some(format!("nixpkgs' driver has it; {remedy}"))
}
