//! Functions that a lowering puts in the place of calls: where their code says it is from, and how it leaves.
//!
//! To who asks the [`CodeMap`](crate::CodeMap), such a call is a frame like any other. In the function's CLIF, whose source locations are
//! numbers, a place in it has a number from 2³¹ on: that of an entry here.

use cranelift_codegen::ir::{Block, InstBuilder, MemFlagsData, SourceLoc, Value};
use cranelift_frontend::FunctionBuilder;

use crate::{
    LowerCx,
    clif::{self, BodyAbi},
    code::Chain,
};

/// A call that a lowering puts the callee's own code in the place of.
#[derive(Debug, Clone, Copy)]
pub struct Inlined {
    /// What [`CodeMap`](crate::CodeMap) says of the callee's code, as [`LowerCx::set_tag`] is of the function's own.
    pub tag: u64,
    /// The block behind the call; its parameters are the call's results.
    pub returns: Block,
}

/// What one lowering inlined.
#[derive(Debug, Default)]
pub(crate) struct Inlining {
    /// What is being lowered, outermost first.
    open: Vec<Open>,
    places: Places,
}

#[derive(Debug)]
struct Open {
    inlined: Inlined,
    caller: SourceLoc,
}

/// Places in functions that were inlined.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places(Vec<Place>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    tag: u64,
    offset: u32,
    /// Where its function was called, which may be such a place, too.
    caller: SourceLoc,
}

/// The first place's number. Guest offsets are less.
const FIRST: u32 = 1 << 31;

impl Places {
    /// What is under way at a source location in the function of `tag`, innermost first.
    pub(crate) fn frames(&self, tag: u64, location: Option<u32>) -> Vec<(u64, Option<u32>)> {
        let mut frames = Vec::new();
        let mut location = location;
        while let Some(place) = self.get(location) {
            frames.push((place.tag, Some(place.offset)));
            location = (!place.caller.is_default()).then(|| place.caller.bits());
        }
        frames.push((tag, location));
        frames
    }

    fn get(&self, location: Option<u32>) -> Option<&Place> {
        self.0.get(location?.checked_sub(FIRST)? as usize)
    }

    /// Parts source locations of code of the function of `tag`, by ascending code offset, from those where others are under way, too.
    pub(crate) fn part(
        &self,
        tag: u64,
        locations: impl IntoIterator<Item = (u32, u32, u32)>,
    ) -> (Vec<(u32, u32, u32)>, Vec<Chain>) {
        let (inlined, own): (Vec<_>, Vec<_>) =
            locations.into_iter().partition(|&(.., location)| self.get(Some(location)).is_some());
        let chain = |(start, end, location)| Chain { start, end, frames: self.frames(tag, Some(location)).into() };
        (own, inlined.into_iter().map(chain).collect())
    }
}

impl Inlining {
    pub(crate) fn into_places(self) -> Places {
        self.places
    }

    /// Where the code being lowered returns to, if not to the function's caller.
    fn returns(&self) -> Option<Block> {
        Some(self.open.last()?.inlined.returns)
    }

    fn locate(&mut self, offset: u32) -> SourceLoc {
        let Some(&Open { inlined: Inlined { tag, .. }, caller }) = self.open.last() else { return SourceLoc::new(offset) };
        let places = &mut self.places.0;
        let place = Place { tag, offset, caller };
        if places.last() != Some(&place) {
            places.push(place);
        }
        SourceLoc::new(FIRST + (places.len() - 1) as u32)
    }
}

impl<G> LowerCx<'_, G> {
    /// What follows, until [`end_inlined`](Self::end_inlined), is in the place of the call that the builder's source location is of. It
    /// may have such calls as well.
    ///
    /// Where the lowering would return it jumps to [`Inlined::returns`]. Where the code [leaves](Self::leave_block) or
    /// [exits](Self::exit_block), with slots or frames of the callee alone, somebody else finishes this call, and the code goes on behind
    /// it. Loops in it can be left, by the numbers that the function's own loops have, but not entered: they are not to be declared as
    /// [sites](Self::loop_site).
    ///
    /// Meant for a function's calls of itself: the callee that finishes a call is the function whose token it is given, and the unit goes
    /// when that is reloaded. Nobody withdraws the code when another callee is; a lowering that inlines one has to
    /// [assume](Self::assume) that it stays.
    pub fn begin_inlined(&self, b: &FunctionBuilder<'_>, inlined: Inlined) {
        self.inlining.borrow_mut().open.push(Open { inlined, caller: b.srcloc() });
    }

    /// What follows is behind the call again; and so is the builder's source location.
    ///
    /// # Panics
    ///
    /// Where nothing was begun.
    pub fn end_inlined(&self, b: &mut FunctionBuilder<'_>) {
        let ended = self.inlining.borrow_mut().open.pop().expect("what ends was begun");
        b.set_srcloc(ended.caller);
    }

    /// What follows is at this offset of the function whose code it is: the guest's, or what is being [inlined](Self::begin_inlined).
    ///
    /// Offsets are less than 2³¹. (Where nothing is inlined, this is `set_srcloc`.)
    pub fn locate(&self, b: &mut FunctionBuilder<'_>, offset: u32) {
        b.set_srcloc(self.inlining.borrow_mut().locate(offset));
    }

    /// Fills the current block, through which a call that was inlined is left, if one is being lowered.
    pub(crate) fn leave_inlined(&self, b: &mut FunctionBuilder<'_>, abi: &BodyAbi, status: u32, live: &[(u32, Value)]) -> bool {
        let Some(returns) = self.inlining.borrow().returns() else { return false };
        let frame = clif::call_finish(b, abi, status, live);
        let results: Vec<_> = b.func.dfg.block_params(returns).iter().map(|&result| b.func.dfg.value_type(result)).collect();
        let load = |(slot, ty)| b.ins().load(ty, MemFlagsData::trusted(), frame, 8 * slot).into();
        let results: Vec<_> = (0..).zip(results).map(load).collect();
        b.ins().jump(returns, &results);
        true
    }
}
