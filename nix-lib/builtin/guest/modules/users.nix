# users.*: accounts and groups, laid over those of the guest's root image.
{
  lib,
  config,
  pkgs,
  guestBoot,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.users;
  text =
    default: description:
    mkOption {
      type = types.str;
      inherit default description;
    };
  maybe =
    type: description:
    mkOption {
      type = types.nullOr type;
      default = null;
      inherit description;
    };

  user =
    { name, config, ... }:
    {
      options = {
        name = text name "The account's name.";
        description = text "" "Whose account it is.";
        uid = maybe types.int "The number; null takes the next free one.";
        group = text "" "The main group; empty means one of the account's own name for people, nogroup for systems.";
        extraGroups = mkOption {
          type = types.listOf types.str;
          default = [ ];
          description = "More groups.";
        };
        isSystemUser = mkOption {
          type = types.bool;
          default = false;
          description = "Whether it is a system's account: number below 1000, no home.";
        };
        isNormalUser = mkOption {
          type = types.bool;
          default = false;
          description = "Whether it is a person's account: home, shell, group `users`.";
        };
        home = text (if config.isNormalUser then "/home/${name}" else "/var/empty") "The home folder.";
        createHome = mkOption {
          type = types.bool;
          default = config.isNormalUser;
          description = "Whether the home folder is made at boot.";
        };
        homeMode = text "700" "The mode of the home folder, in octal digits.";
        shell = mkOption {
          type = types.either types.package types.path;
          default = if config.isNormalUser then "/bin/bash" else "/usr/sbin/nologin";
          description = "The login shell.";
        };
        password = maybe types.str "The password in clear; an empty one lets anybody in.";
        initialPassword = maybe types.str "As `password`.";
        hashedPassword = maybe types.str "The password as crypt(3) hashes it.";
        initialHashedPassword = maybe types.str "As `hashedPassword`.";
      };
    };
  group =
    { name, ... }:
    {
      options = {
        name = text name "The group's name.";
        gid = maybe types.int "The number; null takes the next free one.";
        members = mkOption {
          type = types.listOf types.str;
          default = [ ];
          description = "Accounts in the group.";
        };
      };
    };

  clearPassword =
    account: if account.password != null then account.password else account.initialPassword;
  hashedPassword =
    account:
    if account.hashedPassword != null then account.hashedPassword else account.initialHashedPassword;

  # Fields for the script below, one account or group a line. A field is never
  # empty, since the shell would swallow it: "-" means none.
  field = value: if value == null || value == "" then "-" else toString value;
  userLine =
    account:
    let
      main =
        if account.group != "" then
          account.group
        else if account.isNormalUser then
          "users"
        else
          "nogroup";
    in
    lib.concatStringsSep "\t" [
      account.name
      (field account.uid)
      main
      (if account.isNormalUser then "1000" else "400")
      account.home
      (if lib.isDerivation account.shell then lib.getExe account.shell else account.shell)
      (field account.description)
      (
        if clearPassword account != null then
          "clear"
        else if hashedPassword account != null then
          "hashed"
        else
          "none"
      )
      (field (if clearPassword account != null then clearPassword account else hashedPassword account))
      (field (lib.concatStringsSep "," account.extraGroups))
    ];
  groupLine =
    entry:
    lib.concatStringsSep "\t" [
      entry.name
      (field entry.gid)
      (field (lib.concatStringsSep "," entry.members))
    ];
  # Root is in the image already: only its password is set.
  others = lib.filterAttrs (name: _: name != "root") cfg.users;
  lines = f: attrs: lib.concatMapStrings (value: "${f value}\n") (lib.attrValues attrs);
in
{
  options.users = {
    mutableUsers = mkOption {
      type = types.bool;
      default = true;
      description = "Accepted, and without meaning: the guest's root is new at every boot.";
    };
    users = mkOption {
      type = types.attrsOf (types.submodule user);
      default = { };
      description = "Accounts.";
    };
    groups = mkOption {
      type = types.attrsOf (types.submodule group);
      default = { };
      description = "Groups.";
    };
  };
  options.system.accounts = mkOption {
    type = types.package;
    description = "passwd, group and shadow of the guest (internal).";
  };

  config.system.accounts =
    pkgs.runCommand "accounts"
      {
        userLines = lines userLine others;
        groupLines = lines groupLine cfg.groups;
        rootLine = if cfg.users ? root then userLine cfg.users.root else "";
        passAsFile = [
          "userLines"
          "groupLines"
        ];
        base = guestBoot.guests.${config.virtualisation.guest}.accounts;
      }
      ''
        mkdir $out
        cp $base/passwd $base/group $base/shadow $out/
        chmod u+w $out/*
        free() { # the next number from $2 on that $1 does not use
          local n=$2
          while cut -d: -f3 $1 | grep -qx $n; do n=$((n + 1)); done
          echo $n
        }
        none() { [ "$1" = - ] || printf '%s' "$1"; }
        hash() { # how shadow holds a password: kind, value
          case $1 in
            clear) [ "$2" = - ] || busybox mkpasswd -m sha512 -S snowglobe "$2" ;;
            hashed) printf '%s' "$2" ;;
            none) printf '!' ;;
          esac
        }
        join() { # adds account $1 to group $2
          grep -q "^$2:" $out/group || { echo "account $1: there is no group $2" >&2; exit 1; }
          sed -i "s/^\($2:.*:\)\(.\{1,\}\)$/\1\2,$1/; s/^\($2:.*:\)$/\1$1/" $out/group
        }

        while IFS=$'\t' read -r name gid members; do
          grep -q "^$name:" $out/group && continue
          [ "$gid" != - ] || gid=$(free $out/group 400)
          echo "$name:x:$gid:$(none "$members")" >> $out/group
        done < $groupLinesPath

        while IFS=$'\t' read -r name uid group first home shell description kind password groups; do
          [ "$uid" != - ] || uid=$(free $out/passwd $first)
          gid=$(sed -n "s/^$group:[^:]*:\([0-9]*\):.*/\1/p" $out/group)
          [ -n "$gid" ] || { echo "account $name: there is no group $group" >&2; exit 1; }
          for file in passwd shadow; do
            grep -v "^$name:" $out/$file > $out/new && mv $out/new $out/$file
          done
          echo "$name:x:$uid:$gid:$(none "$description"):$home:$shell" >> $out/passwd
          echo "$name:$(hash $kind "$password"):19000:0:99999:7:::" >> $out/shadow
          for extra in $(none "$groups" | tr , ' '); do join $name $extra; done
        done < $userLinesPath

        if [ -n "$rootLine" ]; then
          IFS=$'\t' read -r name uid group first home shell description kind password groups <<< "$rootLine"
          [ $kind = none ] || sed -i "s|^root:[^:]*:|root:$(hash $kind "$password"):|" $out/shadow
        fi
        chmod 644 $out/*
      '';
}
