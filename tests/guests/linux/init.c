// The first program of a Linux that is booted with an archive of ours: prints what the kernel unpacked, one node a
// line, and ends the machine. Nothing is mounted, so that the tree is the archive's alone.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static char path[8192];

static void fail(const char *what) {
  printf("FAILED: %s: %s: %s\n", path, what, strerror(errno));
}

// Paths are printed in hexadecimal digits: a console has bytes of its own.
static void print_hex(const char *bytes, size_t len) {
  for (size_t at = 0; at < len; at++)
    printf("%02x", (unsigned char)bytes[at]);
}

// FNV-1a, of 64 bits.
static void print_hash(void) {
  static unsigned char buffer[1 << 16];
  int file = open(path, O_RDONLY);
  if (file < 0) {
    fail("open");
    return;
  }
  uint64_t hash = 0xcbf29ce484222325;
  ssize_t len;
  while ((len = read(file, buffer, sizeof buffer)) > 0)
    for (ssize_t at = 0; at < len; at++)
      hash = (hash ^ buffer[at]) * 0x100000001b3;
  if (len < 0)
    fail("read");
  close(file);
  printf(" %016llx", (unsigned long long)hash);
}

// hex-path mode owner:group links ino mtime, and then what the kind of node has.
static void print_node(void) {
  struct stat found;
  if (lstat(path, &found) != 0) {
    fail("lstat");
    return;
  }
  print_hex(path, strlen(path));
  printf(" %o %u:%u %lu %lu %lld", found.st_mode, found.st_uid, found.st_gid, S_ISDIR(found.st_mode) ? 0 : (unsigned long)found.st_nlink,
         S_ISDIR(found.st_mode) ? 0 : (unsigned long)found.st_ino, (long long)found.st_mtime);
  if (S_ISREG(found.st_mode)) {
    printf(" %lld", (long long)found.st_size);
    print_hash();
  } else if (S_ISLNK(found.st_mode)) {
    static char target[4097];
    ssize_t len = readlink(path, target, sizeof target);
    putchar(' ');
    if (len < 0)
      fail("readlink");
    else
      print_hex(target, len);
  } else if (S_ISCHR(found.st_mode) || S_ISBLK(found.st_mode)) {
    printf(" %u:%u", major(found.st_rdev), minor(found.st_rdev));
  }
  putchar('\n');
}

static void print_below(size_t len) {
  DIR *dir = opendir(path);
  if (!dir) {
    fail("opendir");
    return;
  }
  struct dirent *entry;
  while ((entry = readdir(dir))) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
      continue;
    size_t start = len > 1 ? len + 1 : len;
    path[start - 1] = '/';
    strcpy(path + start, entry->d_name);
    print_node();
    if (entry->d_type == DT_DIR)
      print_below(strlen(path));
    path[len] = 0;
  }
  closedir(dir);
}

int main(void) {
  puts("BEGIN");
  strcpy(path, "/");
  print_node();
  print_below(1);
  puts("END");
  fflush(stdout);
  // Let the last bytes through.
  usleep(50000);
  reboot(RB_AUTOBOOT);
  return 1;
}
