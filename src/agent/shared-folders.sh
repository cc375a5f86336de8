# shellcheck shell=bash
# Folders of the host that a guest mounts over 9p.

# mount_shared TAG FOLDER: mounts one, as nix-lib's first stage does.
mount_shared() {
  mkdir -p "$2" && mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 "$1" "$2"
}

# find_shared PATH TAG FOLDER: mounts the folder if PATH, which is in it, is not
# there. Checkpoints unmount it.
find_shared() {
  [ -e "$1" ] || mount_shared "$2" "$3"
}

# unmount_shared FOLDER…: unmounts these. Returns 10 if it has unmounted one, 11
# if another folder is mounted over 9p, or one of these is in use.
unmount_shared() {
  local _ where kind status=0
  while read -r _ where kind _; do
    [ "$kind" = 9p ] || continue
    case " $* " in
      *" $where "*) umount "$where" 2> /dev/null || return 11 ;;
      *) return 11 ;;
    esac
    status=10
  done < /proc/mounts
  return $status
}

# list_shared: prints what is mounted over 9p.
list_shared() {
  local _ where kind
  while read -r _ where kind _; do
    [ "$kind" != 9p ] || echo "$where"
  done < /proc/mounts
}

# copy_in STAGED TARGET: copies what the host has staged to its place.
copy_in() {
  mkdir -p -- "$(dirname -- "$2")" && copy_tree "$1" "$2"
}

# copy_tree SOURCE TARGET: copies a file or folder with its holes, if the guest's cp can.
copy_tree() {
  case $(cp --help 2>&1) in
    *--sparse*) cp -r --sparse=always -- "$1" "$2" ;;
    *) cp -r -- "$1" "$2" ;;
  esac
}
