//! What LLVM does to code behind one's back, one function each: that the translation keeps it from doing so.

use std::{
    mem, ptr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use cranelift_codegen::{ir::Function, verify_function};
use cranelift_reader::parse_functions;
use tierup_llvm::{Cpu, Linked, Linker, Object, ObjectCompiler, Options, Pipeline, Refusal, Unit};

const PIPELINES: [Pipeline; 3] = [Pipeline::Cheap, Pipeline::O2, Pipeline::O3];

fn parse(text: &str) -> Vec<Function> {
    let functions = parse_functions(text).unwrap();
    let flags = cranelift_codegen::settings::Flags::new(cranelift_codegen::settings::builder());
    for func in &functions {
        verify_function(func, &flags).unwrap();
    }
    functions
}

/// The functions of `text` as one unit; the first is its entry.
fn compile(options: Options, text: &str) -> Result<Object, Refusal> {
    let functions = parse(text);
    let callees: Vec<&Function> = functions[1..].iter().collect();
    ObjectCompiler::new(options).unwrap().compile(&Unit { entry: &functions[0], callees: &callees })
}

fn with(pipeline: Pipeline) -> Options {
    Options { pipeline, ..Options::default() }
}

/// Optimized IR.
fn ir(pipeline: Pipeline, text: &str) -> String {
    let functions = parse(text);
    let callees: Vec<&Function> = functions[1..].iter().collect();
    ObjectCompiler::new(with(pipeline)).unwrap().ir_text(&Unit { entry: &functions[0], callees: &callees }).unwrap()
}

struct Code {
    linked: Linked,
    _linker: Arc<Linker>,
}

fn link(options: Options, text: &str) -> Code {
    let object = compile(options, text).unwrap();
    // SAFETY: no symbols but the ABI's own.
    let linker = unsafe { Linker::new(&[]) }.unwrap();
    Code { linked: linker.link(&object.bytes, &object.entry).unwrap(), _linker: linker }
}

impl Code {
    /// The code as a function of up to four integers; it leaves what it does not take alone.
    fn call(&self, args: [u64; 4]) -> u64 {
        // SAFETY: System V passes the first integers in registers; the tests pass what their functions take.
        let function: extern "C" fn(u64, u64, u64, u64) -> u64 = unsafe { mem::transmute(self.linked.entry()) };
        let [a, b, c, d] = args;
        function(a, b, c, d)
    }
}

/// How a forked child ends that runs `body`: the signal that killed it, or its exit status.
fn outcome(body: impl FnOnce()) -> Result<i32, i32> {
    // SAFETY: the child runs generated code, then leaves without touching what other threads may have locked.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        // No core file, and no handler of ours or the harness's.
        for signal in [libc::SIGSEGV, libc::SIGBUS] {
            // SAFETY: the default action.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        body();
        // SAFETY: leaves.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: our child.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    if libc::WIFSIGNALED(status) { Err(libc::WTERMSIG(status)) } else { Ok(libc::WEXITSTATUS(status)) }
}

#[test]
fn a_dead_load_that_may_trap_is_kept() {
    let text = |flags: &str| {
        format!("function %f(i64) -> i64 system_v {{\nblock0(v0: i64):\n    v1 = load.i64 {flags} v0\n    return v0\n}}")
    };
    for pipeline in PIPELINES {
        let code = link(with(pipeline), &text(""));
        assert_eq!(outcome(|| _ = code.call([8, 0, 0, 0])), Err(libc::SIGSEGV), "{pipeline:?}");
        // One that may not is dropped.
        let code = link(with(pipeline), &text("notrap"));
        assert_eq!(outcome(|| _ = code.call([8, 0, 0, 0])), Ok(0), "{pipeline:?}");
    }
}

#[test]
fn the_first_of_two_stores_is_made_although_the_second_faults() {
    // Both to the same cell, with a faulting store in between: the first must be visible when that faults.
    let text = "function %f(i64, i64) system_v {
    block0(v0: i64, v1: i64):
        v2 = iconst.i64 1
        v3 = iconst.i64 2
        store v2, v0
        store v2, v1
        store v3, v0
        return
    }";
    for pipeline in PIPELINES {
        let text = ir(pipeline, text);
        assert_eq!(text.matches("store volatile").count(), 3, "{text}");
    }
}

#[test]
fn endless_recursion_reaches_the_stack_check() {
    // Counts its depth, and returns it when the stack pointer falls below the limit.
    let text = "function %f(i64, i64) -> i64 system_v {
        fn0 = %f(i64, i64) -> i64 system_v
    block0(v0: i64, v1: i64):
        v2 = get_stack_pointer.i64
        v3 = icmp ult v2, v0
        brif v3, block1, block2
    block1:
        return v1
    block2:
        v4 = iconst.i64 1
        v5 = iadd v1, v4
        v6 = call fn0(v0, v5)
        return v6
    }";
    for pipeline in PIPELINES {
        let code = link(with(pipeline), text);
        let here = ptr::from_ref(&code) as u64;
        let depth = code.call([here - 100_000, 0, 0, 0]);
        // A frame has a return address and a frame pointer at least, and a few were inlined at most.
        assert!((100..100_000).contains(&depth), "{pipeline:?}: {depth}");
    }
}

#[test]
fn a_polled_flag_is_not_hoisted() {
    let text = |load: &str| {
        format!(
            "function %f(i64) -> i64 system_v {{
            block0(v0: i64):
                jump block1
            block1:
                v1 = {load}
                brif v1, block2, block1
            block2:
                return v1
            }}"
        )
    };
    for pipeline in PIPELINES {
        let code = link(with(pipeline), &text("atomic_load.i64 notrap v0"));
        let flag = AtomicU64::new(0);
        thread::scope(|scope| {
            let polling = scope.spawn(|| code.call([flag.as_ptr() as u64, 0, 0, 0]));
            thread::sleep(Duration::from_millis(20));
            assert!(!polling.is_finished(), "{pipeline:?}");
            // Ordering: Relaxed; the flag carries nothing.
            flag.store(7, Ordering::Relaxed);
            assert_eq!(polling.join().unwrap(), 7);
        });
    }
    // The control: a plain load is hoisted, and the loop left without a load.
    let plain = ir(Pipeline::O2, &text("load.i64 notrap aligned v0"));
    let after_loop = plain.split("block1").nth(1).unwrap();
    assert!(!after_loop.contains("load"), "{plain}");
}

/// Ends the process with the operand of the `ud1` that raised the signal.
extern "C" fn report_trap(_: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel's context; its instruction pointer is in our code, whose trap is as long as is read.
    unsafe {
        let context = &*context.cast::<libc::ucontext_t>();
        let code = context.uc_mcontext.gregs[libc::REG_RIP as usize] as *const [u8; 5];
        match *code {
            // The displacement of a memory operand, in one byte or in four.
            [0x67, 0x0f, 0xb9, 0x40 | 0x80, code] => libc::_exit(code.into()),
            _ => libc::_exit(0),
        }
    }
}

#[test]
fn two_trap_codes_stay_two() {
    let text = "function %f(i64, i64) -> i64 system_v {
    block0(v0: i64, v1: i64):
        trapz v0, user1
        trapz v1, user2
        v2 = iconst.i64 8
        v3 = uadd_overflow_trap v0, v1, heap_oob
        v4 = udiv v2, v3
        return v4
    }";
    let heap_oob = cranelift_codegen::ir::TrapCode::HEAP_OUT_OF_BOUNDS.as_raw().get();
    for pipeline in PIPELINES {
        let code = link(with(pipeline), text);
        let trap = |args: [u64; 2]| {
            outcome(|| {
                // SAFETY: installs a handler in the child.
                unsafe {
                    let mut action: libc::sigaction = mem::zeroed();
                    action.sa_sigaction = report_trap as *const () as usize;
                    action.sa_flags = libc::SA_SIGINFO;
                    libc::sigaction(libc::SIGILL, &action, ptr::null_mut());
                }
                code.call([args[0], args[1], 0, 0]);
            })
        };
        assert_eq!(trap([0, 1]), Ok(1), "{pipeline:?}");
        assert_eq!(trap([1, 0]), Ok(2), "{pipeline:?}");
        assert_eq!(trap([u64::MAX, 1]), Ok(heap_oob.into()), "{pipeline:?}");
        assert_eq!(trap([1, 1]), Ok(0), "{pipeline:?}");
        assert_eq!(code.call([1, 1, 0, 0]), 4);
    }
}

const SIGNALLING: u64 = 0x7ff0_0000_0000_0001;
const QUIET: u64 = 1 << 51;

/// `%f`, which does `body` to a float `v1` and returns the bits of the float `v9`.
fn on_bits(body: &str, more: &str) -> String {
    format!(
        "function %f(i64, i64) -> i64 system_v {{
            fn0 = %times(f64, f64) -> f64 system_v
        block0(v0: i64, v20: i64):
            v1 = bitcast.f64 v0
            {body}
            v10 = bitcast.i64 v9
            return v10
        }}
        function %times(f64, f64) -> f64 system_v {{
        block0(v0: f64, v1: f64):
            v2 = fmul v0, v1
            return v2
        }}
        {more}"
    )
}

#[test]
fn arithmetic_that_folds_to_its_operand_quiets_it() {
    let bodies = [
        "v2 = f64const 0x1.0\nv9 = fmul v1, v2",
        "v2 = f64const 0x1.0\nv9 = fdiv v1, v2",
        "v2 = f64const 0.0\nv9 = fsub v1, v2",
        "v2 = f64const -0.0\nv9 = fadd v1, v2",
        "v2 = f64const -0x1.0\nv9 = fmul v1, v2",
        "v2 = f64const -0.0\nv9 = fsub v2, v1",
        "v9 = fmin v1, v1",
        "v9 = fmax v1, v1",
        // A one that shows only after inlining.
        "v2 = f64const 0x1.0\nv9 = call fn0(v1, v2)",
        // Through a value that forwards arithmetic.
        "v2 = f64const 0x1.0\nv3 = fmul v1, v2\nv4 = fdiv v1, v2\nv9 = select v20, v3, v4",
        "v2 = f64const 0x1.0\nv3 = fmul v1, v2\nv9 = fneg v3",
        // Through memory.
        "v2 = f64const 0x1.0\nv3 = fmul v1, v2\nv5 = select v20, v3, v1\nv9 = fmul v5, v2",
    ];
    for pipeline in PIPELINES {
        for body in bodies {
            let code = link(with(pipeline), &on_bits(body, ""));
            for select in [0, 1] {
                let bits = code.call([SIGNALLING, select, 0, 0]);
                assert!(f64::from_bits(bits).is_nan() && bits & QUIET != 0, "{pipeline:?}: {body}: {bits:#x}");
            }
        }
    }
}

#[test]
fn a_demoted_promotion_quiets() {
    let text = "function %f(i32) -> i32 system_v {
    block0(v0: i32):
        v1 = bitcast.f32 v0
        v2 = fpromote.f64 v1
        v3 = fdemote.f32 v2
        v4 = bitcast.i32 v3
        return v4
    }";
    for pipeline in PIPELINES {
        let bits = link(with(pipeline), text).call([0x7f80_0001, 0, 0, 0]) as u32;
        assert_eq!(bits, 0x7fc0_0001, "{pipeline:?}: {bits:#x}");
    }
}

/// What the code generator knows to be a number, beside a signalling NaN.
#[test]
fn the_minimum_of_a_number_and_a_nan_is_the_nan() {
    let numbers = [
        "v2 = fcvt_from_sint.f64 v20",
        "v3 = ireduce.i8 v20\nv2 = fcvt_from_uint.f64 v3",
        "v3 = f64const -0x1.0p9\nv4 = f64const 0.0\nv2 = select v20, v3, v4",
        "v3 = fcvt_from_sint.f64 v20\nv4 = fneg v3\nv2 = fmin v3, v4",
        "v3 = fcvt_from_sint.f32 v20\nv2 = fpromote.f64 v3",
    ];
    for pipeline in PIPELINES {
        for (number, operation) in numbers
            .iter()
            .flat_map(|&number| ["fmin v1, v2", "fmin v2, v1", "fmax v1, v2", "fmax v2, v1"].map(|operation| (number, operation)))
        {
            let body = format!("{number}\nv9 = {operation}");
            let code = link(with(pipeline), &on_bits(&body, ""));
            for nan in [SIGNALLING, SIGNALLING | 1 << 63, SIGNALLING | QUIET] {
                let bits = code.call([nan, 3, 0, 0]);
                assert!(f64::from_bits(bits).is_nan() && bits & QUIET != 0, "{pipeline:?}: {body}: {bits:#x}");
            }
            let bits = code.call([1000f64.to_bits(), 3, 0, 0]);
            assert_eq!(f64::from_bits(bits) == 1000.0, operation.starts_with("fmax"), "{pipeline:?}: {body}: {bits:#x}");
        }
    }
}

#[test]
fn other_minima_are_not_quieted() {
    // The result's own quieting is one.
    let multiplications = |body: &str| ir(Pipeline::O2, &on_bits(body, "")).matches("fmul").count();
    assert_eq!(multiplications("v2 = fcvt_from_sint.f64 v20\nv9 = fmin v1, v2"), 2);
    assert_eq!(multiplications("v3 = fcvt_from_sint.f64 v20\nv2 = fadd v1, v1\nv9 = fmin v2, v3"), 1);
    assert_eq!(multiplications("v2 = f64const 0x1.8\nv9 = fmin v1, v2"), 1);
    assert_eq!(multiplications("v2 = bitcast.f64 v20\nv3 = fadd v1, v1\nv9 = fmin v2, v3"), 1);
}

#[test]
fn what_is_not_arithmetic_keeps_every_bit() {
    let bodies = [
        ("v9 = fneg v1", SIGNALLING | 1 << 63),
        ("v9 = fabs v1", SIGNALLING),
        ("v2 = f64const 0x1.0\nv9 = select v20, v1, v2", SIGNALLING),
        // One arm is arithmetic, the other must not be touched.
        ("v2 = f64const 0x1.0\nv3 = fmul v2, v1\nv9 = select v20, v1, v3", SIGNALLING),
    ];
    for pipeline in PIPELINES {
        for (body, expected) in bodies {
            let bits = link(with(pipeline), &on_bits(body, "")).call([SIGNALLING, 1, 0, 0]);
            assert_eq!(bits, expected, "{pipeline:?}: {body}");
        }
    }
}

#[test]
fn what_is_quieted_is_not_changed_otherwise() {
    let code = link(Options::default(), &on_bits("v2 = f64const 0x1.0\nv9 = fmul v1, v2", ""));
    for value in [0.0, -0.0, 1.5, f64::MIN_POSITIVE / 4.0, f64::MAX, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(code.call([value.to_bits(), 0, 0, 0]), value.to_bits());
    }
}

#[test]
fn what_is_still_arithmetic_after_the_passes_is_not_quieted_again() {
    let multiplications = |body: &str| ir(Pipeline::O2, &on_bits(body, "")).matches("fmul").count();
    assert_eq!(multiplications("v9 = fadd v1, v1"), 0);
    assert_eq!(multiplications("v2 = f64const 0x1.8\nv3 = fadd v1, v1\nv9 = fmul v3, v2"), 1);
    // Folded to what came in.
    assert_eq!(multiplications("v2 = f64const 0x1.0\nv9 = fmul v1, v2"), 1);
    assert_eq!(multiplications("v2 = f64const -0.0\nv9 = fadd v1, v2"), 1);
}

/// Whether an object names a symbol.
fn names(object: &Object, symbol: &str) -> bool {
    let needle = [b"\0", symbol.as_bytes(), b"\0"].concat();
    object.bytes.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn a_call_that_llvm_invents_resolves() {
    // Clears `v1` bytes at `v0`.
    let text = "function %clear(i64, i64) -> i64 system_v {
    block0(v0: i64, v1: i64):
        v2 = iconst.i64 0
        v3 = iconst.i8 0
        brif v1, block1(v2), block2
    block1(v4: i64):
        v5 = iadd v0, v4
        store notrap v3, v5
        v6 = iconst.i64 1
        v7 = iadd v4, v6
        v8 = icmp ult v7, v1
        brif v8, block1(v7), block2
    block2:
        return v1
    }";
    let object = compile(Options::default(), text).unwrap();
    assert!(names(&object, "memset"));
    let code = link(Options::default(), text);
    let mut bytes = [1u8; 100];
    code.call([bytes.as_mut_ptr() as u64, 99, 0, 0]);
    assert_eq!((bytes[98], bytes[99]), (0, 1));
}

#[test]
fn a_processor_without_an_instruction_calls_the_library() {
    let text = on_bits("v2 = ceil v1\nv9 = fma v2, v2, v2", "");
    let cpu = Cpu::Named { name: "x86-64".to_owned(), features: String::new() };
    let options = Options { cpu, ..Options::default() };
    let object = compile(options.clone(), &text).unwrap();
    assert!(names(&object, "fma") && names(&object, "ceil"));
    let bits = link(options, &text).call([2.5f64.to_bits(), 0, 0, 0]);
    assert_eq!(f64::from_bits(bits), 12.0);
}

#[test]
fn an_import_is_not_what_llvm_knows_by_its_name() {
    // The host's own `abs`; LLVM must not take it for C's, nor drop the call.
    let text = "function %f(i32) -> i32 system_v {
        fn0 = %abs(i32) -> i32 system_v
    block0(v0: i32):
        v1 = call fn0(v0)
        return v0
    }";
    let ir = ir(Pipeline::O2, text);
    assert!(ir.contains("call i32 @abs"), "{ir}");
}

#[test]
fn a_loop_over_recovered_addresses_vectorizes() {
    // y[i] += x[i], addresses by `iadd`.
    let text = "function %f(i64, i64, i64) system_v {
    block0(v0: i64, v1: i64, v2: i64):
        v3 = iconst.i64 0
        jump block1(v3)
    block1(v4: i64):
        v5 = iconst.i64 3
        v6 = ishl v4, v5
        v7 = iadd v0, v6
        v8 = iadd v1, v6
        v9 = load.f64 notrap v7
        v10 = load.f64 notrap v8
        v11 = fadd v9, v10
        store notrap v11, v8
        v12 = iconst.i64 1
        v13 = iadd v4, v12
        v14 = icmp ult v13, v2
        brif v14, block1(v13), block2
    block2:
        return
    }";
    for pipeline in [Pipeline::O2, Pipeline::O3] {
        let ir = ir(pipeline, text);
        assert!(ir.contains("x double>"), "{ir}");
    }
}

#[test]
fn alias_regions_are_believed() {
    let text = |store: &str| {
        format!(
            "function %f(i64, i64) -> i64 system_v {{
                region0 = 10 \"one\"
                region1 = 20 \"other\"
            block0(v0: i64, v1: i64):
                v2 = load.i64 notrap aligned region0 v0
                v3 = iconst.i64 5
                store notrap aligned {store} v3, v1
                v4 = load.i64 notrap aligned region0 v0
                v5 = iadd v2, v4
                return v5
            }}"
        )
    };
    let loads = |store: &str| ir(Pipeline::O2, &text(store)).matches("load i64").count();
    assert_eq!((loads("region1"), loads("region0"), loads("")), (1, 2, 2));
}

#[test]
fn a_frame_beyond_the_red_zone_is_refused() {
    let text = "function %f(i64) -> i64 system_v {
        ss0 = explicit_slot 40000
    block0(v0: i64):
        v1 = stack_addr.i64 ss0
        v2 = iadd v1, v0
        store notrap v0, v2
        v3 = load.i64 notrap v1
        return v3
    }";
    let refusal = compile(Options::default(), text).unwrap_err();
    assert!(matches!(refusal, Refusal::FrameTooLarge { bytes: 39000.., limit: 32768, .. }), "{refusal}");
    let object = compile(Options { max_frame: None, ..Options::default() }, text).unwrap();
    assert!(object.frames[0].0 == "f" && object.frames[0].1 >= 39000, "{:?}", object.frames);
}

#[test]
fn what_would_cross_tiers_differently_is_refused() {
    let refused = |text: &str, why: &str| {
        let refusal = compile(Options::default(), text).unwrap_err();
        assert!(refusal.to_string().contains(why), "{refusal}");
    };
    let body = |signature: &str, params: &str, returns: &str| {
        format!("function %f({signature} {{\nblock0({params}):\n    return {returns}\n}}")
    };
    refused(&body("i64) -> i64 tail", "v0: i64", "v0"), "convention");
    refused(&body("i64) -> i64, i64, i64, i64 system_v", "v0: i64", "v0, v0, v0, v0"), "results");
    let many = "v0: i64, v1: i64, v2: i64, v3: i64, v4: i64, v5: i128";
    refused(&body("i64, i64, i64, i64, i64, i128) -> i64 system_v", many, "v0"), "i128");
    refused(&body("i64 sret) system_v", "v0: i64", ""), "structs");
    refused(&body("i32x4) system_v", "v0: i32x4", ""), "i32x4");
    let twice = body("i64) system_v", "v0: i64", "");
    refused(&format!("{twice}\n{twice}"), "two functions");
}

#[test]
fn a_compiler_outlives_many_contexts() {
    let functions = parse("function %f(i64) -> i64 system_v {\nblock0(v0: i64):\n    return v0\n}");
    let mut compiler = ObjectCompiler::new(with(Pipeline::Cheap)).unwrap();
    let first = compiler.compile(&Unit::single(&functions[0])).unwrap();
    for _ in 0..200 {
        let again = compiler.compile(&Unit::single(&functions[0])).unwrap();
        assert!(again.bytes == first.bytes, "the same CLIF gives the same bytes");
    }
}
