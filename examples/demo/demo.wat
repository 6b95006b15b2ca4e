;; Lists the root directory, prints /etc/motd, then writes /tmp/note and reads it back: four things with files, spelt
;; in the system calls of WASI preview 1. The first preopened directory is descriptor 3.
(module
  (import "wasi_snapshot_preview1" "fd_readdir"
    (func $fd_readdir (param i32 i32 i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))

  (memory (export "memory") 1)
  ;; 0: an iovec.  8: a count.  16: a descriptor.  4096: a buffer of 4096 bytes.
  (data (i32.const 100) "etc/motd")
  (data (i32.const 120) "tmp/note")
  (data (i32.const 140) "written to memory: the image stays as it is\n")
  (data (i32.const 200) "/ holds: ")
  (data (i32.const 220) " ")
  (data (i32.const 221) "\n")

  (func $check (param $errno i32)
    (if (local.get $errno) (then (call $proc_exit (local.get $errno)))))

  ;; Writes all of a text that is short enough to be written at once.
  (func $write (param $fd i32) (param $text i32) (param $len i32)
    (i32.store (i32.const 0) (local.get $text))
    (i32.store (i32.const 4) (local.get $len))
    (call $check (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))))

  ;; Opens a path below the root with these oflags and rights, following links.
  (func $open (param $path i32) (param $len i32) (param $oflags i32) (param $rights i64) (result i32)
    (call $check (call $path_open (i32.const 3) (i32.const 1) (local.get $path) (local.get $len)
      (local.get $oflags) (local.get $rights) (local.get $rights) (i32.const 0) (i32.const 16)))
    (i32.load (i32.const 16)))

  ;; Prints the first 4096 bytes of a file.
  (func $print (param $path i32) (param $len i32)
    (local $fd i32)
    (local.set $fd (call $open (local.get $path) (local.get $len) (i32.const 0) (i64.const 2)))
    (i32.store (i32.const 0) (i32.const 4096))
    (i32.store (i32.const 4) (i32.const 4096))
    (call $check (call $fd_read (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)))
    (call $check (call $fd_close (local.get $fd)))
    (call $write (i32.const 1) (i32.const 4096) (i32.load (i32.const 8))))

  ;; Prints the names in the root directory, as many as fit into 4096 bytes, without `.` and `..`.
  (func $list
    (local $at i32) (local $end i32) (local $len i32)
    (call $write (i32.const 1) (i32.const 200) (i32.const 8))
    (call $check (call $fd_readdir (i32.const 3) (i32.const 4096) (i32.const 4096) (i64.const 0) (i32.const 8)))
    (local.set $at (i32.const 4096))
    (local.set $end (i32.add (i32.const 4096) (i32.load (i32.const 8))))
    (loop $next
      (if (i32.le_u (i32.add (local.get $at) (i32.const 24)) (local.get $end))
        (then
          (local.set $len (i32.load offset=16 (local.get $at)))
          ;; A name that begins with a dot is not shown.
          (if (i32.ne (i32.load8_u offset=24 (local.get $at)) (i32.const 46))
            (then
              (call $write (i32.const 1) (i32.const 220) (i32.const 1))
              (call $write (i32.const 1) (i32.add (local.get $at) (i32.const 24)) (local.get $len))))
          (local.set $at (i32.add (local.get $at) (i32.add (i32.const 24) (local.get $len))))
          (br $next))))
    (call $write (i32.const 1) (i32.const 221) (i32.const 1)))

  (func (export "_start")
    (local $fd i32)
    (call $list)
    (call $print (i32.const 100) (i32.const 8))
    ;; oflags: create. Rights: fd_write.
    (local.set $fd (call $open (i32.const 120) (i32.const 8) (i32.const 1) (i64.const 64)))
    (call $write (local.get $fd) (i32.const 140) (i32.const 44))
    (call $check (call $fd_close (local.get $fd)))
    (call $print (i32.const 120) (i32.const 8))))
