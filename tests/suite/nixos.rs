//! What Snowglobe does besides running tests, on real NixOS machines with Debian's packages:
//! `make nixos-machines NIXPKGS=PATH SUITE=SUITE`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::harness::{Ended, Place, Pty, fixture_path, nixpkgs_tree, signal, use_shell};

/// The options for a test on the machines of the tree.
fn options(test: &str) -> Vec<String> {
    let suite = std::env::var("SNOWGLOBE_SUITE").unwrap_or("own".to_owned());
    let tree = nixpkgs_tree();
    [
        fixture_path(test).to_str().unwrap(),
        "--nixpkgs",
        &tree,
        "-I",
        &format!("nixpkgs={tree}"),
        "--packages",
        &format!("debian:{suite}"),
    ]
    .map(str::to_owned)
    .into()
}

/// A command for a test, whose packages are fetched. `selection` is for both, `more` for the command alone.
fn on_nixos(place: &Place, name: &str, test: &str, selection: &[&str], more: &[&str]) -> Command {
    let mut selected = options(test);
    selected.extend(selection.iter().map(|&word| word.to_owned()));
    fetch(place, &selected);
    let selected: Vec<&str> = selected.iter().map(String::as_str).collect();
    place.command(&[&[name], &selected[..], more].concat())
}

/// Fetches the packages of a selection of tests.
fn fetch(place: &Place, selected: &[String]) {
    let selected: Vec<&str> = selected.iter().map(String::as_str).collect();
    let fetched = place.run(&[&["guest", "fetch", "--for"], &selected[..]].concat());
    assert_eq!(fetched.code, Some(0), "{}", fetched.seen());
}

/// A test that passes, with machines that boot.
fn passes(test: &str, selection: &[&str]) {
    let place = Place::new();
    let ended = run(
        &place,
        on_nixos(&place, "run", test, selection, &["--cold"]),
    );
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    place.assert_tidy();
}

fn run(place: &Place, mut command: Command) -> Ended {
    place.finish(command.spawn().unwrap())
}

#[test]
#[ignore = "needs a nixpkgs tree: make nixos-machines NIXPKGS=PATH"]
fn a_shell() {
    let place = Place::new();
    let test = "nixos/plain.nix";
    use_shell(&mut on_nixos(&place, "shell", test, &[], &["machine"]));
    place.assert_tidy();
}

#[test]
#[ignore = "needs a nixpkgs tree: make nixos-machines NIXPKGS=PATH"]
fn a_prompt_after_a_failure() {
    let place = Place::new();
    let more = ["--cold", "--on-failure", "repl"];
    let mut user = Pty::spawn(&mut on_nixos(&place, "run", "nixos/plain.nix", &[], &more));
    user.wait_for("failed here");
    user.wait_for(">>> ");
    user.type_in("machine.succeed('echo still-$((20 + 3))')\n");
    user.wait_for("'still-23\\n'");
    user.wait_for(">>> ");
    user.type_in("machine.shell_interact()\n");
    user.wait_for("# ");
    user.type_in("ls -d /tmp/h*; exit\n");
    user.wait_for("/tmp/here");
    user.wait_for(">>> ");
    user.type_in("\x04");
    user.wait_for("failed:");
    assert_eq!(user.end(), Some(1));
    place.assert_tidy();
}

#[test]
#[ignore = "needs a nixpkgs tree: make nixos-machines NIXPKGS=PATH"]
fn a_build_of_nix_in_its_sandbox() {
    let place = Place::new();
    let more = ["--as-derivation", "--allow-emulation", "-o", "out"];
    let ended = run(
        &place,
        on_nixos(&place, "run", "nixos/plain.nix", &[], &more),
    );
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    let log = fs::read_to_string(place.path().join("out/build.log")).unwrap();
    assert!(log.contains("test -e /tmp/there"), "{log}");
}

/// The machine has a store image and no shared folders (nixpkgs 23.05 or newer).
#[test]
#[ignore = "needs a nixpkgs tree: make nixos-machines NIXPKGS=PATH"]
fn a_checkpoint() {
    is_restored("--snapshot-safe=image");
}

/// The machine has the host's store, mounted over virtiofs while it is saved (nixpkgs 26.05 or newer).
#[test]
#[ignore = "needs a nixpkgs tree: make nixos-machines NIXPKGS=PATH"]
fn a_checkpoint_with_the_store_of_the_host() {
    is_restored("--snapshot-safe=virtiofs");
}

/// virtiofsd serves the store and is killed: an error of the host, at once (nixpkgs 26.05 or newer).
#[test]
#[ignore = "needs a nixpkgs tree: make nixos-machines NIXPKGS=PATH"]
fn a_store_that_is_served_no_more() {
    let place = Place::new();
    let selection = ["--snapshot-safe=virtiofs"];
    let mut command = on_nixos(&place, "run", "nixos/waiting.nix", &selection, &["--cold"]);
    let child = command.spawn().unwrap();
    place.wait_for_text("result-waiting/events.jsonl", "machine_ready");
    for pid in servers_of(&place) {
        signal(pid, "KILL");
    }
    let ended = place.finish(child);
    assert_eq!(ended.code, Some(4), "{}", ended.seen());
    let cause = "virtiofsd, which serves the store, has ended with status 137";
    assert!(ended.stdout.contains(cause), "{}", ended.seen());
    place.assert_tidy();
}

/// The virtiofsd processes that serve a machine of the place.
fn servers_of(place: &Place) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let servers = processes.filter(|entry| {
        let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
        let is_server = String::from_utf8_lossy(&read("cmdline")).contains("--socket-path");
        let folder = fs::read_link(entry.path().join("cwd"));
        is_server && folder.is_ok_and(|folder| folder.starts_with(place.path()))
    });
    let pids = servers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let pids: Vec<u32> = pids.collect();
    assert!(!pids.is_empty());
    pids
}

/// Runs a test twice, of which the second run begins with a checkpoint of the first.
fn is_restored(option: &str) {
    let place = Place::new();
    let command = |place: &Place| {
        let mut command = on_nixos(place, "run", "nixos/plain.nix", &[option], &[]);
        command
            .env_remove("CI")
            .env("XDG_CACHE_HOME", place.path().join("cache"));
        command
    };
    let cold = run(&place, command(&place));
    assert_eq!(cold.code, Some(1), "{}", cold.seen());
    let warm = run(&place, command(&place));
    assert_eq!(warm.code, Some(1), "{}", warm.seen());
    assert!(warm.stdout.contains("from checkpoint"), "{}", warm.seen());
}

/// OCR, Python packages, what is for runs by hand, machines that the script makes (nixpkgs 26.05 or newer).
#[test]
#[ignore = "needs a nixpkgs tree: make nixos-machines NIXPKGS=PATH"]
fn what_tests_of_nixpkgs_may_ask_for() {
    passes("nixos/features.nix", &[]);
}

/// Commands that follow come to the new kernel's system.
#[test]
#[ignore = "needs a nixpkgs tree: make nixos-machines NIXPKGS=PATH"]
fn a_kernel_that_starts_another() {
    passes("nixos/kexec.nix", &[]);
}

/// Each run restores the machine (nixpkgs 23.05 or newer).
#[test]
#[ignore = "needs a nixpkgs tree: make nixos-machines NIXPKGS=PATH"]
fn a_watch() {
    let place = Place::new();
    let text = fs::read_to_string(fixture_path("nixos/plain.nix")).unwrap();
    let file = place.write("plain.nix", &text);
    let more = ["--snapshot-safe"];
    let mut command = on_nixos(&place, "watch", file.to_str().unwrap(), &more, &[]);
    command
        .env_remove("CI")
        .env("XDG_CACHE_HOME", place.path().join("cache"));
    let child = place.start_shown(command);
    let pid = child.id();
    place.wait_for_text("shown", "failed: plain");
    place.write("plain.nix", &text.replace("test -e /tmp/there", "true"));
    place.wait_for_text("shown", "from checkpoint");
    place.wait_for_text("shown", "passed: plain");
    signal(pid, "INT");
    assert_eq!(place.finish(child).code, Some(130));
    place.assert_tidy();
}

/// A changed machine is restored, and switched to its new system (nixpkgs 26.05 or newer, virtiofsd of the suite).
#[test]
#[ignore = "needs a nixpkgs tree: make nixos-machines NIXPKGS=PATH"]
fn a_redeployment() {
    let place = Place::new();
    let with = |text: &str| {
        format!(
            r#"{{
              name = "redeployed";
              nodes.machine.environment.etc.version.text = "{text}";
              testScript = ''
                machine.wait_for_unit("multi-user.target")
                checkpoint("booted here")
                print("it has", machine.succeed("cat /etc/version; cat /proc/sys/kernel/random/boot_id"))
              '';
            }}"#
        )
    };
    let file = place.write("test.nix", &with("first"));
    let more = ["--snapshot-safe=virtiofs"];
    let mut command = on_nixos(
        &place,
        "watch",
        file.to_str().unwrap(),
        &more,
        &["--redeploy"],
    );
    command
        .env_remove("CI")
        .env("XDG_CACHE_HOME", place.path().join("cache"));
    let child = place.start_shown(command);
    let pid = child.id();
    place.wait_for_text("shown", "watching ");
    place.write("test.nix", &with("second"));
    place.wait_for_text("shown", "without a boot");
    place.wait_for_text("shown", "it has second");
    signal(pid, "INT");
    assert_eq!(place.finish(child).code, Some(130));
    let shown = fs::read_to_string(place.path().join("shown")).unwrap();
    let boots: std::collections::HashSet<&str> = shown
        .lines()
        .filter(|line| line.len() == 36 && line.matches('-').count() == 4)
        .collect();
    assert_eq!(boots.len(), 1, "{shown}");
    place.assert_tidy();
}

/// What is for runs by hand is in the machines of the prompt (nixpkgs 23.05 or newer).
#[test]
#[ignore = "needs a nixpkgs tree: make nixos-machines NIXPKGS=PATH"]
fn a_prompt() {
    let place = Place::new();
    let test = "nixos/features.nix";
    let mut user = Pty::spawn(&mut on_nixos(&place, "repl", test, &[], &[]));
    user.wait_for(">>> ");
    user.type_in("machine.succeed('cat /etc/by-hand')\n");
    user.wait_for("'yes'");
    user.wait_for(">>> ");
    user.type_in("\x04");
    assert_eq!(user.end(), Some(0));
    place.assert_tidy();
}

/// The flake's own package, made of sources with Debian's Rust (nixpkgs 26.05 or newer, Rust of Cargo.toml).
#[test]
#[ignore = "needs a nixpkgs tree: make nixos-machines NIXPKGS=PATH"]
fn the_package_of_our_flake() {
    let place = Place::new();
    let flake = format!(
        r#"{{
          inputs.nixpkgs.url = "path:{}";
          inputs.snowglobe.url = "git+file://{}";
          inputs.snowglobe.inputs.nixpkgs.follows = "nixpkgs";
          outputs = {{ snowglobe, ... }}: {{ inherit (snowglobe) packages; }};
        }}"#,
        nixpkgs_tree(),
        env!("CARGO_MANIFEST_DIR"),
    );
    let flake = place.write("flake.nix", &flake);
    let package = format!("{}#snowglobe", flake.parent().unwrap().display());
    let built = run(
        &place,
        on_nixos(&place, "build", &package, &[], &["-o", "link"]),
    );
    assert_eq!(built.code, Some(0), "{}", built.seen());

    let mut command = Command::new(place.path().join("link/bin/snowglobe"));
    command
        .args(["run", "--nixpkgs", "builtin", "--cold"])
        .arg(fixture_path("hello.nix"))
        .current_dir(place.path())
        .env("TMPDIR", place.path().join("tmp"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let ended = run(&place, command);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
}

/// Each card of a machine in one network has its own address (nixpkgs 23.05 or newer).
#[test]
#[ignore = "needs a nixpkgs tree: make nixos-machines NIXPKGS=PATH"]
fn cards_in_one_network() {
    passes("nixos/cards.nix", &[]);
}

/// Three machines and their network, without a virtual machine (nixpkgs 23.05 or newer).
#[test]
#[ignore = "needs a nixpkgs tree: make nixos-machines NIXPKGS=PATH"]
fn containers() {
    let selection = ["-A", "nsd", "--backend", "container"];
    passes("nixpkgs/all-tests.nix", &selection);
}

/// On a host whose kernel has layers above mounts with mapped IDs (Linux 5.19).
#[test]
#[ignore = "needs a nixpkgs tree: make nixos-machines NIXPKGS=PATH"]
fn nix_in_a_container() {
    passes("nixos/nix.nix", &["--backend", "container"]);
}

/// With `vhost-device-vsock` on PATH.
#[test]
#[ignore = "needs a nixpkgs tree: make nixos-machines NIXPKGS=PATH"]
fn an_ssh_backdoor() {
    passes("nixos/ssh.nix", &[]);
}

/// In containers, whose systems differ from those of the virtual machines that the script names.
#[test]
#[ignore = "needs a nixpkgs tree: make nixos-machines NIXPKGS=PATH"]
fn switching_to_another_system() {
    passes("nixos/specialisation.nix", &["--backend", "container"]);
}

/// Options of users' modules on kernel, devices, clocks and QEMU keep `auto` from containers.
#[test]
#[ignore = "needs a nixpkgs tree: make nixos-machines NIXPKGS=PATH"]
fn options_that_containers_cannot_do() {
    let place = Place::new();
    let more = ["--backend", "auto", "--format", "json"];
    let ended = run(
        &place,
        on_nixos(&place, "eval", "nixos/obstacles.nix", &[], &more),
    );
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    let manifest: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let obstacles = |node: &str| manifest["nodes"][node]["container_obstacles"].clone();
    assert_eq!(obstacles("plain"), json!([]));
    assert_eq!(obstacles("disks"), json!(["virtualisation.fileSystems"]));
    assert_eq!(obstacles("special"), json!(["boot.kernelModules"]));
    assert_eq!(
        obstacles("kernel"),
        json!([
            "boot.kernel.sysctl",
            "boot.kernelModules",
            "boot.kernelPackages"
        ])
    );
    assert_eq!(obstacles("early"), json!(["boot.initrd.systemd.enable"]));
    assert_eq!(
        obstacles("devices"),
        json!(["hardware.uinput.enable", "virtualisation.qemu.options"])
    );
    assert_eq!(obstacles("imported"), json!(["services.chrony.enable"]));
}

/// `containers.NAME` (nixpkgs 26.05 or newer).
#[test]
#[ignore = "needs a nixpkgs tree: make nixos-machines NIXPKGS=PATH"]
fn containers_of_nixpkgs() {
    passes("nixpkgs/all-tests.nix", &["-A", "simple-container"]);
}

/// Credentials and parts of the host; by the test's file, and by the configuration of nixpkgs' own driver (nixpkgs 26.05 or newer).
#[test]
#[ignore = "needs a nixpkgs tree: make nixos-machines NIXPKGS=PATH"]
fn containers_with_credentials() {
    let test = "nixos/containers.nix";
    passes(test, &[]);
    let place = Place::new();
    let expression = format!(
        "{{ pkgs ? import <nixpkgs> {{ }} }}: (pkgs.testers.runNixOSTest {}).config.driverConfigurationFile",
        fixture_path(test).display()
    );
    let file = place.write("configuration.nix", &expression);
    let built = run(
        &place,
        on_nixos(
            &place,
            "build",
            file.to_str().unwrap(),
            &[],
            &["-o", "link"],
        ),
    );
    assert_eq!(built.code, Some(0), "{}", built.seen());
    let ended = place.run(&["driver", "--config", "link"]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    place.assert_tidy();
}

/// In Nix' sandbox, which has no /dev/net and gives the build a range of user IDs (Nix 2.12, nixpkgs 26.05, or newer).
#[test]
#[ignore = "needs a nixpkgs tree: make nixos-machines NIXPKGS=PATH"]
fn containers_in_a_build() {
    for (test, more) in [
        ("service-runner", &["--backend", "container"][..]),
        ("simple-container", &[]),
    ] {
        let place = Place::new();
        let mut selection = vec!["-A", test];
        selection.extend(more);
        let options = [
            "--as-derivation",
            "--option",
            "extra-experimental-features",
            "auto-allocate-uids cgroups",
            "--option",
            "auto-allocate-uids",
            "true",
            "--option",
            "use-cgroups",
            "true",
        ];
        let command = on_nixos(&place, "run", "nixpkgs/all-tests.nix", &selection, &options);
        let ended = run(&place, command);
        assert_eq!(ended.code, Some(0), "{}", ended.seen());
    }
}

/// Machines with Debian's packages in a check of a flake, run in Nix' sandbox (nixpkgs 26.05 or newer).
#[test]
#[ignore = "needs a nixpkgs tree: make nixos-machines NIXPKGS=PATH"]
fn a_flake_check() {
    let place = Place::new();
    let pinned = place.write("program.json", "");
    let ended = place.run(&["guest", "pin", pinned.to_str().unwrap()]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    let flake = format!(
        r#"{{
          inputs.nixpkgs.url = "path:{tree}";
          inputs.snowglobe.url = "git+file://{project}";
          inputs.snowglobe.inputs.nixpkgs.follows = "nixpkgs";
          outputs =
            {{ nixpkgs, snowglobe, ... }}:
            let
              builtin = import "${{snowglobe}}/nix-lib/builtin" {{
                index = builtins.fromJSON (builtins.readFile ./program.json);
              }};
              pkgs = (import "${{snowglobe}}/nix-lib/debian").nixpkgs nixpkgs.outPath {{
                system = "x86_64-linux";
                overlays = [ (_: _: {{ inherit (builtin) snowglobe; }}) ];
              }};
            in
            {{
              checks.x86_64-linux.plain = snowglobe.lib.mkCheck {{
                inherit pkgs;
                allowEmulation = true;
                test = pkgs.testers.runNixOSTest {{
                  name = "plain";
                  nodes.machine = {{ }};
                  testScript = "machine.succeed('test -e /run/current-system')";
                }};
              }};
            }};
        }}"#,
        tree = nixpkgs_tree(),
        project = env!("CARGO_MANIFEST_DIR"),
    );
    place.write("flake.nix", &flake);
    // The machine of this test is made of the same packages.
    fetch(&place, &options("nixos/plain.nix"));

    let suite = std::env::var("SNOWGLOBE_SUITE").unwrap_or("own".to_owned());
    let data = std::env::var("XDG_DATA_HOME")
        .unwrap_or_else(|_| std::env::var("HOME").unwrap() + "/.local/share");
    let index = format!("{data}/snowglobe/debian-{suite}");
    let mut command = Command::new("nix");
    command
        .args(["--extra-experimental-features", "nix-command flakes"])
        .args(["flake", "check", "path:.", "--impure", "--print-build-logs"])
        .args(["--option", "substituters", ""])
        .args(["-I", &format!("snowglobe-debian-index={index}.json")])
        .args(["-I", &format!("snowglobe-debian-names={index}-names.json")])
        .current_dir(place.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let ended = run(&place, command);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    assert!(ended.stderr.contains("passed: plain"), "{}", ended.seen());
}

#[test]
#[ignore = "needs a nixpkgs tree: make nixos-machines NIXPKGS=PATH"]
fn the_command_line_of_nixpkgs_own_driver() {
    let place = Place::new();
    let test = "nixpkgs/all-tests.nix";
    let driver = ["-A", "env.driver"];
    let built = run(
        &place,
        on_nixos(&place, "build", test, &driver, &["-o", "link"]),
    );
    assert_eq!(built.code, Some(0), "{}", built.seen());

    // The wrapper's own arguments and variables, for another program.
    let wrapper = fs::read_to_string(place.path().join("link/bin/nixos-test-driver")).unwrap();
    let (before, after) = wrapper.rsplit_once("exec ").unwrap();
    let (_, arguments) = after.split_once("-wrapped\"").unwrap();
    let program = env!("CARGO_BIN_EXE_snowglobe");
    let script = place.write(
        "driver",
        &format!("{before}exec {program} driver {arguments}"),
    );
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(place.path().join("out")).unwrap();
    let mut driver = Command::new(&script);
    driver
        .current_dir(place.path())
        .env("out", "out")
        .env("tests", "exec(os.environ[\"testScript\"])")
        .env("TMPDIR", place.path().join("tmp"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let ended = run(&place, driver);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
}
