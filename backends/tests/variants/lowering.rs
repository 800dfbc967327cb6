//! The test's guest function, written three times: as Rust that can begin anywhere, and as one lowering.
//!
//! ```text
//! for i in 0..n { for j in 0..i { trap if i == trap_at; h = h * 0.5 + i * j } }  →  h, or i and h
//! ```

use cranelift_codegen::{
    ir::{
        AbiParam, InstBuilder, Signature, Value,
        condcodes::IntCC,
        types::{F64, I32, I64},
    },
    isa::CallConv,
};
use tierup_backends::{
    LowerCx, Site,
    clif::{self, Countdown, Traps},
};
use tierup_broker::Bailout;

/// Traps there are.
pub(crate) const TRAP: u64 = 7;

/// Sites, and slots of the frame.
pub(crate) const OUTER: u32 = 0;
pub(crate) const INNER: u32 = 1;
const N: u32 = 0;
const I: u32 = 1;
const J: u32 = 2;
const H: u32 = 3;

/// What is lowered.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Guest {
    /// The body traps in turn `i` of the outer loop.
    pub(crate) trap_at: Option<i64>,
    /// The inner loop counts, with bead 0's slot, and leaves where it is told to.
    pub(crate) counts: bool,
    /// It tells the broker before.
    pub(crate) tells: bool,
    /// There are two results.
    pub(crate) wide: bool,
}

/// A frame: `[n, i, j, h]`, with what is nobody's in the upper half of `j`.
pub(crate) type Frame = [u64; 4];

/// Where a run of the Rust version stops: `arrivals` times at `site`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stop {
    pub(crate) site: u32,
    pub(crate) arrivals: u64,
}

/// Runs from the header of `site`, or from the top, to the end or to the stop. `Ok` has h.
pub(crate) fn interpret(frame: Frame, site: Option<u32>, mut stop: Option<Stop>) -> Result<f64, Frame> {
    let [n, mut i, j, h] = frame;
    let (mut j, mut h) = (u64::from(j as u32), f64::from_bits(h));
    let mut arrive = |site, frame: Frame| match &mut stop {
        Some(stop) if stop.site == site && stop.arrivals == 0 => Err(frame),
        Some(stop) if stop.site == site => {
            stop.arrivals -= 1;
            Ok(())
        }
        _ => Ok(()),
    };
    let mut inside = site == Some(INNER);
    loop {
        if !inside {
            arrive(OUTER, [n, i, 0, h.to_bits()])?;
            if i >= n {
                return Ok(h);
            }
            j = 0;
        }
        inside = false;
        loop {
            arrive(INNER, [n, i, 0xdead_beef << 32 | j, h.to_bits()])?;
            if j >= i {
                break;
            }
            h = h * 0.5 + (i * j) as f64;
            j += 1;
        }
        i += 1;
    }
}

pub(crate) fn lower(cx: &mut LowerCx<'_, Guest>) -> Result<(), Bailout> {
    let guest = *cx.guest();
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.extend([I64, I64, I64, F64].map(AbiParam::new));
    if guest.wide {
        cx.wide_results(2);
    } else {
        signature.returns.push(AbiParam::new(F64));
    }
    let mut b = cx.start(signature);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    let mut traps = Traps::new();
    let abi = clif::prologue(&mut b, &mut traps, 0, 9);
    let [.., n, initial] = *b.block_params(entry) else { unreachable!() };
    let [i, j, h] = [I64, I32, F64].map(|ty| b.declare_var(ty));
    let zero = b.ins().iconst(I64, 0);
    let zero32 = b.ins().iconst(I32, 0);
    let half = b.ins().f64const(0.5);
    b.def_var(i, zero);
    b.def_var(j, zero32);
    b.def_var(h, initial);
    let [outer, inner, turn, next, done, begin] = [(); 6].map(|()| b.create_block());
    b.ins().jump(outer, &[]);

    b.switch_to_block(outer);
    if cx.wants_sites() {
        let live = vec![(N, n), (I, b.use_var(i)), (H, b.use_var(h))];
        cx.loop_site(Site { id: OUTER, header: outer, live, computed: Vec::new() });
    }
    let now = b.use_var(i);
    let more = b.ins().icmp(IntCC::SignedLessThan, now, n);
    b.ins().brif(more, begin, &[], done, &[]);

    b.switch_to_block(begin);
    b.def_var(j, zero32);
    b.ins().jump(inner, &[]);

    b.switch_to_block(inner);
    let live: Vec<(u32, Value)> = vec![(N, n), (I, b.use_var(i)), (J, b.use_var(j)), (H, b.use_var(h))];
    cx.loop_site(Site { id: INNER, header: inner, live: live.clone(), computed: Vec::new() });
    if guest.counts {
        let (cold, go_on) = (b.create_block(), b.create_block());
        b.set_cold_block(cold);
        let count = Countdown::of_bead(0);
        let one = b.ins().iconst(I32, 1);
        count.charge(&mut b, abi.cells, one);
        let spent = count.is_spent(&mut b, abi.cells);
        b.ins().brif(spent, cold, &[], go_on, &[]);
        let leave = cx.leave_block(&mut b, &abi, INNER, &live).expect("few slots");
        b.switch_to_block(cold);
        if guest.tells {
            count.tell(&mut b, &abi, zero32, Some(INNER));
        }
        let leaves = clif::should_leave(&mut b, &abi);
        b.ins().brif(leaves, leave, &[], go_on, &[]);
        b.switch_to_block(go_on);
    }
    let (now, to) = (b.use_var(j), b.use_var(i));
    let to = b.ins().ireduce(I32, to);
    let more = b.ins().icmp(IntCC::SignedLessThan, now, to);
    b.ins().brif(more, turn, &[], next, &[]);

    b.switch_to_block(turn);
    let (i_now, j_now, h_now) = (b.use_var(i), b.use_var(j), b.use_var(h));
    if let Some(at) = guest.trap_at {
        let traps_here = b.ins().icmp_imm_s(IntCC::Equal, i_now, at);
        traps.trap_if(&mut b, traps_here, TRAP);
    }
    let wide = b.ins().sextend(I64, j_now);
    let product = b.ins().imul(i_now, wide);
    let product = b.ins().fcvt_from_sint(F64, product);
    let halved = b.ins().fmul(h_now, half);
    let sum = b.ins().fadd(halved, product);
    b.def_var(h, sum);
    let one = b.ins().iconst(I32, 1);
    let j_next = b.ins().iadd(j_now, one);
    b.def_var(j, j_next);
    b.ins().jump(inner, &[]);

    b.switch_to_block(next);
    let i_now = b.use_var(i);
    let i_next = b.ins().iadd_imm_s(i_now, 1);
    b.def_var(i, i_next);
    b.ins().jump(outer, &[]);

    b.switch_to_block(done);
    let (i_now, h_now) = (b.use_var(i), b.use_var(h));
    if guest.wide {
        clif::store_wide(&mut b, abi.cells, 0, i_now);
        clif::store_wide(&mut b, abi.cells, 1, h_now);
        b.ins().return_(&[]);
    } else {
        b.ins().return_(&[h_now]);
    }
    traps.finish(&mut b);
    b.seal_all_blocks();
    b.finish();
    Ok(())
}
