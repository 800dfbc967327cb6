//! Which parts of the body a variant is made of.
//!
//! With loops L1 ⊃ … ⊃ Lk around the site, *stage* k copies what can be reached from the header of Lk inside L(k−1) without
//! passing the header of L(k−1): it runs the loop that is under way to its end, and then the rest of that turn of its parent.
//! From there stage k−1 goes on at the header of L(k−1), and so on. Stage 1 enters the outermost loop at its header: that is
//! the nest as it was, and the rest of the function.
//!
//! ```text
//!     stage 3            stage 2           stage 1
//!     L3, rest of L2 ──► L2, rest of L1 ──► L1, rest of the function
//! ```
//!
//! So every copy of a loop is a natural loop, entered at its header only. One variant that entered the nest in its midst
//! would have loops of two entries, which no compiler optimizes: LLVM no longer vectorizes any of them.
//!
//! An edge out of several loops at once leads to the stage that copies its target: that of the loop *below* the innermost one
//! around the target, for the target is in the rest of that loop's turn.

use cranelift_codegen::{entity::EntitySet, ir::Block, loop_analysis::Loop};

use crate::{OsrError, Site, flow::Flow};

/// A stage, outermost first: stage `i` here is the text's stage i + 1.
pub(crate) type Stage = usize;

/// The stages of one variant.
pub(crate) struct Stages {
    /// Where each stage is entered.
    entries: Vec<Block>,
    /// The loops around the site, outermost first. Stage `i` lies in the loop before `loops[i]`.
    loops: Vec<Loop>,
    regions: Vec<EntitySet<Block>>,
    /// Blocks that another stage jumps to.
    crossed_into: EntitySet<Block>,
    /// Blocks of the innermost stage that the prologue jumps to, site by site.
    entered: Vec<Block>,
}

impl Stages {
    /// What a variant for `site` is made of.
    ///
    /// # Errors
    ///
    /// [`OsrError::Unreachable`].
    pub(crate) fn plan(flow: &Flow<'_>, site: &Site) -> Result<Self, OsrError> {
        if !flow.is_reachable(site.header) {
            return Err(OsrError::Unreachable { site: site.id });
        }
        // Without one header to each cycle there is nothing to take apart.
        let loops = if flow.is_reducible() { enclosing_loops(flow, site.header) } else { Vec::new() };
        let mut entries: Vec<Block> = loops.iter().map(|&l| flow.loops.loop_header(l)).collect();
        // A header nobody branches back to is no loop: it is entered as what it is, a block of the loop around it.
        if entries.last() != Some(&site.header) {
            entries.push(site.header);
        }
        let regions = vec![EntitySet::new(); entries.len()];
        let mut stages = Stages { entries, loops, regions, crossed_into: EntitySet::new(), entered: vec![site.header] };
        stages.explore(flow, site.header);
        Ok(stages)
    }

    /// What a variant for all of `sites`, which can be reached, is made of: one stage, entered in the midst of its loops.
    pub(crate) fn shared(flow: &Flow<'_>, sites: &[&Site]) -> Self {
        let entered: Vec<Block> = sites.iter().map(|site| site.header).collect();
        let (entries, regions) = (vec![entered[0]], vec![EntitySet::new()]);
        let mut stages = Stages { entries, loops: Vec::new(), regions, crossed_into: EntitySet::new(), entered };
        for site in sites {
            stages.explore(flow, site.header);
        }
        stages
    }

    fn explore(&mut self, flow: &Flow<'_>, entry: Block) {
        let mut pending = vec![(self.innermost(), entry)];
        while let Some((stage, block)) = pending.pop() {
            if !self.regions[stage].insert(block) {
                continue;
            }
            for target in flow.successors(block) {
                let to = self.stage_of(flow, stage, target);
                if to != stage {
                    self.crossed_into.insert(target);
                }
                pending.push((to, target));
            }
        }
    }

    /// The stage an edge from `stage` to `target` leads to.
    pub(crate) fn stage_of(&self, flow: &Flow<'_>, stage: Stage, target: Block) -> Stage {
        let around = self.loops[..stage.min(self.loops.len())].iter();
        let depth = around.take_while(|&&l| flow.loops.is_in_loop(target, l)).count();
        // A loop's header begins its next turn, in the stage that is entered there.
        if depth > 0 && self.entries[depth - 1] == target { depth - 1 } else { depth }
    }

    /// The headers a variant begins at, in its [innermost](Self::innermost) stage: one for each of its sites.
    pub(crate) fn entered(&self) -> &[Block] {
        &self.entered
    }

    /// The stage a variant begins with.
    pub(crate) fn innermost(&self) -> Stage {
        self.entries.len() - 1
    }

    /// The stages in the order they run in.
    pub(crate) fn in_order(&self) -> impl ExactSizeIterator<Item = Stage> + use<> {
        (0..self.entries.len()).rev()
    }

    /// Whether the stage has a copy of the block.
    pub(crate) fn copies(&self, stage: Stage, block: Block) -> bool {
        self.regions[stage].contains(block)
    }

    /// In how many stages there is a copy of the block.
    pub(crate) fn copies_of(&self, block: Block) -> usize {
        self.regions.iter().filter(|region| region.contains(block)).count()
    }

    /// Whether one stage is left for another here.
    pub(crate) fn is_crossed_into(&self, block: Block) -> bool {
        self.crossed_into.contains(block)
    }

    /// Instructions of all copies together.
    pub(crate) fn instructions(&self, flow: &Flow<'_>) -> usize {
        flow.body.layout.blocks().map(|block| self.copies_of(block) * flow.instructions_of(block)).sum()
    }
}

/// The loops around a block, outermost first.
fn enclosing_loops(flow: &Flow<'_>, block: Block) -> Vec<Loop> {
    let mut loops: Vec<Loop> = std::iter::successors(flow.loops.innermost_loop(block), |&l| flow.loops.loop_parent(l)).collect();
    loops.reverse();
    loops
}
