//! A frame goes on in the body that it began in, whatever tier it is in and goes to; the next call is of the new body.

use tierup_interp::{AsStore, Val};

use super::{configurations, start};

/// `f` calls the host in the midst of its loops, and `main` calls `f`. Editions have other loops, other locals, other results.
fn edition(body: &str) -> String {
    format!(
        r#"(module
            (import "host" "reload" (func $reload))
            (func $f (export "f") (param $n i32) (result i64) {body})
            (func (export "main") (param $n i32) (result i64) (i64.add (call $f (local.get $n)) (call $f (local.get $n)))))"#
    )
}

/// One loop, one local: ends at 3 · n.
const ONE_LOOP: &str = r#"(local $sum i64)
    (loop $turn
        (local.set $sum (i64.add (local.get $sum) (i64.const 3)))
        (if (i32.eq (local.get $n) (i32.const 20)) (then (call $reload)))
        (br_if $turn (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $sum)"#;

/// Three loops, two of them in one another, and the locals elsewhere: ends at 1,000,000 + 5 · 4 · n.
const NEST: &str = r#"(local $a i32) (local $b i64) (local $c f64) (local $inner i32) (local $sum i64)
    (local.set $sum (i64.const 1000000))
    (loop $wait (br_if $wait (i32.lt_u (local.tee $a (i32.add (local.get $a) (i32.const 1))) (i32.const 10))))
    (loop $turn
        (local.set $inner (i32.const 4))
        (loop $again
            (local.set $sum (i64.add (local.get $sum) (i64.const 5)))
            (if (i32.and (i32.eq (local.get $n) (i32.const 20)) (i32.eq (local.get $inner) (i32.const 2)))
                (then (call $reload)))
            (br_if $again (local.tee $inner (i32.sub (local.get $inner) (i32.const 1)))))
        (br_if $turn (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $sum)"#;

/// No loop: ends at 7.
const NONE: &str = "(i64.const 7)";

/// Calls itself, with operands on the stack and a loop on the way back: ends at 1 + … + n, and a loop's 2 for each.
const RECURSIVE: &str = r#"(local $two i32)
    (if (i32.eqz (local.get $n)) (then (return (i64.const 0))))
    (if (i32.eq (local.get $n) (i32.const 20)) (then (call $reload)))
    (i64.add
        (i64.extend_i32_u (local.get $n))
        (call $f (i32.sub (local.get $n) (i32.const 1))))
    (loop $turn (result i64)
        (br_if $turn (i32.lt_u (local.tee $two (i32.add (local.get $two) (i32.const 1))) (i32.const 2)))
        (i64.extend_i32_u (local.get $two)))
    i64.add"#;

const N: i32 = 40;

/// What one call leaves, without a reload in it.
fn value(body: &str) -> i64 {
    let n = i64::from(N);
    match body {
        ONE_LOOP => 3 * n,
        NEST => 1_000_000 + 20 * n,
        NONE => 7,
        _ => n * (n + 1) / 2 + 2 * n,
    }
}

/// Reloads `f` in its midst: the first call ends as the old body says.
fn check(old: &str, new: &str) {
    for configuration in configurations() {
        for rounds in [1, 30] {
            let others = vec![edition(new); 1];
            let others: Vec<_> = others.iter().map(String::as_str).collect();
            let (mut store, instance, _) = start(configuration, &edition(old), &others);
            let what = format!("{configuration}, after {rounds} calls");
            let f = instance.func(&store, "f").unwrap();
            // Fewer turns than it takes to reload, so that tiers are reached.
            for _ in 0..rounds {
                f.call(&mut store, &[Val::I32(5)]).unwrap();
            }
            assert_eq!(f.call(&mut store, &[Val::I32(N)]).unwrap(), [Val::I64(value(old))], "{what}: the old frame");
            assert_eq!(store.data().reloaded, [[1]], "{what}");
            for _ in 0..rounds {
                assert_eq!(f.call(&mut store, &[Val::I32(N)]).unwrap(), [Val::I64(value(new))], "{what}: a new call");
            }
            let main = instance.func(&store, "main").unwrap();
            assert_eq!(main.call(&mut store, &[Val::I32(N)]).unwrap(), [Val::I64(2 * value(new))], "{what}: from the guest");
            let _ = store.deopts();
        }
    }
}

#[test]
fn other_loops() {
    check(ONE_LOOP, NEST);
    check(NEST, ONE_LOOP);
}

#[test]
fn no_loop_at_all() {
    check(NEST, NONE);
}

/// The frames around the one that reloads are of the old body, those that it makes of the new one.
#[test]
fn frames_of_both_bodies_wait_for_each_other() {
    for configuration in configurations() {
        for rounds in [1, 30] {
            let (mut store, instance, _) = start(configuration, &edition(RECURSIVE), &[&edition(NEST)]);
            let what = format!("{configuration}, after {rounds} calls");
            let f = instance.func(&store, "f").unwrap();
            for _ in 0..rounds {
                f.call(&mut store, &[Val::I32(5)]).unwrap();
            }
            // Down to 20 they are old ones; what the innermost of them calls is not.
            let (n, inner) = (i64::from(N), 1_000_000 + 20 * 19);
            let old: i64 = (20..=n).map(|n| n + 2).sum();
            assert_eq!(f.call(&mut store, &[Val::I32(N)]).unwrap(), [Val::I64(old + inner)], "{what}");
            assert_eq!(f.call(&mut store, &[Val::I32(N)]).unwrap(), [Val::I64(value(NEST))], "{what}");
        }
    }
}

/// Two functions are reloaded at once, the second time one of them.
#[test]
fn only_what_differs_is_reloaded() {
    let edition = |f: i32, g: i32| {
        format!(
            r#"(module (import "host" "reload" (func $reload))
                (func $f (result i32) (i32.const {f}))
                (func $g (result i32) (i32.const {g}))
                (func (export "run") (result i32)
                    call $reload
                    (i32.add (i32.mul (call $f) (i32.const 10)) (call $g))))"#
        )
    };
    for configuration in configurations() {
        let others = [edition(3, 4), edition(3, 5), edition(3, 5)];
        let (mut store, instance, _) = start(configuration, &edition(1, 2), &others.each_ref().map(String::as_str));
        let run = instance.func(&store, "run").unwrap();
        for want in [34, 35, 35, 35] {
            let result = run.call(&mut store, &[]).unwrap();
            // Code that contains both goes on with them until it returns, as is said of `reload_from`.
            let contained = configuration.has_llvm() && [Val::I32(12), Val::I32(34)].contains(&result[0]);
            assert!(result == [Val::I32(want)] || contained, "{configuration}: {result:?}, not {want}");
        }
        assert_eq!(store.data().reloaded, [vec![1, 2], vec![2], vec![]], "{configuration}");
    }
}
