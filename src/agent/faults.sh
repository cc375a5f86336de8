# shellcheck shell=bash
# Faults in a guest. Those of its clock call set_clock of clock.sh.

# press_memory BYTES: takes memory with files of a file system in memory; prints its folder.
press_memory() {
  local folder name kib _
  while read -r name kib _; do
    if [ "$name" = MemAvailable: ] && [ "$((kib * 1024))" -le "$1" ]; then
      echo "only $kib KiB are available" >&2
      return 1
    fi
  done < /proc/meminfo
  folder=$(mktemp -d /run/snowglobe-memory-XXXXXX)
  if ! mount -t tmpfs -o "size=$1,mode=0700" tmpfs "$folder"; then
    rmdir "$folder"
    return 1
  fi
  if ! head -c "$1" /dev/zero > "$folder/memory"; then
    release_memory "$folder"
    return 1
  fi
  echo "$folder"
}

# release_memory FOLDER: gives it back.
release_memory() {
  umount "$1" && rmdir "$1"
}

# jump_clock SECONDS: moves the system clock.
jump_clock() {
  set_clock "$(($(date +%s) + $1))" 0
}

# drift_clock MILLIONTHS: has the system clock go at this rate until it is killed.
drift_clock() {
  local start now up centiseconds
  start=$(date +%s)
  up=$(uptime_centiseconds)
  while sleep 0.2 2> /dev/null || sleep 1; do
    now=$(uptime_centiseconds)
    centiseconds=$(((now - up) * $1 / 1000000))
    set_clock $((start + centiseconds / 100)) "$(printf %02d $((centiseconds % 100)))"
  done
}

# uptime_centiseconds: prints the time since the boot, which no clock setting changes.
uptime_centiseconds() {
  local up _
  read -r up _ < /proc/uptime
  echo "${up/./}"
}

# kill_processes SIGNAL PATTERN: sends a signal to the processes whose command lines match an extended regular
# expression, but not to this shell; prints their number.
kill_processes() {
  local folder pid line count=0
  for folder in /proc/[0-9]*; do
    pid=${folder#/proc/}
    case " 1 $$ $PPID $BASHPID " in *" $pid "*) continue ;; esac
    line=$({ tr '\0' ' ' < "$folder/cmdline"; } 2> /dev/null) || continue
    line=${line% }
    # This shell and its helpers hold the pattern themselves.
    case "$line" in '' | *kill_processes*) continue ;; esac
    [[ $line =~ $2 ]] || continue
    kill -s "$1" "$pid" 2> /dev/null && count=$((count + 1))
  done
  echo "$count"
}

# mount_of_disk DISK: prints where a partition of a disk, or the disk, is mounted and can be written.
mount_of_disk() {
  local device where _ options
  while read -r device where _ options _; do
    case "$device,$options," in
      "/dev/$1"*,rw,*)
        printf '%b\n' "$where"
        return
        ;;
    esac
  done < /proc/mounts
  echo "no file system of the disk $1 is mounted" >&2
  return 1
}

# fill_disk DISK: writes a file until the file system of a disk has no room; prints its path.
fill_disk() {
  local where file
  where=$(mount_of_disk "$1") || return
  file="${where%/}/.snowglobe-full"
  # Ever smaller pieces, so that nothing is left.
  for size in 1048576 4096 1; do
    dd if=/dev/zero of="$file.$size" bs="$size" > /dev/null 2>&1 || true
  done
  sync
  echo "$file"
}

# free_disk FILE: removes what fill_disk has written.
free_disk() {
  rm -f -- "$1".1048576 "$1".4096 "$1".1 && sync
}
