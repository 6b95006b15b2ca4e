;; Calls one function of preview 2 many times, so that the cost of a call can be measured from outside.
(module
  (import "wasi:filesystem/preopens@0.2.12" "get-directories" (func $directories (param i32)))
  (import "wasi:filesystem/types@0.2.12" "[method]descriptor.open-at"
    (func $open_at (param i32 i32 i32 i32 i32 i32 i32)))
  (import "wasi:filesystem/types@0.2.12" "[method]descriptor.stat-at" (func $stat_at (param i32 i32 i32 i32 i32)))
  (import "wasi:filesystem/types@0.2.12" "[method]descriptor.read" (func $descriptor_read (param i32 i64 i64 i32)))
  (import "wasi:filesystem/types@0.2.12" "[method]descriptor.read-directory" (func $read_directory (param i32 i32)))
  (import "wasi:filesystem/types@0.2.12" "[method]directory-entry-stream.read-directory-entry"
    (func $read_entry (param i32 i32)))
  (import "wasi:filesystem/types@0.2.12" "[resource-drop]descriptor" (func $drop_descriptor (param i32)))
  (import "wasi:filesystem/types@0.2.12" "[resource-drop]directory-entry-stream" (func $drop_stream (param i32)))

  ;; 0: results; 256: paths; from 1024 on: what the host allocates, given back by each call of ours
  (memory (export "memory") 4)
  (data (i32.const 256) "dir/data")
  (data (i32.const 264) "dir/tiny")
  (data (i32.const 272) "many")

  (global $heap (mut i32) (i32.const 1024))
  (global $root (mut i32) (i32.const 0))

  (func (export "cabi_realloc") (param i32 i32 i32) (param $len i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get $len)))
    (local.get $at))

  ;; The answer is an error if its first byte is not 0.
  (func $check
    (if (i32.load8_u (i32.const 0)) (then unreachable))
    (global.set $heap (i32.const 1024)))

  (func $dir (result i32)
    (if (i32.eqz (global.get $root))
      (then
        (call $directories (i32.const 0))
        (global.set $root (i32.load (i32.load (i32.const 0))))
        (global.set $heap (i32.const 1024))))
    (global.get $root))

  ;; Following links, to read.
  (func $open (param $path i32) (param $len i32) (param $oflags i32) (result i32)
    (call $open_at (call $dir) (i32.const 1) (local.get $path) (local.get $len) (local.get $oflags) (i32.const 1)
      (i32.const 0))
    (call $check)
    (i32.load (i32.const 4)))

  (func (export "open-close") (param $n i32)
    (loop $next
      (call $drop_descriptor (call $open (i32.const 256) (i32.const 8) (i32.const 0)))
      (local.tee $n (i32.sub (local.get $n) (i32.const 1)))
      br_if $next))

  (func (export "stat") (param $n i32)
    (loop $next
      (call $stat_at (call $dir) (i32.const 1) (i32.const 256) (i32.const 8) (i32.const 0))
      (call $check)
      (local.tee $n (i32.sub (local.get $n) (i32.const 1)))
      br_if $next))

  (func (export "read-data") (param $n i32) (param $size i32)
    (call $read (i32.const 256) (i64.const 0x3ffff) (local.get $n) (local.get $size)))
  (func (export "read-tiny") (param $n i32) (param $size i32)
    (call $read (i32.const 264) (i64.const 0x3fff) (local.get $n) (local.get $size)))

  ;; n reads of `size` bytes one behind the other, starting over before the end of the file, whose length is `mask` and
  ;; one more
  (func $read (param $path i32) (param $mask i64) (param $n i32) (param $size i32)
    (local $file i32) (local $at i64)
    (local.set $file (call $open (local.get $path) (i32.const 8) (i32.const 0)))
    (loop $next
      (call $descriptor_read (local.get $file) (i64.extend_i32_u (local.get $size)) (local.get $at) (i32.const 0))
      (call $check)
      (if (i32.ne (i32.load (i32.const 8)) (local.get $size)) (then unreachable))
      (local.set $at (i64.and (i64.add (local.get $at) (i64.extend_i32_u (local.get $size))) (local.get $mask)))
      (local.tee $n (i32.sub (local.get $n) (i32.const 1)))
      br_if $next)
    (call $drop_descriptor (local.get $file)))

  ;; n whole listings of a directory; returns the count of entries of the last
  (func (export "list") (param $n i32) (result i32)
    (local $dir i32) (local $stream i32) (local $count i32)
    (local.set $dir (call $open (i32.const 272) (i32.const 4) (i32.const 2)))
    (loop $next
      (call $read_directory (local.get $dir) (i32.const 0))
      (call $check)
      (local.set $stream (i32.load (i32.const 4)))
      (local.set $count (i32.const 0))
      (block $done
        (loop $more
          (call $read_entry (local.get $stream) (i32.const 0))
          (call $check)
          (br_if $done (i32.eqz (i32.load8_u (i32.const 4))))
          (local.set $count (i32.add (local.get $count) (i32.const 1)))
          (br $more)))
      (call $drop_stream (local.get $stream))
      (local.tee $n (i32.sub (local.get $n) (i32.const 1)))
      br_if $next)
    (call $drop_descriptor (local.get $dir))
    (local.get $count))
)
