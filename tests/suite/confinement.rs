//! Guests of containers cannot reach the host or other guests, and have what their nodes ask for.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;

use nix::libc;

use crate::harness::{Ended, Place, fixture_path, run_beside_small_disk};

fn run(place: &Place, test: &str) -> Ended {
    let ended = place.run_fixture("confinement.nix", &["-A", test]);
    place.assert_tidy();
    ended
}

fn passes(test: &str) {
    passes_in(&Place::new(), test);
}

fn passes_in(place: &Place, test: &str) {
    let ended = run(place, test);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    // A host that limits nothing would say so here.
    assert!(ended.stdout.contains(" (containers)\n"), "{}", ended.seen());
}

#[test]
fn what_is_read_only_stays_read_only() {
    passes("mounts");
}

/// `--bind-ro` of nixpkgs' start scripts, with a guest that is a shell.
#[test]
fn a_folder_of_the_host_stays_read_only() {
    let place = Place::new();
    passes_in(&place, "sizes");
    let manifest = fs::read_to_string(place.path().join("result-sizes/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let container = &manifest["nodes"]["machine"]["container"];
    let activation = fs::read_to_string(container["activation"].as_str().unwrap()).unwrap();
    let busybox = activation.lines().next().unwrap();
    let busybox = busybox
        .trim_start_matches("#!")
        .split("/bin/")
        .next()
        .unwrap();
    let (read_only, writable) = (place.path().join("ro"), place.path().join("rw"));
    for folder in [&read_only, &writable] {
        fs::create_dir(folder).unwrap();
        fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let attempts = [
        "mount -o remount,bind,rw /ro",
        "mount -o remount,rw /ro",
        "umount -l /ro",
        "touch /ro/x",
        "unshare -U -r -m mount -o remount,bind,rw /ro",
    ];
    let tried = attempts.map(|attempt| format!("b {attempt} && echo broken {attempt}\n"));
    let script = format!(
        "b() {{ {busybox}/bin/busybox \"$@\"; }}\nexec > /rw/log 2>&1\n{}echo done\n",
        tried.concat()
    );
    fs::write(writable.join("script"), script).unwrap();
    let start = place.write(
        "run-x-nspawn",
        &format!(
            "#!/bin/sh\nexec run-nspawn --container-name x --init {busybox}/bin/busybox --cmdline-json '[\"sh\", \"/rw/script\"]' \
             --interfaces-json '[]' --bind-ro={}:/ro --bind={}:/rw \"$@\"\n",
            read_only.display(),
            writable.display()
        ),
    );
    place.write(
        "script.py",
        "machine.start()\nimport time\ntime.sleep(60)\n",
    );
    let start = start.to_str().unwrap();
    let options = [
        "driver",
        "--container-names",
        "x",
        "--container-start-scripts",
        start,
    ];
    let ended = place.run(&[&options[..], &["-o", "out", "--", "script.py"]].concat());
    // Its init has ended, which no machine's should.
    assert_eq!(ended.code, Some(4), "{}", ended.seen());
    let log = fs::read_to_string(writable.join("log")).unwrap();
    assert!(log.ends_with("done\n") && !log.contains("broken"), "{log}");
    assert_eq!(fs::read_dir(&read_only).unwrap().count(), 0);
    place.assert_tidy();
}

#[test]
fn limits_of_namespaces_are_of_one_machine() {
    passes("namespaces");
}

#[test]
fn file_systems_in_memory_have_sizes() {
    passes("sizes");
}

#[test]
fn a_limit_can_be_expected() {
    passes("expected");
}

#[test]
fn limits_are_failures_of_the_machine() {
    for (test, message) in [
        (
            "memory",
            "machine machine has crashed: out of memory: Out of memory: Killed process of the container: its limit is 192 MiB (virtualisation.memorySize)\n",
        ),
        (
            "processes",
            "machine machine has crashed: out of processes: Out of processes: the container has reached its limit of 1024 (2 for each MiB of virtualisation.memorySize)\n",
        ),
    ] {
        let ended = run(&Place::new(), test);
        assert_eq!(ended.code, Some(1), "{}", ended.seen());
        let message = format!("error: MachineFailure: {message}");
        assert!(ended.stdout.contains(&message), "{}", ended.seen());
    }
}

/// The guest's init has its own state if the process that runs the test has another one.
#[test]
fn init_inherits_nothing() {
    const EXPECTED: &str = "\
Umask:\t0022
Groups:\t 
SigIgn:\t0000000000000004
CapInh:\t0000000000000000
CapBnd:\t000001fbf5fcffff
CapAmb:\t0000000000000000
Seccomp:\t0
Limit Soft Limit Hard Limit Units 
Max cpu time unlimited unlimited seconds 
Max file size unlimited unlimited bytes 
Max data size unlimited unlimited bytes 
Max stack size 8388608 unlimited bytes 
Max core file size 0 unlimited bytes 
Max resident set unlimited unlimited bytes 
Max locked memory 8388608 8388608 bytes 
Max address space unlimited unlimited bytes 
Max file locks unlimited unlimited locks 
Max msgqueue size 819200 819200 bytes 
Max nice priority 0 0 
Max realtime priority 0 0 
Max realtime timeout unlimited unlimited us 
1024
0
1
2
255
PATH=/usr/sbin:/usr/bin:/sbin:/bin
container=snowglobe
0
1 20 0
/
0
machine
(none)
/
";
    let place = Place::new();
    let file = fixture_path("confinement.nix");
    let mut command = place.command(&["run", "--nixpkgs", "builtin", "-A", "init"]);
    command.arg(file).env("SECRET", "x");
    // SAFETY: only system calls, between fork and exec.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(|| {
            libc::syscall(libc::SYS_keyctl, 1, std::ptr::null::<libc::c_char>());
            let session: libc::c_long = -3;
            let (kind, name) = (c"user".as_ptr(), c"hostsecret".as_ptr());
            libc::syscall(libc::SYS_add_key, kind, name, c"x".as_ptr(), 1, session);
            libc::signal(libc::SIGHUP, libc::SIG_IGN);
            libc::signal(libc::SIGTSTP, libc::SIG_IGN);
            libc::umask(0o077);
            libc::dup2(0, 77);
            libc::setpriority(libc::PRIO_PROCESS, 0, -5);
            let limit = libc::rlimit {
                rlim_cur: 2000,
                rlim_max: 3000,
            };
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
            let none = libc::rlimit {
                rlim_cur: 1 << 20,
                rlim_max: libc::RLIM_INFINITY,
            };
            libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
            Ok(())
        });
    }
    let ended = place.finish(command.spawn().unwrap());
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    let begin = ended.stdout.find("Umask:").expect("the list");
    let shown = &ended.stdout[begin..];
    let lines: Vec<&str> = shown
        .lines()
        .filter(|line| !line.starts_with("machine: "))
        .take(EXPECTED.lines().count())
        .collect();
    assert_eq!(lines.join("\n") + "\n", EXPECTED, "{}", ended.seen());
}

#[test]
fn a_guest_that_fills_the_disk_is_a_fault_of_the_host() {
    for (test, written) in [
        ("exchange", "/vm-state-machine/xchg/large: No space left"),
        ("shared", "/shared-xchg/large: No space left"),
        ("vm", "/shared-xchg/large: No space left"),
    ] {
        let place = Place::new();
        let fixture = fixture_path("confinement.nix");
        let small = place.path().join("small");
        let arguments = format!("run --nixpkgs builtin {} -A {test}", fixture.display());
        let ended = run_beside_small_disk(&place, "64M", &[("TMPDIR", &small)], &arguments);
        assert_eq!(ended.code, Some(4), "{}", ended.seen());
        let message = "HostDiskFull: the host has no room for what machine machine writes: ";
        assert!(ended.stdout.contains(message), "{}", ended.seen());
        assert!(ended.stdout.contains(written), "{}", ended.seen());
    }
}

#[test]
fn copies_keep_holes() {
    for (test, gib) in [("sparse", 200), ("sparse_tiny", 200), ("sparse_vm", 2)] {
        let place = Place::new();
        let ended = place.run_fixture("confinement.nix", &["-A", test, "-o", "out"]);
        assert_eq!(ended.code, Some(0), "{test}: {}", ended.seen());
        let copied = fs::metadata(place.path().join("out/file")).unwrap();
        assert_eq!(copied.len(), (gib << 30) + 4, "{test}");
        assert!(copied.blocks() * 512 < 1 << 20, "{test}");
        place.assert_tidy();
    }
}
