//! The quick compiler: CLIF in, machine code out, in a third to a fourth of the time that a function takes with Cranelift, its lowering included.
//!
//! A first tier is compiled while the program waits in its interpreter, and compiling is most of what a program of a millisecond does.
//! Cranelift spends some 11,000 instructions on each of CLIF's. This compiler has three passes, no intermediate form of its own, and one
//! place for each value:
//!
//! - [`facts`], from the last instruction to the first: what nobody needs, and what is part of the instruction that uses it (constants,
//!   sums in addresses, comparisons in branches, zero-extensions, which cost nothing where all narrow integers are zero-extended).
//! - [`assign`]: lives, with their holes, and a register or a word of the frame for each, the most used values first.
//! - [`emit`]: the instructions, in layout order, what is cold at the end. [`moves`] copies what edges pass, [`tierup_asm`] encodes.
//!
//! What it does not do: common subexpressions, hoisting, splitting of lives, scheduling. A lowering that is good to interpreters' guests has
//! little of the first two, and what is hot for long goes to the optimizing tier.
//!
//! **What it does not know it declines**, and Cranelift compiles the function: [`Unsupported`]. The code it makes keeps to `ABI.md`, as
//! Cranelift's: System V, frame pointers, stubs that keep all registers. It has no relocations: callees' addresses are constants.
//!
//! **Loops are entered in their midst**: see [`tierup_osr::open_in_midst`]. A landing stores to the places that the code at the
//! header reads from, which is all it takes, because a value has one place wherever it is live.

mod assign;
mod emit;
mod facts;
mod moves;
mod processor;
mod warm;

use std::{cell::RefCell, fmt};

use cranelift_codegen::ir::{Block, ExternalName, Function, Value};
use tierup_osr::{Midst, Sites, open_in_midst};

use assign::Assignment;
use facts::{Facts, Role};
pub(crate) use warm::warm_up;

/// Why a function has to be compiled by something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unsupported(pub(crate) &'static str);

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A function's code.
#[derive(Debug, Default)]
pub(crate) struct Code {
    pub(crate) bytes: Vec<u8>,
    /// Ranges of the code, and the source location each was made from.
    pub(crate) locations: Vec<(u32, u32, u32)>,
    pub(crate) frame_bytes: usize,
    /// The sites that it is entered at, the one asked for first, if it is entered in its midst.
    pub(crate) entered_at: Vec<u32>,
}

/// Scratch space, reused from one function to the next.
#[derive(Default)]
struct Scratch {
    /// Whether the processor can run the code, once that is known.
    supported: Option<bool>,
    facts: Facts,
    assignment: Assignment,
    emit: emit::Scratch,
}

/// Values of the largest function whose scratch space is kept.
const MOST_KEPT: usize = 1 << 16;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Compiles a function, or makes a body one that is entered at a site, and at others, and compiles that. `address` says where what it calls
/// is.
pub(crate) fn compile(
    func: &mut Function,
    entered: Option<(&Sites, u32)>,
    address: &dyn Fn(&Function, &ExternalName) -> Option<usize>,
) -> Result<Code, Unsupported> {
    SCRATCH.with_borrow_mut(|scratch| {
        let Scratch { supported, facts, assignment, emit } = scratch;
        if !*supported.get_or_insert_with(processor::is_supported) {
            return Err(Unsupported("this processor"));
        }
        let midst = match entered {
            Some((sites, site)) => enter(func, facts, assignment, sites, site)?,
            None => {
                let entry = func.layout.entry_block().ok_or(Unsupported("no blocks"))?;
                facts.read(func, &[entry], 0)?;
                Midst::default()
            }
        };
        let func = &*func;
        assignment.assign(func, facts, &midst.brought, |inst| emit::is_volatile(func, inst))?;
        let code = emit::emit(func, facts, assignment, &midst.brought, emit, &|name| address(func, name));
        if func.dfg.num_values() > MOST_KEPT {
            *scratch = Scratch { supported: scratch.supported, ..Scratch::default() };
        }
        Ok(Code { entered_at: midst.sites, ..code? })
    })
}

/// Makes a body one that is entered at `site`, and at others, and reads it.
fn enter(
    body: &mut Function,
    facts: &mut Facts,
    assignment: &mut Assignment,
    sites: &Sites,
    site: u32,
) -> Result<Midst, Unsupported> {
    let opened = open_in_midst(body, sites, site).map_err(|_| Unsupported("a loop site"))?;
    let new = opened.blocks();
    let headers = sites.sites.iter().map(|site| site.header);
    let roots: Vec<Block> = new.iter().copied().chain(headers.clone()).collect();
    facts.read(body, &roots, new.len())?;
    assignment.find_live(facts, &[])?;
    let live = headers.map(|header| {
        let params = body.dfg.block_params(header).iter().copied().filter(|&param| facts.role_of(param) != Role::Unused);
        let live = assignment.live_into(facts.index[header.as_u32() as usize] as usize);
        live.into_iter().map(Value::from_u32).chain(params).collect()
    });
    let live: Vec<Vec<Value>> = live.collect();
    let midst = opened.enter(body, sites, &live).map_err(|_| Unsupported("a loop's header"))?;
    let unread = midst.sites.len() + 1;
    if unread < new.len() {
        // What is left out of the sites may be all that leads somewhere.
        facts.read(body, &new[..1], unread)?;
    }
    facts.read_first(body, unread, &midst.brought)?;
    Ok(midst)
}
