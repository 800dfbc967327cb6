//! The quick compiler: what it compiles, and what it leaves to Cranelift. That it compiles right is shown by all that runs on it, and by
//! the LLVM backend's conformance test and fuzzer, which ask it, too; here is CLIF that few lowerings make.

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use std::fmt::Write as _;

use cranelift_codegen::{
    ir::{AbiParam, Function, Signature, types::I64},
    isa::CallConv,
};
use tierup_backends::{CompiledFunction, CraneliftBackend, LowerCx, OptLevel};
use tierup_broker::{Bailout, Tier};

/// A weighted sum, to tell arguments apart.
extern "C" fn eight(a: i64, b: i64, c: i64, d: i64, e: i64, f: i64, g: i64, h: i64) -> i64 {
    [a, b, c, d, e, f, g, h].iter().zip(1..).fold(0, |sum, (arg, weight)| sum.wrapping_add(arg.wrapping_mul(weight)))
}

/// Compiles; says who did.
fn compile(text: &str) -> (Result<CompiledFunction, Bailout>, bool) {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.resize(8, AbiParam::new(I64));
    signature.returns.push(AbiParam::new(I64));
    let lower = |cx: &mut LowerCx<'_, Function>| -> Result<(), Bailout> {
        cx.provide(cx.guest().clone());
        Ok(())
    };
    let builder = CraneliftBackend::builder().opt_level(OptLevel::Quick);
    // SAFETY: a function of that signature.
    let builder = unsafe { builder.symbol("eight", eight as *const u8, signature) };
    let backend = builder.build(lower).unwrap();
    let func = cranelift_reader::parse_functions(text).unwrap().remove(0);
    let code = backend.compile_direct(&func, Tier::new(1));
    (code, backend.totals().quick_units == 1)
}

/// Calls `%f(i64, i64) -> i64`, compiled by whoever takes it.
fn call_any(text: &str, x: i64, y: i64) -> i64 {
    let code = compile(text).0.unwrap();
    // SAFETY: of that signature, which the texts here have.
    let entry: extern "C" fn(i64, i64) -> i64 = unsafe { std::mem::transmute(code.entry()) };
    entry(x, y)
}

/// Calls `%f(i64, i64) -> i64` in quick code.
fn call(text: &str, x: i64, y: i64) -> i64 {
    assert!(compile(text).1 || !is_x86_feature_detected!("bmi2"), "declined: {text}");
    call_any(text, x, y)
}

/// A function of two parameters, of this body.
fn with_body(body: &str) -> String {
    format!(
        "function %f(i64, i64) -> i64 system_v {{\n fn0 = %eight(i64, i64, i64, i64, i64, i64, i64, i64) -> i64 system_v\nblock0(v0: i64, v1: i64):\n{body}\n}}"
    )
}

#[test]
fn what_has_no_result_is_declined() {
    for line in ["trapz v0, user1", "trapnz v1, user1", "fence", "set_pinned_reg v0"] {
        let (_, is_quick) = compile(&with_body(&format!("{line}\n return v0")));
        assert!(!is_quick, "{line}");
    }
    assert_eq!(call_any(&with_body("trapz v0, user1\n return v1"), 1, 2), 2);
}

#[test]
fn wide_integers_are_declined() {
    let equal = with_body("v2 = uextend.i128 v0\n v3 = uextend.i128 v1\n v4 = icmp eq v2, v3\n v5 = uextend.i64 v4\n return v5");
    assert_eq!(call_any(&equal, 1, 1 << 40 | 1), 0);
    let reduced = with_body("v2 = uextend.i128 v0\n v3 = ireduce.i64 v2\n return v3");
    assert_eq!(call_any(&reduced, 1 << 40, 0), 1 << 40);
}

#[test]
fn a_narrow_poll_reads_no_more_than_its_own() {
    for (ty, value, expected) in
        [("i8", 0x100, 2), ("i16", 0x10000, 2), ("i16", 0x100, 1), ("i32", 1 << 32, 2), ("i64", 1 << 32, 1)]
    {
        let text = with_body(&format!(
            "v2 = atomic_load.{ty} v0\n brif v2, block1, block2\nblock1:\n v3 = iconst.i64 1\n return v3\nblock2:\n v4 = iconst.i64 2\n return v4"
        ));
        let cell: i64 = value;
        assert_eq!(call(&text, &raw const cell as i64, 0), expected, "{ty} {value:#x}");
    }
}

#[test]
fn a_narrow_sum_wraps_before_it_is_an_address() {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
    // SAFETY: a fresh mapping, of one page, below 4 GiB.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    assert_ne!(page, libc::MAP_FAILED);
    // SAFETY: within it.
    unsafe { page.cast::<i64>().write(77) };
    let direct = with_body(
        "v2 = ireduce.i32 v0\n v3 = ireduce.i32 v1\n v4 = iadd v2, v3\n v5 = uextend.i64 v4\n v6 = load.i64 v5\n return v6",
    );
    assert_eq!(call(&direct, page as i64 + 8, -8), 77);
    let displaced = with_body(
        "v2 = ireduce.i32 v0\n v3 = ireduce.i32 v1\n v4 = iadd v2, v3\n v5 = uextend.i64 v4\n v6 = iconst.i64 -8\n v7 = iadd v5, v6\n v8 = load.i64 v7\n return v8",
    );
    assert_eq!(call(&displaced, page as i64 + 16, -8), 77);
    // SAFETY: our mapping.
    unsafe { libc::munmap(page, 4096) };
}

#[test]
fn the_least_number_may_be_part_of_an_address() {
    let cell = 5_i64;
    let text = with_body("v2 = iconst.i64 0x8000000000000000\n v3 = iadd v0, v2\n v4 = load.i64 v3\n return v4");
    assert_eq!(call(&text, (&raw const cell as i64).wrapping_add(i64::MIN), 0), 5);
}

#[test]
fn large_numbers_on_the_stack_spoil_no_register() {
    let large = 0x1234_5678_9abc_def0;
    // What is in place already is not copied, so that the fourth register is filled first.
    let text = with_body(&format!(
        "v2 = iadd v0, v1\n v3 = iconst.i64 {large}\n v4 = iconst.i64 {}\n v5 = call fn0(v0, v1, v2, v1, v0, v1, v3, v4)\n return v5",
        -large
    ));
    assert_eq!(call(&text, 3, 4), eight(3, 4, 7, 4, 3, 4, large, -large));
}

/// `count` numbers of a type, from `v0` on, are exchanged in pairs `v1` times.
fn exchanges(ty: &str, count: usize) -> String {
    let number = |of: usize, at: usize| format!("v{}", of * 1000 + at);
    let list = |of: usize| (0..count).map(|at| number(of, at)).collect::<Vec<_>>().join(", ");
    let params = |of: usize| (0..count).map(|at| format!("{}: {ty}", number(of, at))).collect::<Vec<_>>().join(", ");
    let mut body = String::new();
    for at in 0..count {
        write!(body, "v{} = iconst.i64 {at}\n v{} = iadd v0, v{}\n ", 4000 + at, 5000 + at, 4000 + at).unwrap();
        let make = if ty == "i64" { "bnot".to_owned() } else { format!("fcvt_from_sint.{ty}") };
        write!(body, "{} = {make} v{}\n ", number(1, at), 5000 + at).unwrap();
    }
    let reversed = (0..count).rev().map(|at| number(2, at)).collect::<Vec<_>>().join(", ");
    writeln!(body, "jump block1(v1, {})", list(1)).unwrap();
    write!(
        body,
        "block1(v2: i64, {}):\n v4 = iconst.i64 -1\n v3 = iadd v2, v4\n brif v2, block1(v3, {reversed}), block2\nblock2:\n ",
        params(2)
    )
    .unwrap();
    let mut sum = "v0".to_owned();
    for at in 0..count {
        let (last, next) = (number(2, at), 6000 + 10 * at);
        let to = if ty == "i64" { "bnot".to_owned() } else { "fcvt_to_sint_sat.i64".to_owned() };
        write!(
            body,
            "v{next} = {to} {last}\n v{} = iconst.i64 {}\n v{} = imul v{next}, v{}\n ",
            next + 3,
            at + 1,
            next + 1,
            next + 3
        )
        .unwrap();
        write!(body, "v{} = iadd {sum}, v{}\n ", next + 2, next + 1).unwrap();
        sum = format!("v{}", next + 2);
    }
    write!(body, "return {sum}").unwrap();
    with_body(&body)
}

#[test]
fn numbers_in_registers_and_in_the_frame_change_places() {
    for ty in ["i64", "f64", "f32"] {
        for count in [4, 12, 16, 20, 27] {
            let text = exchanges(ty, count);
            for times in [0, 1, 2] {
                let mut numbers: Vec<i64> = (0..count as i64).map(|at| 100 + at).collect();
                if times % 2 == 1 {
                    numbers.reverse();
                }
                let expected = numbers.iter().zip(1..).map(|(number, weight)| number * weight).sum::<i64>() + 100;
                assert_eq!(call(&text, 100, times), expected, "{count} of {ty}, {times} times");
            }
        }
    }
}

#[test]
fn frames_beyond_measure_are_refused() {
    for slots in [
        "ss0 = explicit_slot 4294967280",
        "ss0 = explicit_slot 4294967200\n ss1 = explicit_slot 4000",
        "ss0 = explicit_slot 100000",
    ] {
        let text = format!(
            "function %f(i64, i64) -> i64 system_v {{\n {slots}\nblock0(v0: i64, v1: i64):\n v2 = stack_addr.i64 ss0\n return v2\n}}"
        );
        let (code, is_quick) = compile(&text);
        assert!(code.is_err() && !is_quick, "{slots}");
    }
}

#[test]
fn many_floats_are_passed() {
    let types = vec!["f64"; 300].join(", ");
    let params = (0..300).map(|at| format!("v{at}: f64")).collect::<Vec<_>>().join(", ");
    let args = (0..300).rev().map(|at| format!("v{at}")).collect::<Vec<_>>().join(", ");
    let text = format!(
        "function %f({types}) -> f64 system_v {{\n sig0 = ({types}) -> f64 system_v\nblock0({params}):\n v300 = iconst.i64 0\n v301 = call_indirect sig0, v300({args})\n return v301\n}}"
    );
    assert!(compile(&text).1 || !is_x86_feature_detected!("bmi2"));
}

#[test]
fn loops_of_numbers_are_compiled_quickly() {
    let body = "    v2 = iconst.i64 0
        jump block1(v0, v2)
    block1(v3: i64, v4: i64):
        v5 = imul v3, v3
        v6 = iadd v4, v5
        v7 = iconst.i64 -1
        v8 = iadd v3, v7
        brif v8, block1(v8, v6), block2
    block2:
        return v6";
    assert_eq!(call(&with_body(body), 10, 0), 385);
}

/// What it does not know Cranelift compiles, and right.
#[test]
fn wide_products_are_cranelifts() {
    let body = "    v2 = iconcat v0, v0
        v3 = imul v2, v2
        v4, v5 = isplit v3
        return v5";
    let text = with_body(body);
    assert!(!compile(&text).1);
    let both = (1_u128 << 64 | 1) * 0x1_0000_0001;
    assert_eq!(call_any(&text, 0x1_0000_0001, 0), (both.wrapping_mul(both) >> 64) as i64);
}

/// The bits of a sum may become a float's: that is no address.
#[test]
fn sums_that_become_floats_have_a_place() {
    let body = "    v2 = iconst.i64 0x3ff0_0000_0000_0000
        v3 = iadd v0, v2
        v4 = bitcast.f64 v3
        v5 = fadd v4, v4
        v6 = bitcast.i64 v5
        return v6";
    assert_eq!(call(&with_body(body), 1 << 52, 0), 4_f64.to_bits() as i64);
}

/// The least number divided by -1 has no quotient, but a remainder.
#[test]
fn the_remainder_by_minus_one_is_zero() {
    let body = "    v2 = srem v0, v1
        return v2";
    assert_eq!(call(&with_body(body), i64::MIN, -1), 0);
    assert_eq!(call(&with_body(body), i64::MIN, 3), i64::MIN % 3);
}

/// A function of this body, in which `c7` and `w7` are numbers, `cm7` a negative one.
fn with_numbers(body: &str) -> String {
    number(&with_body(body))
}

fn number(text: &str) -> String {
    let is_number = |word: &&str| {
        let digits = word.get(1..).unwrap_or_default().trim_start_matches('m');
        word.starts_with(['c', 'w']) && !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    let mut text = text.to_owned();
    let words = text.split(|c: char| !c.is_alphanumeric());
    let mut numbers: Vec<String> = words.filter(is_number).map(str::to_owned).collect();
    numbers.sort_unstable_by_key(|word| std::cmp::Reverse(word.len()));
    numbers.dedup();
    let mut made = String::new();
    for (at, word) in numbers.iter().enumerate() {
        let (ty, value) = (if word.starts_with('c') { "i64" } else { "i32" }, word[1..].replace('m', "-"));
        write!(made, "\n v{} = iconst.{ty} {value}", 100 + at).unwrap();
        text = text.replace(&format!(" {word}"), &format!(" v{}", 100 + at));
    }
    text.replacen("v1: i64):", &format!("v1: i64):{made}"), 1)
}

/// Shifts by up to three are part of sums, and of addresses.
#[test]
fn scaled_numbers_are_added() {
    for (sum, expected) in [
        ("v2 = ishl v0, c3\n v3 = iadd v2, v1", 5 * 8 + 7),
        ("v2 = ishl v0, c3\n v3 = iadd v1, v2", 5 * 8 + 7),
        ("v2 = ishl v0, c1\n v4 = ishl v1, c2\n v3 = iadd v2, v4", 5 * 2 + 7 * 4),
        ("v2 = ishl v0, c2\n v3 = iadd v2, v2", 5 * 4 * 2),
        ("v2 = ishl v0, c2\n v3 = iadd v2, cm100", 5 * 4 - 100),
        ("v2 = ishl v0, c2\n v4 = iconst.i64 0x1_0000_0000_0000\n v3 = iadd v2, v4", 5 * 4 + (1 << 48)),
        ("v2 = ishl v0, c4\n v3 = iadd v2, v1", 5 * 16 + 7),
        ("v2 = isub v1, v0\n v4 = ishl v0, c3\n v3 = iadd v4, v2", 5 * 8 + 2),
    ] {
        assert_eq!(call(&with_numbers(&format!("{sum}\n return v3")), 5, 7), expected, "{sum}");
    }
    // Narrow ones wrap first, whatever they are part of.
    let narrow = "v2 = ireduce.i32 v0\n v4 = ishl v2, w3";
    let x = 0x2000_0001;
    for (sum, expected) in [
        ("v5 = iadd v4, wm16\n v3 = uextend.i64 v5", i64::from(8u32.wrapping_sub(16))),
        ("v5 = uextend.i64 v4\n v3 = iadd v5, v1", 8 + 7),
        ("v5 = ireduce.i32 v1\n v6 = iadd v5, v4\n v3 = uextend.i64 v6", 8 + 7),
    ] {
        assert_eq!(call(&with_numbers(&format!("{narrow}\n {sum}\n return v3")), x, 7), expected, "{sum}");
    }
    let words: Vec<i64> = (0..100).map(|n| n * n).collect();
    let base = words.as_ptr() as i64;
    for (address, expected) in [
        ("v2 = ishl v1, c3\n v3 = iadd v0, v2\n v4 = load.i64 v3+8", 36),
        ("v2 = ishl v1, c3\n v3 = iadd v2, v0\n v5 = iadd v3, c16\n v4 = load.i64 v5", 49),
        ("v6 = iconst.i64 3\n v2 = ishl v1, v6\n v3 = iadd v2, v0\n v4 = load.i64 v3", 25),
    ] {
        assert_eq!(call(&with_numbers(&format!("{address}\n return v4")), base, 5), expected, "{address}");
    }
}

#[test]
fn low_bits_are_kept_in_place_and_elsewhere() {
    let body = "v2 = band v0, c255\n v3 = band v1, c65535\n v4 = ishl v3, c8\n v5 = bor v2, v4\n v6 = bxor v5, v0\n v7 = band v6, c255\n v8 = iadd v5, v7\n return v8";
    assert_eq!(call(&with_numbers(body), 0x1234_5678, 0x9abc_def0), 0xde_f078);
}

/// What was loaded is compared, or called, from where it is.
#[test]
fn loads_are_part_of_what_comes_next() {
    let cells: [i64; 4] = [-5, 0, 0x1_0000_0000, 9];
    let base = cells.as_ptr() as i64;
    let answers = "block1:\n v8 = iconst.i64 1\n return v8\nblock2:\n v9 = iconst.i64 2\n return v9";
    for (condition, expected) in [
        ("v2 = load.i64 v0\n v3 = icmp slt v2, v1\n brif v3, block1, block2", 1),
        ("v2 = load.i64 v0\n v3 = icmp slt v1, v2\n brif v3, block1, block2", 2),
        ("v2 = load.i64 v0\n v3 = icmp sgt v2, cm6\n brif v3, block1, block2", 1),
        ("v2 = load.i64 v0+8\n v4 = iconst.i64 0\n v3 = icmp eq v4, v2\n brif v3, block1, block2", 1),
        ("v4 = iconst.i64 0x1_0000_0000\n v2 = load.i64 v0+16\n v3 = icmp ugt v4, v2\n brif v3, block1, block2", 2),
        ("v2 = load.i64 v0+16\n brif v2, block1, block2", 1),
        ("v2 = load.i32 v0+16\n brif v2, block1, block2", 2),
        ("v2 = load.i32 v0+20\n v3 = icmp eq v2, w1\n brif v3, block1, block2", 1),
        ("v2 = load.i64 v0+24\n v3 = iadd v2, v1\n v4 = icmp eq v3, c12\n brif v4, block1, block2", 1),
        ("v2 = load.i64 v0+24\n v3 = icmp eq v2, v2\n brif v3, block1, block2", 1),
    ] {
        assert_eq!(call(&with_numbers(&format!("{condition}\n{answers}")), base, 3), expected, "{condition}");
    }
    // A cell, which points at a cell, which holds what is called; the address comes in a register that an argument goes to.
    let face = [0, eight as *const () as usize];
    let word = [0, 0, face.as_ptr() as usize];
    let call_through = |loads: &str| {
        format!(
            "function %f(i64, i64) -> i64 system_v {{\n sig0 = (i64, i64, i64, i64, i64, i64, i64, i64) -> i64 system_v\nblock0(v0: i64, v1: i64):\n{loads}\n v5 = call_indirect sig0, v4(v1, v1, v1, v1, v1, v1, v1, v1)\n return v5\n}}"
        )
    };
    for (loads, address) in [
        ("v2 = load.i64 notrap aligned v0+16\n v4 = load.i64 notrap aligned v2+8", word.as_ptr() as i64),
        ("v3 = load.i64 notrap aligned v0+16\n v2 = iadd v3, c8\n v4 = load.i64 notrap aligned v2", word.as_ptr() as i64),
        ("v4 = load.i64 notrap aligned v0+8", face.as_ptr() as i64),
    ] {
        assert_eq!(call(&number(&call_through(loads)), address, 3), 3 * 36, "{loads}");
    }
}

/// What callers leave in the upper halves is nobody's, wherever the arguments go: `%f` passes on its two in each other's place.
#[test]
fn narrow_parameters_are_extended_when_they_change_places() {
    let text = "function %f(i32, i32) -> i64 system_v {
        fn0 = %eight(i64, i64, i64, i64, i64, i64, i64, i64) -> i64 system_v
    block0(v0: i32, v1: i32):
        v2 = uextend.i64 v0
        v3 = uextend.i64 v1
        v4 = call fn0(v3, v2, v3, v2, v3, v2, v3, v2)
        v5 = call fn0(v2, v3, v2, v3, v2, v3, v2, v4)
        return v5
    }";
    for (a, b) in [(7, 9), (-1, 3), (i64::MIN | 5, -2), (1 << 32, 1 << 33)] {
        let (x, y) = (i64::from(a as u32), i64::from(b as u32));
        assert_eq!(call(text, a, b), eight(x, y, x, y, x, y, x, eight(y, x, y, x, y, x, y, x)), "{a:#x} {b:#x}");
    }
}

/// Nor is what they leave beside one on the stack.
#[test]
fn narrow_parameters_on_the_stack_are_extended() {
    let text = "function %f(i64, i64, i64, i64, i64, i64, i32, i16) -> i64 system_v {
    block0(v0: i64, v1: i64, v2: i64, v3: i64, v4: i64, v5: i64, v6: i32, v7: i16):
        v8 = uextend.i64 v6
        v9 = uextend.i64 v7
        v12 = iconst.i64 1000
        v10 = imul v9, v12
        v11 = iadd v8, v10
        return v11
    }";
    let (code, is_quick) = compile(text);
    let code = code.unwrap();
    assert!(is_quick || !is_x86_feature_detected!("bmi2"));
    // SAFETY: of that signature, but for what is beside narrow arguments.
    let entry: extern "C" fn(i64, i64, i64, i64, i64, i64, i64, i64) -> i64 = unsafe { std::mem::transmute(code.entry()) };
    assert_eq!(entry(0, 0, 0, 0, 0, 0, -1, -1), 0xffff_ffff + 1000 * 0xffff);
    assert_eq!(entry(0, 0, 0, 0, 0, 0, 5 << 32 | 3, 7 << 16 | 2), 2003);
}

/// It is read where it is, by whatever can read it.
#[test]
fn the_stack_pointer_is_an_operand() {
    let text = with_body(
        " v2 = get_stack_pointer.i64
          v3 = icmp ult v2, v0
          v4 = uextend.i64 v3
          v5 = call fn0(v2, v4, v4, v4, v4, v4, v4, v2)
          v12 = iconst.i64 -9
          v6 = imul v2, v12
          v7 = iadd v5, v6
          v8 = isub v2, v1
          v9 = iadd v8, v1
          v10 = bxor v9, v2
          v11 = iadd v7, v10
          return v11",
    );
    assert_eq!(call(&text, 0, 12345), 0);
    assert_eq!(call(&text, -1, 12345), 2 + 3 + 4 + 5 + 6 + 7);
}

/// What the next turn gets is made where this one has it, though other values want registers, too: a loop's last instruction is the branch
/// that leads back, and no copies stand behind it.
#[test]
fn loops_copy_nothing_from_one_turn_to_the_next() {
    if !is_x86_feature_detected!("bmi2") {
        return;
    }
    let text = with_body(
        " v10 = iconst.i64 8
          v11 = iconst.i64 16
          v12 = iconst.i64 2
          v13 = iconst.i64 0
          jump block1(v0, v1, v13, v13)
        block1(v2: i64, v3: i64, v4: i64, v5: i64):
          v20 = imul v2, v3
          v21 = iadd v2, v10
          v22 = iadd v3, v10
          v23 = imul v21, v22
          v24 = bxor v20, v23
          v25 = iadd v5, v24
          v26 = iadd v2, v11
          v27 = iadd v3, v11
          v28 = iadd v4, v12
          v29 = icmp ult v28, v0
          brif v29, block1(v26, v27, v28, v25), block2
        block2:
          return v25",
    );
    let (mut sum, mut x, mut y) = (0, 5_i64, 7_i64);
    for _ in 0..3 {
        sum += (x * y) ^ ((x + 8) * (y + 8));
        (x, y) = (x + 16, y + 16);
    }
    assert_eq!(call(&text, 5, 7), sum);
    let code = compile(&text).0.unwrap();
    // SAFETY: that many bytes are readable, and stay while `code` lives.
    let bytes = unsafe { std::slice::from_raw_parts(code.entry(), code.code_bytes()) };
    let leads_back = |branch: fn(u8) -> bool| bytes.windows(2).any(|jump| branch(jump[0]) && jump[1] >= 0x80);
    assert!(leads_back(|opcode| matches!(opcode, 0x70..=0x7f)), "{bytes:x?}");
    assert!(!leads_back(|opcode| opcode == 0xeb), "{bytes:x?}");
}

/// Wherever what is before them ends: the short jump back that each of these has leads to a multiple of what processors fetch at once.
#[test]
fn loops_begin_where_a_fetch_does() {
    if !is_x86_feature_detected!("bmi2") {
        return;
    }
    for before in 0..40 {
        let filler: String = (0..before).map(|at| format!(" v{} = iadd v{}, v1\n", 11 + at, 10 + at)).collect();
        let text = with_body(&format!(
            " v10 = iadd v0, v1
            {filler} jump block1(v{})
            block1(v2: i64):
              v3 = iadd v2, v1
              v4 = icmp ugt v3, v0
              brif v4, block1(v3), block2
            block2:
              return v3",
            10 + before
        ));
        let (code, is_quick) = compile(&text);
        let code = code.unwrap();
        assert!(is_quick);
        // SAFETY: that many bytes are readable, and stay while `code` lives.
        let bytes = unsafe { std::slice::from_raw_parts(code.entry(), code.code_bytes()) };
        let jumps_back =
            bytes.windows(2).enumerate().filter(|(_, jump)| matches!(jump[0], 0x70..=0x7f | 0xeb) && jump[1] >= 0x80);
        let targets: Vec<_> = jumps_back.map(|(at, jump)| at as isize + 2 + jump[1].cast_signed() as isize).collect();
        assert!(targets.iter().any(|&target| target > 0 && target % 32 == 0), "{before}: {targets:?} of {bytes:x?}");
        assert_eq!(code.entry().addr() % 32, 0);
    }
}
