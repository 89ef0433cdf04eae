;; The module of the `wasm` node's example and tests.
(module
  (memory (export "memory") 1)
  (global $free (mut i32) (i32.const 1024))

  ;; Room for a row. Nothing is given back: an instance has one row.
  (func (export "alloc") (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $free))
    (global.set $free (i32.add (global.get $free) (local.get $size)))
    (local.get $at))

  ;; Of two numbers, whether the first is larger.
  (func (export "above") (param $value f64) (param $limit f64) (result i32)
    (f64.gt (local.get $value) (local.get $limit)))

  ;; The row as it came: its address in the upper half, its length in the lower one.
  (func (export "same") (param $at i32) (param $size i32) (result i64)
    (i64.or
      (i64.shl (i64.extend_i32_u (local.get $at)) (i64.const 32))
      (i64.extend_i32_u (local.get $size)))))
