//! The Cranelift backend from outside: hostile lowerings, memory that comes back, several workers, maps from pcs.

mod inlined;

use std::{
    fs,
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use cranelift_codegen::{
    ir::{AbiParam, Function, InstBuilder, MemFlagsData, Signature, SourceLoc, StackSlotData, StackSlotKind, types::I64},
    isa::CallConv,
};
use tierup_backends::{
    BackendError, Builder, CodeMemory, CraneliftBackend, CraneliftBackendBuilder, HostSymbol, LowerCx, OptLevel,
    abi::{MAX_FRAME, Regs, Segment, TRAP_SYMBOL, ThreadCells, WIDE_SLOTS, enter},
    clif::{self, Traps},
};
use tierup_broker::{Bailout, BailoutReason, Tier};

const TIER: Tier = Tier::new(1);

fn body() -> Signature {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.extend([AbiParam::new(I64); 3]);
    signature.returns.push(AbiParam::new(I64));
    signature
}

fn entry_block(b: &mut Builder<'_>) -> [cranelift_codegen::ir::Value; 3] {
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    b.seal_block(entry);
    let [vmctx, callee, argument] = *b.block_params(entry) else { unreachable!() };
    [vmctx, callee, argument]
}

/// argument + guest.
fn add_guest(cx: &mut LowerCx<'_, u32>) -> Result<(), Bailout> {
    let mut b = cx.start(body());
    let [.., argument] = entry_block(&mut b);
    let guest = b.ins().iconst(I64, i64::from(*cx.guest()));
    let sum = b.ins().iadd(argument, guest);
    b.ins().return_(&[sum]);
    b.finish();
    Ok(())
}

fn provide_text(cx: &mut LowerCx<'_, &'static str>) -> Result<(), Bailout> {
    cx.provide(cranelift_reader::parse_functions(cx.guest()).unwrap().remove(0));
    Ok(())
}

/// Calls a function of [`body`]'s signature.
fn call(entry: *const u8, argument: u64) -> u64 {
    let mut wide = vec![0; WIDE_SLOTS];
    let mut cells = ThreadCells::new(std::ptr::null_mut(), wide.as_mut_ptr());
    let mut vmctx: *mut ThreadCells = &mut cells;
    let mut regs = Regs::default();
    regs.gpr[0] = (&raw mut vmctx) as u64;
    regs.gpr[2] = argument;
    // SAFETY: compiled from `body`'s signature, kept by the caller, and no function here uses the stack.
    unsafe { enter(vmctx, entry, &mut regs) }.unwrap();
    regs.ret_gpr
}

fn maps() -> usize {
    fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

#[test]
fn three_thousand_compiles_leave_nothing_behind() {
    let memory = CodeMemory::reserve(64 << 20).unwrap();
    let backend = CraneliftBackend::builder().code_memory(memory.clone()).build(add_guest).unwrap();
    let compile = |guest: u32| backend.compile_direct(&guest, TIER).unwrap();
    let kept: Vec<_> = (0..20).map(compile).collect();
    let (used, before) = (memory.used_bytes(), maps());
    for guest in 0..3000 {
        let code = compile(guest);
        assert_eq!(call(code.entry(), 1), u64::from(guest) + 1);
    }
    assert_eq!(memory.used_bytes(), used);
    // Other tests of this process map memory too; a leak would be thousands.
    assert!(maps() < before + 100, "{} maps, {before} before", maps());
    for (guest, code) in kept.iter().enumerate() {
        assert_eq!(call(code.entry(), 1), guest as u64 + 1);
    }
    drop(kept);
    assert_eq!(memory.used_bytes(), 0);
    assert_eq!(backend.totals().units, 3020);
}

#[test]
fn freed_code_is_neither_mapped_nor_found() {
    let memory = CodeMemory::reserve(1 << 20).unwrap();
    let backend = CraneliftBackend::builder().code_memory(memory.clone()).build(add_guest).unwrap();
    let code = backend.compile_direct(&5, TIER).unwrap();
    let entry = code.entry() as usize;
    assert!(memory.map().find(entry).is_some());
    assert_eq!(protection(entry), "r-x");
    drop(code);
    assert!(memory.map().find(entry).is_none());
    assert_eq!(protection(entry), "---");
}

/// Protection of the mapping that contains `address`.
fn protection(address: usize) -> String {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| {
        let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
        (usize::from_str_radix(start, 16).unwrap()..usize::from_str_radix(end, 16).unwrap()).contains(&address)
    });
    line.unwrap().split(' ').nth(1).unwrap()[..3].to_owned()
}

#[test]
fn pages_are_never_writable_and_executable() {
    let memory = CodeMemory::reserve(16 << 20).unwrap();
    let backend = CraneliftBackend::builder().code_memory(memory).build(add_guest).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut looks = 0;
            while !done.load(Ordering::Relaxed) || looks == 0 {
                let maps = fs::read_to_string("/proc/self/maps").unwrap();
                assert!(!maps.lines().any(|line| line.contains(" rwx")), "{maps}");
                looks += 1;
            }
        });
        for guest in 0..500 {
            drop(backend.compile_direct(&guest, TIER).unwrap());
        }
        done.store(true, Ordering::Relaxed);
        watcher.join().unwrap();
    });
}

#[test]
fn two_threads_compile_at_once() {
    let backend = CraneliftBackend::builder().build(add_guest).unwrap();
    let (barrier, backend) = (Barrier::new(2), &backend);
    thread::scope(|scope| {
        for base in [0, 1000] {
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                let code: Vec<_> = (0..200).map(|i| backend.compile_direct(&(base + i), TIER).unwrap()).collect();
                for (i, code) in code.iter().enumerate() {
                    assert_eq!(call(code.entry(), 7), u64::from(base) + i as u64 + 7);
                }
            });
        }
    });
    assert_eq!(backend.code_memory().used_bytes(), 0);
}

fn reason(result: Result<impl Sized, Bailout>) -> BailoutReason {
    result.err().expect("a bailout").reason().clone()
}

#[test]
fn endless_recursion_through_the_builder_is_a_bailout() {
    #[expect(unconditional_recursion, reason = "that is the point")]
    fn nest(b: &mut Builder<'_>, value: cranelift_codegen::ir::Value) {
        let deeper = b.ins().iadd_imm_s(value, 1);
        nest(b, deeper);
        b.ins().iadd(value, deeper);
    }
    let backend = CraneliftBackend::builder()
        .build(|cx: &mut LowerCx<'_, bool>| {
            let mut b = cx.start(body());
            let [.., argument] = entry_block(&mut b);
            if *cx.guest() {
                nest(&mut b, argument);
            }
            b.ins().return_(&[argument]);
            b.finish();
            Ok(())
        })
        .unwrap();
    assert_eq!(reason(backend.compile_direct(&true, TIER)), BailoutReason::StackExhausted);
    assert!(backend.compile_direct(&false, TIER).is_ok(), "the next compile starts afresh");
}

#[test]
fn clif_the_verifier_refuses_is_a_bailout() {
    let backend = CraneliftBackend::builder().build(provide_text).unwrap();
    let wrong_type = "function %f(i64, i64, i64) -> i64 system_v {\nblock0(v0: i64, v1: i64, v2: i64):\n    v3 = ireduce.i32 v2\n    return v3\n}";
    let bailout = backend.compile_direct(&wrong_type, TIER).unwrap_err();
    assert!(!bailout.is_retryable());
    assert!(matches!(bailout.reason(), BailoutReason::Verifier { .. }), "{bailout}");
}

#[test]
fn an_unfinished_function_is_a_bailout() {
    let backend = CraneliftBackend::builder().build(|_: &mut LowerCx<'_, ()>| Ok(())).unwrap();
    assert!(matches!(reason(backend.compile_direct(&(), TIER)), BailoutReason::Verifier { .. }));
}

#[test]
fn unknown_helpers_are_a_bailout() {
    let named = CraneliftBackend::builder()
        .build(|cx: &mut LowerCx<'_, ()>| {
            let mut b = cx.start(body());
            entry_block(&mut b);
            cx.helper(&mut b, "no_such_helper").map(|_| ())
        })
        .unwrap();
    let unknown = |name: &str| BailoutReason::UnknownSymbol { name: name.to_owned() };
    assert_eq!(reason(named.compile_direct(&(), TIER)), unknown("no_such_helper"));
    let text = CraneliftBackend::builder().build(provide_text).unwrap();
    let called = "function %f(i64, i64, i64) -> i64 system_v {\n    fn0 = %nobody(i64) -> i64 system_v\nblock0(v0: i64, v1: i64, v2: i64):\n    v3 = call fn0(v2)\n    return v3\n}";
    assert_eq!(reason(text.compile_direct(&called, TIER)), unknown("nobody"));
}

#[test]
fn foreign_signatures_are_a_bailout() {
    let backend = CraneliftBackend::builder().build(provide_text).unwrap();
    for text in [
        "function %f(i64, i64) -> i64, i64 system_v {\nblock0(v0: i64, v1: i64):\n    return v0, v1\n}",
        "function %f(i64, i64) -> i64 tail {\nblock0(v0: i64, v1: i64):\n    return v0\n}",
    ] {
        assert!(matches!(reason(backend.compile_direct(&text, TIER)), BailoutReason::Unsupported { .. }));
    }
}

#[test]
fn large_frames_are_a_bailout() {
    let backend = CraneliftBackend::builder()
        .build(|cx: &mut LowerCx<'_, u32>| {
            let mut b = cx.start(body());
            let [.., argument] = entry_block(&mut b);
            let slot = b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, *cx.guest(), 3));
            let address = b.ins().stack_addr(I64, slot, 0);
            b.ins().store(MemFlagsData::trusted(), argument, address, 0);
            let value = b.ins().load(I64, MemFlagsData::trusted(), address, 0);
            b.ins().return_(&[value]);
            b.finish();
            Ok(())
        })
        .unwrap();
    assert!(backend.check(&1024, TIER).unwrap().frame_bytes >= 1024);
    let too_large = reason(backend.compile_direct(&(MAX_FRAME as u32 + 8), TIER));
    assert!(matches!(too_large, BailoutReason::FrameTooLarge { limit, .. } if limit == MAX_FRAME as u64));
}

#[test]
fn an_exhausted_arena_is_a_retryable_bailout() {
    let memory = CodeMemory::reserve(4096).unwrap();
    let backend = CraneliftBackend::builder().code_memory(memory).build(add_guest).unwrap();
    let first = backend.compile_direct(&1, TIER).unwrap();
    let bailout = backend.compile_direct(&2, TIER).unwrap_err();
    assert_eq!((bailout.is_retryable(), bailout.reason()), (true, &BailoutReason::OutOfCodeMemory));
    drop(first);
    assert!(backend.compile_direct(&2, TIER).is_ok());
}

#[test]
fn helpers_are_called_and_panics_pass_through() {
    extern "C" fn triple(x: u64) -> u64 {
        x * 3
    }
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.push(AbiParam::new(I64));
    signature.returns.push(AbiParam::new(I64));
    // SAFETY: a static function of that signature.
    let builder = unsafe { CraneliftBackend::builder().symbol("triple", triple as *const () as *const u8, signature) };
    let backend = builder
        .build(|cx: &mut LowerCx<'_, bool>| {
            assert!(*cx.guest(), "the lowering panics");
            let mut b = cx.start(body());
            let [.., argument] = entry_block(&mut b);
            let triple = cx.helper(&mut b, "triple")?;
            let call = b.ins().call(triple, &[argument]);
            let result = b.inst_results(call)[0];
            b.ins().return_(&[result]);
            b.finish();
            Ok(())
        })
        .unwrap();
    let code = backend.compile_direct(&true, TIER).unwrap();
    assert_eq!(call(code.entry(), 14), 42);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| backend.compile_direct(&false, TIER)));
    assert!(panicked.is_err(), "the broker's boundary is the place to catch it");
}

fn unary() -> Signature {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.push(AbiParam::new(I64));
    signature.returns.push(AbiParam::new(I64));
    signature
}

extern "C" fn twice(x: u64) -> u64 {
    x * 2
}

static TABLE: [HostSymbol; 2] = [
    HostSymbol { name: "twice", address: || twice as *const u8, signature: unary },
    HostSymbol { name: "again", address: || twice as *const u8, signature: unary },
];

#[test]
fn helpers_are_called_from_a_table_by_either_compiler() {
    for level in [OptLevel::Quick, OptLevel::Speed] {
        // SAFETY: static functions of that signature.
        let builder = unsafe { CraneliftBackend::builder().opt_level(level).symbol_table(&TABLE) };
        let backend = builder
            .build(|cx: &mut LowerCx<'_, &str>| {
                let mut b = cx.start(body());
                let [.., argument] = entry_block(&mut b);
                let helper = cx.helper(&mut b, cx.guest())?;
                let call = b.ins().call(helper, &[argument]);
                let result = b.inst_results(call)[0];
                b.ins().return_(&[result]);
                b.finish();
                Ok(())
            })
            .unwrap();
        let code = backend.compile_direct(&"again", TIER).unwrap();
        assert_eq!(call(code.entry(), 21), 42, "{level:?}");
        // Not in the table, or what code calls of itself only.
        for unknown in ["thrice", "memcpy"] {
            let why = reason(backend.compile_direct(&unknown, TIER));
            assert!(matches!(&why, BailoutReason::UnknownSymbol { name } if name == unknown), "{why:?}");
        }
    }
}

#[test]
fn a_name_is_registered_once() {
    static ITSELF_TWICE: [HostSymbol; 2] = [TABLE[0], TABLE[0]];
    let [one, other] = ["trap", "twice"].map(|name| (name, twice as *const u8, unary()));
    let refused = |builder: CraneliftBackendBuilder| match builder.build(add_guest) {
        Err(BackendError::DuplicateSymbol(name)) => Some(name),
        _ => None,
    };
    let builder = CraneliftBackend::builder;
    // SAFETY: static functions of those signatures.
    unsafe {
        assert_eq!(refused(builder().symbol_table(&TABLE).symbol(one.0, one.1, one.2)), None);
        assert_eq!(refused(builder().symbol_table(&ITSELF_TWICE)).as_deref(), Some("twice"));
        assert_eq!(refused(builder().symbol_table(&TABLE).symbol_table(&TABLE)).as_deref(), Some("twice"));
        assert_eq!(refused(builder().symbol(other.0, other.1, other.2.clone()).symbol_table(&TABLE)).as_deref(), Some("twice"));
        assert_eq!(refused(builder().symbol_table(&TABLE).symbol(other.0, other.1, other.2)).as_deref(), Some("twice"));
        // What every backend has is taken as well.
        assert_eq!(refused(builder().symbol(TRAP_SYMBOL, twice as *const u8, unary())).as_deref(), Some(TRAP_SYMBOL));
        assert_eq!(refused(builder().symbol("memcpy", twice as *const u8, unary())).as_deref(), Some("memcpy"));
    }
}

/// Where a trap was, in guest offsets: innermost frame exactly, and its callers at their calls.
#[test]
fn a_backtrace_names_guest_offsets() {
    thread_local! {
        static PCS: std::cell::RefCell<Vec<usize>> = const { std::cell::RefCell::new(Vec::new()) };
    }
    unsafe extern "C" fn on_trap(cells: *mut ThreadCells) {
        // SAFETY: the trap path recorded the exit, and the frames are still there.
        let frames: Vec<usize> = unsafe { Segment::innermost(cells).unwrap().frames() }.collect();
        PCS.with(|pcs| *pcs.borrow_mut() = frames);
    }
    let backend = CraneliftBackend::builder()
        .build(|cx: &mut LowerCx<'_, Option<usize>>| {
            cx.set_tag(if cx.guest().is_some() { 1 } else { 2 });
            let mut b = cx.start(body());
            let [vmctx, callee, argument] = entry_block(&mut b);
            let mut traps = Traps::new();
            b.set_srcloc(SourceLoc::new(10));
            clif::prologue(&mut b, &mut traps, 4096, 9);
            b.set_srcloc(SourceLoc::new(20));
            let result = match *cx.guest() {
                Some(entry) => {
                    let signature = b.import_signature(body());
                    let entry = b.ins().iconst(I64, entry as i64);
                    let call = b.ins().call_indirect(signature, entry, &[vmctx, callee, argument]);
                    b.inst_results(call)[0]
                }
                None => argument,
            };
            b.set_srcloc(SourceLoc::new(30));
            traps.trap_ifz(&mut b, argument, 7);
            b.set_srcloc(SourceLoc::new(40));
            traps.trap_ifz(&mut b, result, 7);
            b.ins().return_(&[result]);
            traps.finish(&mut b);
            b.finish();
            Ok(())
        })
        .unwrap();
    let inner = backend.compile_direct(&None, TIER).unwrap();
    let outer = backend.compile_direct(&Some(inner.entry() as usize), TIER).unwrap();
    let mut cells = ThreadCells::new(std::ptr::null_mut(), std::ptr::null_mut());
    cells.on_trap = on_trap;
    let mut vmctx: *mut ThreadCells = &mut cells;
    let mut regs = Regs::default();
    regs.gpr[0] = (&raw mut vmctx) as u64;
    // SAFETY: both functions are alive and of that signature; the stack limit of 0 is never met.
    let trapped = unsafe { enter(vmctx, outer.entry(), &mut regs) };
    assert_eq!(trapped.unwrap_err().0, 7);
    let position = |&pc: &usize| backend.code_memory().map().find_return(pc).map(|at| (at.tag, at.guest_offset));
    let found: Vec<_> = PCS.with(|pcs| pcs.borrow().iter().map(position).collect());
    assert_eq!(found, [Some((2, Some(30))), Some((1, Some(20)))]);
}

/// A call that the lowering has inlined is a frame.
#[test]
fn what_a_lowering_inlines_is_told() {
    for level in [OptLevel::Quick, OptLevel::None, OptLevel::Speed] {
        let backend = CraneliftBackend::builder().opt_level(level).build(inlined::lower).unwrap();
        inlined::check(backend.code_memory().map(), &backend.compile_direct(&(), TIER).unwrap());
    }
}

/// What `clif_text` prints is CLIF.
#[test]
fn clif_text_round_trips() {
    let backend = CraneliftBackend::builder().build(add_guest).unwrap();
    let text = backend.clif_text(&3, TIER).unwrap();
    let parsed: Vec<Function> = cranelift_reader::parse_functions(&text).unwrap();
    assert_eq!(parsed[0].signature, body());
}
