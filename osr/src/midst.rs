//! Entering a body in its midst, as it is: for compilers that keep every value in one place all its life.
//!
//! To such a compiler a loop header is a place in the code like any other: a call goes on there once everything that is live is where
//! the code expects it. So nothing is copied and no loop is taken apart; the body gets an entry of its own, which dispatches on the
//! site, and for each site a *landing* that brings what is live at the header. What a landing brings is defined a second time, which
//! CLIF cannot say: the result is no valid CLIF, and the [`Midst`] says the rest.

use cranelift_codegen::{
    cursor::{Cursor, FuncCursor},
    entity::packed_option::PackedOption,
    ir::{
        AbiParam, Block, Function, Inst, InstBuilder, JumpTableData, MemFlagsData, Opcode, Signature, Value, ValueDef,
        types::{F32, F64, I8, I16, I32, I64},
    },
};

use crate::{
    DONE, OsrError, Site, Sites, SlotBuffer,
    prologue::{Trust, is_repeatable},
    slot,
};

/// What a body became.
#[derive(Debug, Clone, Default)]
pub struct Midst {
    /// Where the function can be entered. The first is the site that it was asked for.
    pub sites: Vec<u32>,
    /// The landings, in the order of their numbers: where values of the body come from, those of the header's parameters included that are
    /// used. A landing's jump passes nothing.
    pub brought: Vec<(Block, Vec<(Value, Source)>)>,
}

/// Where a value of the body comes from when a landing is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// It is this one, of the landing.
    Value(Value),
    /// It is in a slot of the frame, this many bytes behind where that value points to.
    Slot(Value, i32),
}

/// A body that returns to its driver already, and cannot be entered yet.
#[derive(Debug)]
pub struct Opened {
    old_entry: Block,
    entry: Block,
    /// The sites, as indices, the one asked for first, each with a block for its landing.
    landings: Vec<(usize, Block)>,
}

/// A site of this number, or a higher one, is entered alone.
const MOST_SITES: u32 = 1 << 10;

/// Longest chain of instructions computed again for one value.
const MAX_DEPTH: usize = 64;

/// Makes a body, in place, `fn(vmctx, callee, frame, site) -> i64`: it returns as variants do. [`Opened::enter`] does the rest.
///
/// # Errors
///
/// [`OsrError`]: as [`variant`](crate::variant). The body is of no use then.
pub fn open_in_midst(body: &mut Function, sites: &Sites, site: u32) -> Result<Opened, OsrError> {
    sites.check(body)?;
    let asked = sites.find(site)?;
    if let (true, Some(&(slot, value))) = (sites.assumes, asked.live.first()) {
        return Err(OsrError::Assumed { site, slot, value });
    }
    let mut signature = Signature::new(body.signature.call_conv);
    signature.params.resize(4, AbiParam::new(I64));
    signature.returns.push(AbiParam::new(I64));
    let old_entry = body.layout.entry_block().expect("a body has blocks");
    let entry = body.dfg.make_block();
    let [vmctx, _, frame, _] = [(); 4].map(|()| body.dfg.append_block_param(entry, I64));
    replace_exits(body, sites, vmctx, frame)?;
    body.signature = signature;
    body.layout.insert_block(entry, old_entry);
    let mut order: Vec<usize> = (0..sites.sites.len()).collect();
    order.sort_by_key(|&at| (sites.sites[at].id != site, sites.sites[at].id));
    let landings = order.into_iter().map(|at| {
        let landing = body.dfg.make_block();
        body.layout.insert_block(landing, old_entry);
        (at, landing)
    });
    Ok(Opened { old_entry, entry, landings: landings.collect() })
}

impl Opened {
    /// The entry and the landings of all sites, in the order in which they come before the body. They are empty so far; which of the landings
    /// stay, [`Self::enter`] finds out.
    pub fn blocks(&self) -> Vec<Block> {
        std::iter::once(self.entry).chain(self.landings.iter().map(|&(_, landing)| landing)).collect()
    }

    /// Has the body entered at the site asked for, and at all others for which that is possible and not too long. `live` says what is
    /// live at the header of each of `sites`, in their order, those of its parameters included that are used; aliases are resolved.
    ///
    /// # Errors
    ///
    /// [`OsrError`]: as [`variant`](crate::variant), for the site asked for. The body is of no use then.
    pub fn enter(self, body: &mut Function, sites: &Sites, live: &[Vec<Value>]) -> Result<Midst, OsrError> {
        let Opened { old_entry, entry, landings } = self;
        let [vmctx, callee, frame, entered] = *body.dfg.block_params(entry) else { unreachable!("it was made with four") };
        let mut midst = Midst::default();
        let mut room = body.dfg.num_insts() / 2;
        let mut notes = Notes::new(body.dfg.num_values());
        for (at, landing) in landings {
            let site = &sites.sites[at];
            let needed = live[at].len() + 1;
            // The dispatch is a table.
            if let Some(&first) = midst.sites.first()
                && (first >= MOST_SITES || site.id >= MOST_SITES || needed > room)
            {
                body.layout.remove_block_and_insts(landing);
                continue;
            }
            room = room.saturating_sub(needed);
            notes.begin(body, site, [vmctx, callee, frame, entered]);
            let mut maker = Landing { site, vmctx, callee, frame, entry, old_entry, notes: &mut notes, body, landing };
            match maker.fill(&live[at]) {
                Ok(brought) => {
                    midst.brought.push((landing, brought));
                    midst.sites.push(site.id);
                }
                Err(error) if midst.sites.is_empty() => return Err(error),
                Err(_) => body.layout.remove_block_and_insts(landing),
            }
        }
        dispatch(body, entry, entered, &midst);
        Ok(midst)
    }
}

/// Jumps to the landing of the site.
fn dispatch(body: &mut Function, entry: Block, entered: Value, Midst { sites, brought }: &Midst) {
    let first = body.dfg.block_call(brought[0].0, &[]);
    if let [(only, _)] = brought[..] {
        FuncCursor::new(body).at_bottom(entry).ins().jump(only, &[]);
        return;
    }
    let most = *sites.iter().max().expect("there are several") as usize;
    let mut calls = vec![first; most + 1];
    for (&site, &(landing, _)) in sites.iter().zip(brought) {
        calls[site as usize] = body.dfg.block_call(landing, &[]);
    }
    let table = body.create_jump_table(JumpTableData::new(first, &calls));
    let mut cursor = FuncCursor::new(body).at_bottom(entry);
    let index = cursor.ins().ireduce(I32, entered);
    cursor.ins().br_table(index, table);
}

/// Has the function return to its driver wherever the body returned, or left.
fn replace_exits(body: &mut Function, sites: &Sites, vmctx: Value, frame: Value) -> Result<(), OsrError> {
    let blocks: Vec<Block> = body.layout.blocks().collect();
    for block in blocks {
        let Some(last) = body.layout.last_inst(block) else { continue };
        match body.dfg.insts[last].opcode() {
            Opcode::Return => {}
            Opcode::ReturnCall | Opcode::ReturnCallIndirect | Opcode::TryCall | Opcode::TryCallIndirect => {
                return Err(OsrError::Unsupported { instruction: body.dfg.display_inst(last).to_string() });
            }
            _ => continue,
        }
        let results = body.dfg.inst_args(last).to_vec();
        let location = body.srcloc(last);
        body.layout.remove_inst(last);
        let mut cursor = FuncCursor::new(body).at_bottom(block);
        cursor.set_srcloc(location);
        for (index, result) in (0..).zip(results) {
            store(&mut cursor, frame, index, result)?;
        }
        if let Some(wide) = sites.wide {
            let buffer = thread_buffer(&mut cursor, vmctx, wide.buffer);
            for index in 0..wide.count {
                let result = cursor.ins().load(I64, MemFlagsData::trusted(), buffer, slot::offset(index)?);
                store(&mut cursor, frame, index, result)?;
            }
        }
        exit(&mut cursor, DONE);
    }
    for leave in &sites.leaves {
        while let Some(inst) = body.layout.last_inst(leave.block) {
            body.layout.remove_inst(inst);
        }
        let mut cursor = FuncCursor::new(body).at_bottom(leave.block);
        let buffer = match leave.to {
            SlotBuffer::Frame => frame,
            SlotBuffer::Thread(offset) => thread_buffer(&mut cursor, vmctx, offset),
        };
        for &(index, value) in &leave.live {
            store(&mut cursor, buffer, index, value)?;
        }
        exit(&mut cursor, leave.status.into());
    }
    Ok(())
}

fn thread_buffer(cursor: &mut FuncCursor<'_>, vmctx: Value, offset: i32) -> Value {
    let cells = cursor.ins().load(I64, MemFlagsData::trusted(), vmctx, 0);
    cursor.ins().load(I64, MemFlagsData::trusted(), cells, offset)
}

fn exit(cursor: &mut FuncCursor<'_>, status: i64) {
    let status = cursor.ins().iconst(I64, status);
    cursor.ins().return_(&[status]);
}

/// Stores a value to a slot, whose upper half is cleared.
fn store(cursor: &mut FuncCursor<'_>, buffer: Value, index: u32, value: Value) -> Result<(), OsrError> {
    let ty = cursor.func.dfg.value_type(value);
    let bits = match ty {
        I64 | F64 => value,
        I8 | I16 | I32 => cursor.ins().uextend(I64, value),
        F32 => {
            let bits = cursor.ins().bitcast(I32, MemFlagsData::new(), value);
            cursor.ins().uextend(I64, bits)
        }
        _ => return Err(OsrError::SlotType { value, ty }),
    };
    cursor.ins().store(MemFlagsData::trusted(), bits, buffer, slot::offset(index)?);
    Ok(())
}

/// What is known of each of the body's values at one site.
struct Notes {
    of: Vec<Note>,
    noted: Vec<Value>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Note {
    slot: Option<u32>,
    recipe: PackedOption<Value>,
    /// What the landing has: by itself, or if a recipe is trusted.
    known: [PackedOption<Value>; 2],
}

impl Notes {
    fn new(values: usize) -> Self {
        Notes { of: vec![Note::default(); values], noted: Vec::new() }
    }

    /// Forgets the site before, and notes what is in this one's slots, and how to compute what is not.
    fn begin(&mut self, body: &Function, site: &Site, params: [Value; 4]) {
        while let Some(value) = self.noted.pop() {
            *self.at(value) = Note::default();
        }
        for param in params {
            self.note(param).known[Trust::Constant as usize] = param.into();
        }
        for &(slot, named) in &site.live {
            each_in_slot(body, named, |value| {
                self.note(value).slot.get_or_insert(slot);
            });
        }
        for &(value, recipe) in &site.computed {
            let recipe = body.dfg.resolve_aliases(recipe);
            let note = self.note(body.dfg.resolve_aliases(value));
            if note.recipe.is_none() {
                note.recipe = recipe.into();
            }
        }
    }

    fn at(&mut self, value: Value) -> &mut Note {
        &mut self.of[value.as_u32() as usize]
    }

    fn note(&mut self, value: Value) -> &mut Note {
        self.noted.push(value);
        self.at(value)
    }
}

/// A block that brings what is live at a site's header, under construction.
struct Landing<'a> {
    site: &'a Site,
    vmctx: Value,
    callee: Value,
    frame: Value,
    entry: Block,
    old_entry: Block,
    notes: &'a mut Notes,
    body: &'a mut Function,
    landing: Block,
}

impl Landing<'_> {
    fn fill(&mut self, live: &[Value]) -> Result<Vec<(Value, Source)>, OsrError> {
        let mut brought = Vec::with_capacity(live.len());
        for &value in live {
            if matches!(self.body.dfg.value_def(value), ValueDef::Param(block, _) if block == self.entry) {
                continue;
            }
            let source = match self.notes.at(value).slot {
                Some(slot) => Source::Slot(self.frame, self.offset(value, slot)?),
                None => Source::Value(self.bring(value, Trust::Constant, 0)?),
            };
            brought.push((value, source));
        }
        let header = self.site.header;
        self.cursor().ins().jump(header, &[]);
        Ok(brought)
    }

    /// Where in the frame a value's slot is.
    fn offset(&self, value: Value, slot: u32) -> Result<i32, OsrError> {
        let ty = self.body.dfg.value_type(value);
        if slot::holds(ty) { slot::offset(slot) } else { Err(OsrError::SlotType { value, ty }) }
    }

    fn cursor(&mut self) -> FuncCursor<'_> {
        FuncCursor::new(self.body).at_bottom(self.landing)
    }

    /// What `value`, which is no alias, is at the header.
    fn bring(&mut self, value: Value, trust: Trust, depth: usize) -> Result<Value, OsrError> {
        let Note { slot, recipe, known } = *self.notes.at(value);
        if let Some(known) = known[trust as usize].expand() {
            return Ok(known);
        }
        let recipe = recipe.expand();
        let new = if let Some(slot) = slot {
            let (frame, offset, ty) = (self.frame, self.offset(value, slot)?, self.body.dfg.value_type(value));
            self.cursor().ins().load(ty, MemFlagsData::trusted(), frame, offset)
        } else if depth >= MAX_DEPTH {
            return Err(self.lost(value));
        } else if let Some(recipe) = recipe.filter(|&recipe| recipe != value) {
            self.bring(recipe, Trust::Recipe, depth + 1)?
        } else {
            self.again(value, if recipe.is_some() { Trust::Recipe } else { trust }, depth)?
        };
        self.notes.note(value).known[trust as usize] = new.into();
        Ok(new)
    }

    /// Computes it again.
    fn again(&mut self, value: Value, trust: Trust, depth: usize) -> Result<Value, OsrError> {
        match self.body.dfg.value_def(value) {
            ValueDef::Param(block, 0) if block == self.old_entry => Ok(self.vmctx),
            ValueDef::Param(block, 1) if block == self.old_entry => Ok(self.callee),
            ValueDef::Result(inst, index) if is_repeatable(self.body, inst, trust) => {
                let args = self.body.dfg.inst_args(inst).to_vec();
                let mut new_args = Vec::with_capacity(args.len());
                for arg in args {
                    let arg = self.body.dfg.resolve_aliases(arg);
                    new_args.push(self.bring(arg, trust, depth + 1)?);
                }
                let again: Inst = self.body.dfg.clone_inst(inst);
                self.body.dfg.inst_args_mut(again).copy_from_slice(&new_args);
                self.cursor().insert_inst(again);
                Ok(self.body.dfg.inst_results(again)[index])
            }
            _ => Err(self.lost(value)),
        }
    }

    fn lost(&self, value: Value) -> OsrError {
        let definition = match self.body.dfg.value_def(value) {
            ValueDef::Param(block, _) => block.to_string(),
            ValueDef::Result(inst, _) => self.body.dfg.display_inst(inst).to_string(),
            ValueDef::Union(..) => value.to_string(),
        };
        OsrError::Lost { site: self.site.id, value, definition }
    }
}

/// Calls `then` for every value that the slot of `named` holds: itself, and what it is a zero-extension of.
fn each_in_slot(body: &Function, named: Value, mut then: impl FnMut(Value)) {
    let dfg = &body.dfg;
    let mut named = dfg.resolve_aliases(named);
    loop {
        then(named);
        match dfg.value_def(named) {
            ValueDef::Result(inst, _) if dfg.insts[inst].opcode() == Opcode::Uextend => {
                named = dfg.resolve_aliases(dfg.inst_args(inst)[0]);
            }
            _ => return,
        }
    }
}
