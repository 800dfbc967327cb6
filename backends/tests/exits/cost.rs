//! A guard that holds costs a comparison and a branch: the instructions on the way to the return, with a guard and without.
//!
//! Not counted are moves between registers, which allocators make as they like, and the setup of the frame, which LLVM moves into the
//! exit where nothing else needs it.

use std::{io::Write, process::Command};

use cranelift_codegen::{
    ir::{AbiParam, InstBuilder, Signature, condcodes::IntCC, types::I64},
    isa::CallConv,
};
use tierup_backends::{
    CompiledFunction, LowerCx,
    clif::{self, Traps},
    deopt::{ExitReason, FrameState},
};
use tierup_broker::{Bailout, GuardId};

/// Whether there is a guard.
pub(crate) type Guarded = bool;

/// `a + b`, behind a guard that `a < b`, whose frame has eight slots.
pub(crate) fn lower(cx: &mut LowerCx<'_, Guarded>) -> Result<(), Bailout> {
    let is_guarded = *cx.guest();
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params = vec![AbiParam::new(I64); 4];
    signature.returns = vec![AbiParam::new(I64)];
    let mut b = cx.start(signature);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    b.seal_block(entry);
    let mut traps = Traps::new();
    let abi = clif::leaf_prologue(&mut b, &mut traps);
    let [.., x, y] = *b.block_params(entry) else { unreachable!() };
    if is_guarded {
        let holds = b.ins().icmp(IntCC::SignedLessThan, x, y);
        let state = FrameState::of(1, 2).slots((0..8).map(|slot| (slot, if slot % 2 == 0 { x } else { y })));
        cx.guard(&mut b, &abi, holds, &state, GuardId(1), ExitReason::Overflow).expect("few slots");
    }
    let sum = b.ins().iadd(x, y);
    b.ins().return_(&[sum]);
    traps.finish(&mut b);
    b.finish();
    Ok(())
}

pub(crate) fn a_guard_that_holds_is_a_comparison_and_a_branch(compile: impl Fn(Guarded) -> CompiledFunction) {
    let Some((plain, guarded)) = way_to_return(&compile(false)).zip(way_to_return(&compile(true))) else {
        println!("skipped: no objdump");
        return;
    };
    let is_jump = |instruction: &&String| instruction.starts_with('j');
    let is_comparison = |instruction: &&String| instruction.starts_with("cmp") || instruction.starts_with("test");
    let count = |instructions: &[String]| {
        (instructions.iter().filter(is_jump).count(), instructions.iter().filter(is_comparison).count())
    };
    assert_eq!(count(&plain), (0, 0), "{plain:#?}");
    assert_eq!(count(&guarded), (1, 1), "{guarded:#?}");
    assert_eq!(guarded.len(), plain.len() + 2, "{guarded:#?} for {plain:#?}");
}

fn is_free(instruction: &str) -> bool {
    let moves = instruction.starts_with("mov ") && !instruction.contains('(');
    moves || ["push ", "pop "].iter().any(|op| instruction.starts_with(op)) && instruction.ends_with("%rbp")
}

/// What is executed from the entry to the first `ret` if no jump is taken. `None` without a disassembler.
fn way_to_return(code: &CompiledFunction) -> Option<Vec<String>> {
    // SAFETY: the code is readable while it lives, and so long.
    let bytes = unsafe { std::slice::from_raw_parts(code.entry(), code.code_bytes()) };
    let name = format!("tierup-guard-{}-{:x}", std::process::id(), code.entry().addr());
    let path = std::env::temp_dir().join(name);
    std::fs::File::create(&path).and_then(|mut file| file.write_all(bytes)).expect("the temporary folder is writable");
    let output = Command::new("objdump").args(["-D", "-b", "binary", "-m", "i386:x86-64"]).arg(&path).output();
    std::fs::remove_file(&path).expect("just written");
    let text = String::from_utf8(output.ok()?.stdout).expect("text");
    let instructions = text.lines().filter_map(|line| line.split('\t').nth(2)).map(|text| text.trim().to_owned());
    let mut way = Vec::new();
    for instruction in instructions {
        let is_last = instruction.starts_with("ret");
        if !is_free(&instruction) {
            way.push(instruction);
        }
        if is_last {
            return Some(way);
        }
    }
    panic!("no return: {way:#?}");
}
