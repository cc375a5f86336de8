//! The edit of one node of several: it alone is evaluated, where the others cannot see a difference.

use serde_json::Value;

use crate::harness::Place;

/// The form of nixpkgs' `runNixOSTest`, in a tree that has the form of nixpkgs: each node has all others in its hosts file.
const LIBRARY: &str = r#"
  { ... }:
  let
    slow = builtins.foldl' builtins.add 0 (builtins.genList (number: number) 6000000);
    make = test: rec {
      inherit (config) nodes;
      config = {
        inherit (test) name;
        globalTimeout = 10;
        enableOCR = false;
        skipLint = false;
        testScriptString = test.testScript;
        hostPkgs = {
          stdenv.hostPlatform.system = "x86_64-linux";
          stdenv.shell = "/bin/sh";
          python3Packages = { };
          coreutils = "/no-coreutils";
        };
        interactive = config;
        nodes = builtins.mapAttrs node test.nodes;
      };
      node =
        name: given:
        let
          value = if builtins.isFunction given then given { inherit nodes; } else given;
          vlan = value.vlan or 1;
          others = builtins.concatStringsSep " " (
            map (other: "${other.networking.primaryIPAddress}=${other.networking.hostName}") (
              builtins.attrValues nodes
            )
          );
        in
        {
          system.name = name;
          system.build.vm = derivation {
            name = "vm-${name}";
            system = "x86_64-linux";
            builder = "/bin/sh";
            hosts = others;
            # The names of the nodes are known long before: a run evaluates the nodes in parts then.
            text = builtins.seq slow (value.text or "");
          };
          networking = {
            hostName = value.hostName or name;
            primaryIPAddress = "192.168.${toString vlan}.1";
            interfaces = { };
          };
          virtualisation = {
            vlans = [ vlan ];
            memorySize = 100;
          };
        };
    };
  in
  {
    testers.runNixOSTest = make;
  }
"#;

struct Edits {
    place: Place,
}

impl Edits {
    fn new() -> Self {
        let place = Place::new();
        for folder in ["nixpkgs/nixos/modules", "cache", "fresh"] {
            std::fs::create_dir_all(place.path().join(folder)).unwrap();
        }
        place.write("nixpkgs/default.nix", LIBRARY);
        place.write("nixpkgs/nixos/modules/module-list.nix", "[ ]");
        Self { place }
    }

    fn write(&self, nodes: &str) {
        let text = format!(
            "(import ./nixpkgs {{ }}).testers.runNixOSTest {{\n  name = \"edited\";\n{nodes}\n  testScript = \"pass\";\n}}\n"
        );
        self.place.write("test.nix", &text);
    }

    fn manifest(&self, cache: &str) -> Value {
        let mut command = self
            .place
            .command_again(&["eval", "test.nix", "--format", "json"]);
        command.env("XDG_CACHE_HOME", self.place.path().join(cache));
        let ended = self.place.finish(command.spawn().unwrap());
        assert_eq!(ended.code, Some(0), "{}", ended.seen());
        serde_json::from_str(&ended.stdout).unwrap()
    }

    /// Evaluates the test as a run does, whose machines cannot be built: with `alone`, this node alone is evaluated. What
    /// is remembered is what an evaluation without memory gives.
    fn edit(&self, nodes: &str, alone: Option<&str>) {
        self.write(nodes);
        self.place.settle();
        let options = ["run", "test.nix", "--eval-jobs", "2"];
        let mut command = self.place.command_again(&options);
        command
            .env("XDG_CACHE_HOME", self.place.path().join("cache"))
            .env("SNOWGLOBE_LOG", "snowglobe=info");
        let ended = self.place.finish(command.spawn().unwrap());
        assert_eq!(ended.code, Some(3), "{}", ended.seen());
        std::fs::remove_dir_all(self.place.path().join("fresh")).unwrap();
        assert_eq!(self.manifest("cache"), self.manifest("fresh"), "{nodes}");
        let seen = ended.seen();
        assert!(!seen.contains("is not remembered"), "{nodes}\n{seen}");
        let found = seen.split("the node ").nth(1);
        let found = found.and_then(|rest| rest.split_once(" alone was evaluated"));
        assert_eq!(found.map(|(name, _)| name), alone, "{nodes}\n{seen}");
    }
}

#[test]
fn an_edited_node_is_evaluated_alone() {
    let edits = Edits::new();
    let edit = |a: &str, b: &str, alone| {
        let nodes = format!("  nodes.a = {{ {a} }};\n  nodes.b = {{ {b} }};");
        edits.edit(&nodes, alone);
    };
    edit("", "text = \"1\";", None);
    edit("", "text = \"2\";", Some("b"));
    edit("", "text = \"3\";", Some("b"));
    edit("text = \"1\";", "text = \"3\";", Some("a"));
    // What the other one sees.
    edit("text = \"1\";", "vlan = 2;", None);
    edit("text = \"1\";", "hostName = \"other\";", None);
    let renamed = "hostName = \"other\"; text = \"x\";";
    edit("text = \"1\";", renamed, Some("b"));
    // More than one, another set of nodes.
    edit("", "text = \"y\";", None);
    let edit = |c: &str, alone| {
        let nodes = format!("  nodes.a = {{ }};\n  nodes.c = {c};");
        edits.edit(&nodes, alone);
    };
    edit("{ }", None);
    // A file that asks for the others: this once it is that of the edited node, and then all depend on it.
    let file = "{ nodes }: { text = nodes.a.system.build.vm.text; }";
    edits.place.write("c.nix", file);
    edit("import ./c.nix", Some("c"));
    edit("{ text = \"z\"; }", None);
}

#[test]
fn nodes_that_may_see_each_other_are_evaluated_together() {
    for (first, second, b) in [
        // A module that asks for the others.
        (
            "{ nodes }: { text = nodes.b.system.build.vm.text; }",
            None,
            "{ text = \"1\"; }",
        ),
        (
            "args: { text = (builtins.head (builtins.attrValues args)).b.system.build.vm.text; }",
            None,
            "{ text = \"1\"; }",
        ),
        // The same in a file of its own.
        (
            "import ./a.nix",
            Some("{ nodes }: { text = nodes.b.system.build.vm.text; }"),
            "{ text = \"1\"; }",
        ),
        // Names that more than one node has.
        (
            "{ text = builtins.toJSON rest; }",
            None,
            "{ text = \"1\"; }",
        ),
    ] {
        let edits = Edits::new();
        edits.place.write("a.nix", second.unwrap_or("{ }"));
        let nodes = |b: &str| {
            let text = format!("  nodes = {{ a = {first}; b = {b}; }};");
            if first.contains("rest") {
                return format!("  nodes = let rest = {b}; in {{ a = {first}; b = rest; }};");
            }
            text
        };
        edits.edit(&nodes(b), None);
        edits.edit(&nodes("{ text = \"2\"; }"), None);
    }
}
