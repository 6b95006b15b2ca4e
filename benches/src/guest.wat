;; Calls one WASI function many times, so that the cost of a call can be measured from outside.
(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_pwrite" (func $fd_pwrite (param i32 i32 i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_filestat_set_size" (func $set_size (param i32 i64) (result i32)))
  (import "wasi_snapshot_preview1" "fd_seek" (func $fd_seek (param i32 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_readdir" (func $fd_readdir (param i32 i32 i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_filestat_get"
    (func $path_filestat_get (param i32 i32 i32 i32 i32) (result i32)))

  ;; 0: results; 16: one iovec; 64: paths; 65536: buffer of 64 KiB
  (memory (export "memory") 2)
  (data (i32.const 64) "dir/data")
  (data (i32.const 72) "dir/tiny")
  (data (i32.const 80) "dir/huge")
  (data (i32.const 88) "many")
  (data (i32.const 92) "dir/log")

  ;; A buffer that was never written to is the kernel's page of zeros, which takes longer to be copied.
  (func $fill
    (memory.fill (i32.const 65536) (i32.const 0x5a) (i32.const 65536)))

  (func $check (param i32)
    local.get 0
    if unreachable end)

  ;; path, oflags, rights -> fd
  (func $open (param $path i32) (param $len i32) (param $oflags i32) (param $rights i64) (result i32)
    (call $open_with (local.get $path) (local.get $len) (local.get $oflags) (local.get $rights) (i32.const 0)))

  (func $open_with (param $path i32) (param $len i32) (param $oflags i32) (param $rights i64) (param $fdflags i32)
    (result i32)
    (call $check (call $path_open (i32.const 3) (i32.const 1) (local.get $path) (local.get $len)
      (local.get $oflags) (local.get $rights) (local.get $rights) (local.get $fdflags) (i32.const 0)))
    (i32.load (i32.const 0)))

  (func (export "_start"))

  (func (export "open_close") (param $n i32)
    (loop $next
      (call $check (call $fd_close (call $open (i32.const 64) (i32.const 8) (i32.const 0) (i64.const 2))))
      (local.tee $n (i32.sub (local.get $n) (i32.const 1)))
      br_if $next))

  ;; of a file that is only read
  (func (export "stat") (param $n i32)
    (call $stat (i32.const 80) (local.get $n)))
  ;; of one that was written
  (func (export "stat_written") (param $n i32)
    (call $pwrite (i32.const 64) (i64.const 0x3ffff) (i32.const 1) (i32.const 1))
    (call $stat (i32.const 64) (local.get $n)))

  (func $stat (param $path i32) (param $n i32)
    (loop $next
      (call $check (call $path_filestat_get
        (i32.const 3) (i32.const 1) (local.get $path) (i32.const 8) (i32.const 65536)))
      (local.tee $n (i32.sub (local.get $n) (i32.const 1)))
      br_if $next))

  (func (export "read_data") (param $n i32) (param $size i32)
    (call $read (i32.const 64) (i32.const 0x3ffff) (local.get $n) (local.get $size)))
  (func (export "read_tiny") (param $n i32) (param $size i32)
    (call $read (i32.const 72) (i32.const 0x3fff) (local.get $n) (local.get $size)))
  (func (export "read_huge") (param $n i32) (param $size i32)
    (call $read (i32.const 80) (i32.const 0x1ffffff) (local.get $n) (local.get $size)))

  ;; n reads of `size` bytes one behind the other, starting over before the end of the file, whose length is `mask` and
  ;; one more
  (func $read (param $path i32) (param $mask i32) (param $n i32) (param $size i32)
    (local $fd i32) (local $at i32)
    (call $fill)
    (local.set $fd (call $open (local.get $path) (i32.const 8) (i32.const 0) (i64.const 6)))
    (i32.store (i32.const 16) (i32.const 65536))
    (i32.store (i32.const 20) (local.get $size))
    (loop $next
      (call $check (call $fd_read (local.get $fd) (i32.const 16) (i32.const 1) (i32.const 0)))
      (if (i32.ne (i32.load (i32.const 0)) (local.get $size)) (then unreachable))
      (local.set $at (i32.and (i32.add (local.get $at) (local.get $size)) (local.get $mask)))
      (if (i32.eqz (local.get $at))
        (then (call $check (call $fd_seek (local.get $fd) (i64.const 0) (i32.const 0) (i32.const 8)))))
      (local.tee $n (i32.sub (local.get $n) (i32.const 1)))
      br_if $next)
    (call $check (call $fd_close (local.get $fd))))

  (func (export "pwrite_data") (param $n i32) (param $size i32)
    (call $pwrite (i32.const 64) (i64.const 0x3ffff) (local.get $n) (local.get $size)))
  (func (export "pwrite_tiny") (param $n i32) (param $size i32)
    (call $pwrite (i32.const 72) (i64.const 0x3fff) (local.get $n) (local.get $size)))

  ;; n writes of `size` bytes over the file, whose length is `mask` and one more
  (func $pwrite (param $path i32) (param $mask i64) (param $n i32) (param $size i32)
    (local $fd i32) (local $at i64)
    (call $fill)
    (local.set $fd (call $open (local.get $path) (i32.const 8) (i32.const 0) (i64.const 70)))
    (i32.store (i32.const 16) (i32.const 65536))
    (i32.store (i32.const 20) (local.get $size))
    (loop $next
      (call $check (call $fd_pwrite
        (local.get $fd) (i32.const 16) (i32.const 1) (local.get $at) (i32.const 0)))
      (local.set $at (i64.and
        (i64.add (local.get $at) (i64.extend_i32_u (local.get $size))) (local.get $mask)))
      (local.tee $n (i32.sub (local.get $n) (i32.const 1)))
      br_if $next)
    (call $check (call $fd_close (local.get $fd))))

  ;; n writes of `size` bytes at the end of a file, which is emptied when it has grown to 256 KiB
  (func (export "append") (param $n i32) (param $size i32)
    (local $fd i32) (local $at i32)
    (call $fill)
    (local.set $fd
      (call $open_with (i32.const 92) (i32.const 7) (i32.const 1) (i64.const 0x400042) (i32.const 1)))
    (i32.store (i32.const 16) (i32.const 65536))
    (i32.store (i32.const 20) (local.get $size))
    (loop $next
      (call $check (call $fd_write (local.get $fd) (i32.const 16) (i32.const 1) (i32.const 0)))
      (local.set $at (i32.and (i32.add (local.get $at) (local.get $size)) (i32.const 0x3ffff)))
      (if (i32.eqz (local.get $at))
        (then (call $check (call $set_size (local.get $fd) (i64.const 0)))))
      (local.tee $n (i32.sub (local.get $n) (i32.const 1)))
      br_if $next)
    (call $check (call $fd_close (local.get $fd))))

  ;; n whole listings of a directory through a buffer of `size` bytes; returns the count of entries of the last
  (func (export "list") (param $n i32) (param $size i32) (result i32)
    (local $fd i32) (local $cookie i64) (local $at i32) (local $used i32) (local $end i32) (local $count i32)
    (local.set $fd (call $open (i32.const 88) (i32.const 4) (i32.const 2) (i64.const 0x4000)))
    (loop $next
      (local.set $cookie (i64.const 0))
      (local.set $count (i32.const 0))
      (loop $more
        (call $check (call $fd_readdir
          (local.get $fd) (i32.const 65536) (local.get $size) (local.get $cookie) (i32.const 0)))
        (local.set $used (i32.load (i32.const 0)))
        (local.set $at (i32.const 65536))
        (local.set $end (i32.add (i32.const 65536) (local.get $used)))
        ;; whole entries only; one that is cut is read again from its cookie
        (block $done
          (loop $entry
            (br_if $done (i32.gt_u (i32.add (local.get $at) (i32.const 24)) (local.get $end)))
            (br_if $done (i32.gt_u
              (i32.add (local.get $at) (i32.add (i32.const 24) (i32.load offset=16 (local.get $at))))
              (local.get $end)))
            (local.set $cookie (i64.load (local.get $at)))
            (local.set $count (i32.add (local.get $count) (i32.const 1)))
            (local.set $at (i32.add (local.get $at)
              (i32.add (i32.const 24) (i32.load offset=16 (local.get $at)))))
            (br $entry)))
        (br_if $more (i32.eq (local.get $used) (local.get $size))))
      (local.tee $n (i32.sub (local.get $n) (i32.const 1)))
      br_if $next)
    (call $check (call $fd_close (local.get $fd)))
    (local.get $count))
)
