//! Which values of the body are live where a variant begins, and where one of its stages is left for another.
//!
//! Nothing else needs repair: a value that is neither is defined and used within one copy.

use cranelift_codegen::{
    entity::{EntitySet, SecondaryMap},
    ir::{Block, Value},
};

use crate::{flow::Flow, stages::Stages};

/// The values that come from elsewhere.
pub(crate) struct Liveness {
    /// Live into the header of each site, in the order their first uses are copied. (The header's own parameters are not: it defines
    /// them.)
    pub(crate) at_entry: Vec<Vec<Value>>,
    /// Live into a block that another stage jumps to.
    crossing: EntitySet<Value>,
    used: EntitySet<Value>,
}

impl Liveness {
    /// Follows every value back from its uses to its definition, through the blocks the variant copies.
    pub(crate) fn of(flow: &Flow<'_>, stages: &Stages) -> Self {
        let at_entry = vec![Vec::new(); stages.entered().len()];
        let mut liveness = Liveness { at_entry, crossing: EntitySet::new(), used: EntitySet::new() };
        let mut entered: SecondaryMap<Block, Option<usize>> = SecondaryMap::new();
        for (index, &header) in stages.entered().iter().enumerate() {
            entered[header] = Some(index);
        }
        let is_copied = |block| stages.copies_of(block) > 0;
        let mut uses: SecondaryMap<Value, Vec<Block>> = SecondaryMap::new();
        let mut order = Vec::new();
        for block in flow.reverse_postorder().filter(|&block| is_copied(block)) {
            for value in flow.uses(block) {
                liveness.used.insert(value);
                // Most values are used where they are defined, and so live into no block.
                if flow.definition(value) == Some(block) {
                    continue;
                }
                let blocks = &mut uses[value];
                if blocks.is_empty() {
                    order.push(value);
                }
                if blocks.last() != Some(&block) {
                    blocks.push(block);
                }
            }
        }

        // Which value a block was last found live for: one map for all values.
        let mut seen: SecondaryMap<Block, Option<Value>> = SecondaryMap::new();
        for value in order {
            let definition = flow.definition(value);
            let mut pending = uses[value].clone();
            while let Some(block) = pending.pop() {
                if Some(block) == definition || seen[block].replace(value) == Some(value) {
                    continue;
                }
                if let Some(index) = entered[block] {
                    liveness.at_entry[index].push(value);
                }
                if stages.is_crossed_into(block) {
                    liveness.crossing.insert(value);
                }
                pending.extend(flow.predecessors(block).filter(|&block| is_copied(block)));
            }
        }
        liveness
    }

    /// Whether the value is live where one stage is left for another.
    pub(crate) fn crosses(&self, value: Value) -> bool {
        self.crossing.contains(value)
    }

    /// Whether the variant uses the value.
    pub(crate) fn is_used(&self, value: Value) -> bool {
        self.used.contains(value)
    }
}
