//! SSA repair: how a value of the body gets from its definitions in a variant to its uses.
//!
//! The body defines a value once. A variant may define it in its prologue and in several copies of one block, and then a use
//! needs the definition that was reached last: cranelift-frontend's variables find it, and put in the block parameters. Most
//! values need none of that.

use cranelift_codegen::{entity::SecondaryMap, ir::Value};

use crate::{flow::Flow, liveness::Liveness, prologue, stages::Stages};

/// Where the definitions of a value of the body are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Home {
    /// Defined in every copy for that copy alone.
    #[default]
    Stage,
    /// The same in every call that has this vmctx and callee: defined before everything else, and in no copy.
    Call,
    /// Defined once, for all stages.
    Variant,
    /// Defined several times: a variable.
    Variable,
}

/// The homes of all values.
pub(crate) struct Homes(SecondaryMap<Value, Home>);

impl Homes {
    pub(crate) fn assign(flow: &Flow<'_>, stages: &Stages, liveness: &Liveness) -> Self {
        let mut homes = SecondaryMap::new();
        let mut entries: SecondaryMap<Value, usize> = SecondaryMap::new();
        for &value in liveness.at_entry.iter().flatten() {
            entries[value] += 1;
        }
        for value in flow.body.dfg.values() {
            let entries = entries[value];
            if entries == 0 && !liveness.crosses(value) {
                continue;
            }
            let copies = flow.definition(value).map_or(0, |block| stages.copies_of(block));
            homes[value] = match entries + copies {
                0 | 1 => Home::Variant,
                _ if stages.entered().len() > 1 && prologue::is_of_call(flow.body, value) => Home::Call,
                _ => Home::Variable,
            };
        }
        Homes(homes)
    }

    pub(crate) fn of(&self, value: Value) -> Home {
        self.0[value]
    }
}
