/* Loaded into systemd: as PID 1 it makes the links that Debian's programs need, whose places are compiled in.
   In the initrd, systemctl makes the one through which the next PID 1 is found. It uses no C library,
   since it is loaded before one is set up. `links.h` is written by systemd.py. */

enum { SYS_ACCESS = 21, SYS_GETPID = 39, SYS_MKDIR = 83, SYS_UNLINK = 87, SYS_SYMLINK = 88, SYS_READLINK = 89 };

static long call(long number, long first, long second, long third) {
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(first), "S"(second), "d"(third)
                   : "rcx", "r11", "memory");
  return result;
}

static int exists(const char *path) { return call(SYS_ACCESS, (long)path, 0, 0) >= 0; }

static void make_parents(const char *path) {
  char parent[256];
  for (int i = 0; path[i] && i < 255; i++) {
    parent[i] = path[i];
    if (i && path[i] == '/') {
      parent[i] = 0;
      call(SYS_MKDIR, (long)parent, 0755, 0);
      parent[i] = '/';
    }
  }
}

/* What is no link stays. */
static void make_link(const char *path, const char *target) {
  char old[8];
  make_parents(path);
  if (call(SYS_READLINK, (long)path, (long)old, sizeof old) > 0)
    call(SYS_UNLINK, (long)path, 0, 0);
  call(SYS_SYMLINK, (long)target, (long)path, 0);
}

/* A target that begins with `?` is linked to only if it is there, and one that begins with `!` only
   if nothing is at the place of the link: it comes later, and an initrd has its own. */
static const char *const links[][2] = {
#include "links.h"
};

__attribute__((constructor)) static void start(void) {
  if (call(SYS_GETPID, 0, 0, 0) == 1) {
    for (unsigned i = 0; i < sizeof links / sizeof *links; i++) {
      const char *target = links[i][1];
      int is_wanted = *target == '?' ? exists(target + 1) : *target == '!' ? !exists(links[i][0]) : 1;
      if (is_wanted)
        make_link(links[i][0], *target == '/' ? target : target + 1);
    }
  } else if (exists("/etc/initrd-release") && exists("/sysroot/nix/store")) {
    make_link("/sysroot/usr/lib/systemd", TREE "/lib/systemd");
  }
}
