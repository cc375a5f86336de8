# Debian packages as store packages: one derivation for each .deb (for those
# that need each other in a circle, such as the C library's, one for the
# circle), with programs made independent of the machine's own libraries: their
# interpreter and library paths point into the store.
{
  index,
  build,
  # Runs the scripts that unpack and patch.
  python ? import ./python.nix { inherit index build; },
  # Units whose scripts get a shell of their own for /bin/sh, and the others
  # that a unit needs beyond what Debian says: libraries that it opens by name.
  shell ? null,
  opens ? _: [ ],
}:
let
  inherit (builtins)
    attrNames
    concatMap
    elem
    filter
    genericClosure
    head
    listToAttrs
    mapAttrs
    match
    ;
  inherit (build) deb local;

  scripts = builtins.filterSource (path: _: match ".*\\.py" path != null) ./.;

  closure =
    names:
    map (item: item.key) (genericClosure {
      startSet = map (key: { inherit key; }) names;
      operator = { key }: map (key: { inherit key; }) index.units.${key}.depends;
    });

  # What the shell itself needs keeps /bin/sh, or it would need itself.
  belowShell = if shell == null then [ ] else closure [ shell ];

  buildUnit =
    name: unit:
    let
      isFree = other: index.units ? ${other} && other != name && !(elem name (closure [ other ]));
      opened = filter (other: isFree other && !(elem other unit.depends)) (opens name);
    in
    derivation (
      local
      // {
        # Store names take fewer characters than Debian's.
        name = "debian-${builtins.replaceStrings [ "~" ] [ "-" ] name}";
        debs = map deb unit.debs;
        dependencies = map (other: units.${other}) (unit.depends ++ opened);
        below = map (other: units.${other}) (closure unit.depends);
        shell = if shell == null || elem name belowShell then "" else "${units.${shell}}/bin/${shell}";
        patchelf = toString python.patchelf;
        inherit (build) busybox;
        inherit (build.platform) triplet loader;
      }
      // python.runs "${scripts}/unit.py"
    )
    // {
      pname = name;
      version = index.debs.${head unit.debs}.version;
    };

  units = mapAttrs buildUnit index.units;

  # The name of the unit that holds a package.
  unitOf = listToAttrs (
    concatMap (
      unit:
      map (name: {
        inherit name;
        value = unit;
      }) index.units.${unit}.debs
    ) (attrNames index.units)
  );
  unitsOf = names: filter (name: name != null) (map (name: unitOf.${name} or null) names);
in
{
  inherit python scripts unitOf;

  # The units by Debian's package names.
  packages = mapAttrs (
    name: unit:
    units.${unit}
    // {
      pname = name;
      meta.mainProgram = name;
    }
  ) unitOf;

  # Whether packages need another one, as far as they are fetched, and all that they need.
  need = other: names: elem unitOf.${other} or null (closure (unitsOf names));
  closure = names: map (name: units.${name}) (closure (unitsOf names));

  # The name among those of the index that a pattern describes.
  named =
    pattern:
    let
      found = filter (name: match pattern name != null) (attrNames index.debs);
    in
    if found == [ ] then null else head found;
}
