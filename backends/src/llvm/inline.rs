//! Which other functions' bodies a unit contains, and the unit that has them.
//!
//! A unit is a graph of copies: level 0 is the function itself, a copy at level `n` calls copies at level `n + 1`, and LLVM
//! inlines each into its callers. What a level calls and the next does not have goes through the callee's code cell, as
//! everybody does. A function that calls itself, directly or by way of others, is a callee like any other, of which there are a
//! few levels: so new code is noticed after so many calls.
//!
//! | CLIF name | what it is |
//! |---|---|
//! | `u0:0` | the entry |
//! | `u2:5` | the copy of body 5 at level 2 |
//! | `u4294967295:5` | a stub that calls function 5 through its code cell |

use std::collections::{BTreeMap, BTreeSet};

use cranelift_codegen::ir::{
    ExternalName, Function, InstBuilder, InstructionData, Signature, UserExternalName, UserFuncName, types::I64,
};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};

use crate::{
    clif,
    lower::{Label, UNRESOLVED},
};

/// Levels below the entry.
const MAX_LEVELS: u32 = 4;
/// Levels on which the same body may be, below the entry if that is the same. Of `fib` one takes 30 % off, a second 5 % of what
/// is left, a third 10 %; two more would take 6 %, at four times the code.
const MAX_REPEATS: usize = 3;
/// Instructions a unit may grow by: its own size, within these bounds.
const GROWTH: std::ops::RangeInclusive<usize> = 2500..=5000;
/// Instructions of a callee that has been called often, at most.
const MAX_HOT: usize = 80;
/// Instructions of any other callee: as many as its call would cost, about.
const MAX_COLD: usize = 24;
/// Bytes of guest code from which so many instructions come, at least: what is longer is not even looked at.
const BYTES_PER_INSTRUCTION: usize = 4;

const ENTRY: usize = 0;
const THROUGH_CELL: u32 = u32::MAX;

/// Whether a callee of `bytes` guest bytes may be worth a look.
pub(super) fn may_fit(bytes: u32, hot: bool) -> bool {
    bytes as usize <= limit(hot) * BYTES_PER_INSTRUCTION
}

fn limit(hot: bool) -> usize {
    if hot { MAX_HOT } else { MAX_COLD }
}

/// One function lowered, whose direct callees have [`UNRESOLVED`] names: their numbers.
#[derive(Debug, Clone)]
pub(super) struct Body {
    pub(super) func: Function,
    pub(super) label: Label,
}

impl Body {
    /// Instructions that are likely to run and more than a constant: what a copy of it costs.
    fn size(&self) -> usize {
        let (layout, dfg) = (&self.func.layout, &self.func.dfg);
        let likely = layout.blocks().filter(|&block| !layout.is_cold(block)).flat_map(|block| layout.block_insts(block));
        likely.filter(|&inst| !matches!(dfg.insts[inst], InstructionData::UnaryImm { .. })).count()
    }

    /// The callees that may be inlined, with the number of places that call each.
    fn callees(&self) -> BTreeMap<usize, usize> {
        let insts = self.func.layout.blocks().flat_map(|block| self.func.layout.block_insts(block));
        let mut sites = BTreeMap::new();
        for inst in insts {
            if let InstructionData::Call { func_ref, .. } = self.func.dfg.insts[inst]
                && let Some(callee) = unresolved(&self.func, &self.func.dfg.ext_funcs[func_ref].name)
            {
                *sites.entry(callee).or_default() += 1;
            }
        }
        sites
    }

    fn signature_of(&self, callee: usize) -> Option<&Signature> {
        let mut functions = self.func.dfg.ext_funcs.values();
        let data = functions.find(|data| unresolved(&self.func, &data.name) == Some(callee))?;
        Some(&self.func.dfg.signatures[data.signature])
    }
}

fn unresolved(func: &Function, name: &ExternalName) -> Option<usize> {
    let ExternalName::User(name) = *name else { return None };
    let UserExternalName { namespace, index } = func.params.user_named_funcs()[name];
    (namespace == UNRESOLVED).then_some(index as usize)
}

/// What the choice asks of whoever has the functions.
pub(super) trait Library {
    /// Whether function `number` has been called often.
    fn is_hot(&self, number: usize) -> bool;
    /// The body of a function, unless it cannot be had.
    fn body(&mut self, number: usize) -> Option<Body>;
    /// The address of a function's code cell.
    fn code_cell(&self, number: usize) -> usize;
}

/// The functions of one unit, the entry first, and what each is called in maps, by its symbol.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) functions: Vec<Function>,
    /// The entry's.
    pub(super) label: Label,
    pub(super) labels: BTreeMap<String, Label>,
    /// Numbers of the functions it contains besides the entry.
    pub(super) contents: BTreeSet<usize>,
}

impl Unit {
    /// `entry`, which calls nothing by number, alone.
    pub(super) fn single(mut entry: Body) -> Self {
        let labels = BTreeMap::from([(name(&mut entry.func, copy(ENTRY, 0)), entry.label.clone())]);
        Unit { functions: vec![entry.func], label: entry.label, labels, contents: BTreeSet::new() }
    }

    /// `entry` with the callees that are worth it.
    pub(super) fn unfold(entry: Body, library: &mut dyn Library) -> Self {
        let mut plan = Plan::new(entry);
        while plan.add_level(library) {}
        plan.unit(library)
    }

    /// What the function defined as `symbol` is called in maps. (Stubs are inlined, so nothing is to be seen of them.)
    pub(super) fn label_of(&self, symbol: &str) -> &Label {
        self.labels.get(symbol).unwrap_or(&self.label)
    }
}

/// A unit being chosen.
struct Plan {
    bodies: BTreeMap<usize, Option<Body>>,
    /// Per level: the bodies on it, and how often each will be there when all is inlined.
    levels: Vec<BTreeMap<usize, usize>>,
    /// Instructions it may still grow by.
    left: usize,
}

impl Plan {
    fn new(entry: Body) -> Self {
        let left = entry.size().clamp(*GROWTH.start(), *GROWTH.end());
        Plan { bodies: BTreeMap::from([(ENTRY, Some(entry))]), levels: vec![BTreeMap::from([(ENTRY, 1)])], left }
    }

    fn included(&self, number: usize) -> &Body {
        self.bodies[&number].as_ref().expect("levels have bodies that could be had")
    }

    /// Adds a level of callees, the smallest first; `false` if there is nothing to add.
    fn add_level(&mut self, library: &mut dyn Library) -> bool {
        let last = self.levels.last().expect("the entry's");
        let mut wanted = BTreeMap::<usize, (usize, &Signature)>::new();
        for (&caller, &copies) in last {
            let caller = self.included(caller);
            for (callee, sites) in caller.callees() {
                let signature = caller.signature_of(callee).expect("it is called");
                let (all, _) = wanted.entry(callee).or_insert((0, signature));
                *all = copies.saturating_mul(sites).saturating_add(*all);
            }
        }
        let wanted: Vec<_> =
            wanted.into_iter().map(|(callee, (copies, signature))| (callee, copies, signature.clone())).collect();
        let mut worth = Vec::new();
        for (callee, copies, signature) in wanted {
            let repeats = self.levels[1..].iter().filter(|level| level.contains_key(&callee)).count();
            let body = self.bodies.entry(callee).or_insert_with(|| library.body(callee));
            let Some(body) = body.as_ref().filter(|body| body.func.signature == signature) else { continue };
            let fits = body.size() <= limit(library.is_hot(callee));
            if repeats < MAX_REPEATS && fits {
                worth.push((copies.saturating_mul(body.size()), callee, copies));
            }
        }
        worth.sort_unstable();
        let mut level = BTreeMap::new();
        for (growth, callee, copies) in worth {
            if growth <= self.left {
                self.left -= growth;
                level.insert(callee, copies);
            }
        }
        let (found, more) = (!level.is_empty(), self.levels.len() < MAX_LEVELS as usize);
        if found {
            self.levels.push(level);
        }
        found && more
    }

    /// The functions, each calling those of the next level.
    fn unit(self, library: &dyn Library) -> Unit {
        let label = self.included(ENTRY).label.clone();
        let mut unit = Unit { functions: Vec::new(), label, labels: BTreeMap::new(), contents: BTreeSet::new() };
        let mut stubs = BTreeMap::new();
        for (depth, level) in self.levels.iter().enumerate() {
            for &number in level.keys() {
                let body = self.included(number);
                let mut func = body.func.clone();
                for callee in body.callees().into_keys() {
                    let is_there = self.levels.get(depth + 1).is_some_and(|next| next.contains_key(&callee));
                    let name = if is_there { copy(callee, depth as u32 + 1) } else { copy(callee, THROUGH_CELL) };
                    if !is_there {
                        stubs.entry(callee).or_insert_with(|| body.signature_of(callee).expect("it is called").clone());
                    }
                    resolve(&mut func, callee, name);
                }
                unit.labels.insert(name(&mut func, copy(number, depth as u32)), body.label.clone());
                unit.functions.push(func);
                if number != ENTRY {
                    unit.contents.insert(number);
                }
            }
        }
        let stubs = stubs.into_iter().map(|(callee, signature)| through_cell(callee, signature, library.code_cell(callee)));
        unit.functions.extend(stubs);
        unit
    }
}

fn copy(number: usize, level: u32) -> UserExternalName {
    UserExternalName::new(level, number as u32)
}

/// Names a function, and says what its symbol is.
fn name(func: &mut Function, name: UserExternalName) -> String {
    let symbol = name.to_string();
    func.name = UserFuncName::User(name);
    symbol
}

/// Gives callee `number` its name.
fn resolve(func: &mut Function, number: usize, to: UserExternalName) {
    let unresolved = UserExternalName::new(UNRESOLVED, number as u32);
    let references = func.params.user_named_funcs().iter();
    let Some(reference) = references.filter(|(_, name)| **name == unresolved).map(|(reference, _)| reference).next() else {
        return;
    };
    func.params.reset_user_func_name(reference, to);
}

/// A function of the signature that calls through a code cell.
fn through_cell(number: usize, signature: Signature, cell: usize) -> Function {
    let mut func = Function::with_name_signature(UserFuncName::User(copy(number, THROUGH_CELL)), signature.clone());
    let mut context = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut func, &mut context);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    b.seal_block(entry);
    let args = b.block_params(entry).to_vec();
    let cell = b.ins().iconst(I64, cell as i64);
    let signature = b.import_signature(signature);
    let call = clif::call_code_cell(&mut b, signature, cell, &args);
    let results = b.inst_results(call).to_vec();
    b.ins().return_(&results);
    b.seal_all_blocks();
    func
}

#[cfg(test)]
mod tests;
