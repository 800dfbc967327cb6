//! Which locals of a body are live at its loop headers, or at all resume points: what a frame that moves there must bring along.
//!
//! WebAssembly's blocks nest, so a pass backwards over the operators meets every join after its successors; only what a
//! branch back to a header finds live is not known yet. It is taken from the pass before, from nothing at first, until no
//! header changes: about as many passes as loops nest, and one more.
//!
//! Compiled code keeps and stores these locals for a loop it may be entered at or left at, and no others: whoever goes on reads
//! no more of a frame than that.

use wasmparser::{Operator, OperatorsReader};

use crate::prepare::{is_before_point, is_point};

#[cfg(test)]
mod tests;

/// A set of locals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LocalSet(Box<[u64]>);

impl LocalSet {
    fn new(locals: u32) -> Self {
        Self(vec![0; locals.div_ceil(64) as usize].into())
    }

    /// The members, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        members(&self.0)
    }

    fn insert(&mut self, local: u32) {
        if let Some(word) = self.0.get_mut(local as usize / 64) {
            *word |= 1 << (local % 64);
        }
    }

    fn remove(&mut self, local: u32) {
        if let Some(word) = self.0.get_mut(local as usize / 64) {
            *word &= !(1 << (local % 64));
        }
    }

    fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, more)| *word |= more);
    }

    fn clear(&mut self) {
        self.0.fill(0);
    }
}

/// The numbers of the bits that are set, ascending.
fn members(words: &[u64]) -> impl Iterator<Item = u32> {
    (0..).zip(words).flat_map(|(word, &bits)| (0..64).filter(move |bit| bits >> bit & 1 != 0).map(move |bit| word * 64 + bit))
}

/// The live locals at every loop header of a body, and, if asked for, at its other resume points.
#[derive(Debug, Default)]
pub(crate) struct Liveness {
    /// By the offset of the `loop` operator in the module's bytes, ascending.
    headers: Vec<(u32, LocalSet)>,
    /// Offsets of the other points, ascending.
    points: Vec<u32>,
    /// The sets of those, one after the other.
    words: Vec<u64>,
}

impl Liveness {
    /// Analyses a body with that many locals, parameters included; `operators` begin after their declarations. Shows each, with its
    /// offset, to `watch` as well, so that nobody else need read them.
    ///
    /// The body need not have been validated. Of one that is not valid the answer means nothing; `None` if it cannot even be
    /// read.
    pub(crate) fn watching(operators: OperatorsReader<'_>, locals: u32, watch: impl FnMut(&Operator<'_>, u64)) -> Option<Self> {
        Self::fixed_point(&Body::read(operators, At::Loops, watch)?, locals)
    }

    fn fixed_point(body: &Body, locals: u32) -> Option<Self> {
        let empty = LocalSet::new(locals);
        let headers = body.loops.iter().map(|&offset| (offset, empty.clone())).collect();
        let mut liveness = Self { headers, ..Self::default() };
        while !body.loops.is_empty() && liveness.pass(body, &empty, |_, _| ())? {}
        Some(liveness)
    }

    /// As [`Liveness::watching`], watched by nobody, and analyses all other resume points too.
    pub(crate) fn at_points(operators: OperatorsReader<'_>, locals: u32) -> Option<Self> {
        let body = Body::read(operators, At::Points, |_, _| ())?;
        let mut liveness = Self::fixed_point(&body, locals)?;
        let empty = LocalSet::new(locals);
        let size = empty.0.len();
        let mut words = vec![0; body.points.len() * size];
        liveness.pass(&body, &empty, |point, live| words[point * size..][..size].copy_from_slice(&live.0))?;
        (liveness.points, liveness.words) = (body.points, words);
        Some(liveness)
    }

    /// The locals live at the loop whose operator is at `offset`.
    pub(crate) fn at(&self, offset: u32) -> Option<&LocalSet> {
        let at = self.headers.binary_search_by_key(&offset, |header| header.0).ok()?;
        Some(&self.headers[at].1)
    }

    /// The locals live at the resume point before the operator at `offset`.
    pub(crate) fn at_point(&self, offset: u32) -> Option<impl Iterator<Item = u32>> {
        let words = match self.at(offset) {
            Some(header) => &header.0,
            None => {
                let at = self.points.binary_search(&offset).ok()?;
                let size = self.words.len() / self.points.len();
                &self.words[at * size..][..size]
            }
        };
        Some(members(words))
    }

    /// One pass backwards, which tells what is live at each point that is no loop header; whether any header changed.
    fn pass(&mut self, body: &Body, empty: &LocalSet, mut tell: impl FnMut(usize, &LocalSet)) -> Option<bool> {
        let mut changed = false;
        let mut live = empty.clone();
        let mut labels: Vec<Label> = Vec::new();
        for event in body.events.iter().rev() {
            match *event {
                Event::Get(local) => live.insert(local),
                Event::Set(local) => live.remove(local),
                Event::End(kind) => {
                    let target = match kind {
                        Kind::Loop(header) => self.headers[header].1.clone(),
                        Kind::Other => live.clone(),
                    };
                    labels.push(Label { target, otherwise: None });
                }
                Event::Else => {
                    let label = labels.last_mut()?;
                    let otherwise = std::mem::replace(&mut live, label.target.clone());
                    label.otherwise = Some(otherwise);
                }
                Event::If => {
                    let label = labels.pop()?;
                    live.add(label.otherwise.as_ref().unwrap_or(&label.target));
                }
                Event::Block => drop(labels.pop()?),
                Event::Loop(header) => {
                    labels.pop()?;
                    let known = &mut self.headers[header].1;
                    if *known != live {
                        known.clone_from(&live);
                        changed = true;
                    }
                }
                Event::Branch(depth) => live.clone_from(&target(&labels, depth)?.target),
                Event::BranchIf(depth) => live.add(&target(&labels, depth)?.target),
                Event::Leave => live.clear(),
                Event::Point(point) => tell(point, &live),
            }
        }
        Some(changed)
    }
}

/// The label a branch names; the innermost is the last.
fn target(labels: &[Label], depth: u32) -> Option<&Label> {
    labels.get(labels.len().checked_sub(1 + depth as usize)?)
}

/// An open block, seen from its end.
struct Label {
    /// What is live where a branch to it goes.
    target: LocalSet,
    /// What is live where its `else` begins, once that was passed.
    otherwise: Option<LocalSet>,
}

/// Where an answer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Loops,
    Points,
}

/// What of a body matters here, in its order.
struct Body {
    events: Vec<Event>,
    /// Offsets of the `loop` operators.
    loops: Vec<u32>,
    /// Offsets of the operators before which there are other resume points.
    points: Vec<u32>,
}

#[derive(Clone, Copy)]
enum Event {
    Get(u32),
    Set(u32),
    Block,
    /// By its place in [`Body::loops`].
    Loop(usize),
    If,
    Else,
    End(Kind),
    Branch(u32),
    BranchIf(u32),
    /// Control goes nowhere in this body.
    Leave,
    /// A resume point, by its place in [`Body::points`].
    Point(usize),
}

/// What an `end` ends.
#[derive(Clone, Copy)]
enum Kind {
    Loop(usize),
    Other,
}

impl Body {
    fn read(mut operators: OperatorsReader<'_>, at: At, mut watch: impl FnMut(&Operator<'_>, u64)) -> Option<Self> {
        let mut body = Self { events: Vec::new(), loops: Vec::new(), points: Vec::new() };
        // The function's own block is the first.
        let mut open = vec![Kind::Other];
        let mut arrived = true;
        while !operators.eof() {
            let (operator, offset) = operators.read_with_offset().ok()?;
            watch(&operator, offset);
            if at == At::Points && (arrived || is_point(&operator)) && !matches!(operator, Operator::Loop { .. }) {
                body.events.push(Event::Point(body.points.len()));
                body.points.push(offset as u32);
            }
            arrived = is_before_point(&operator);
            let event = match operator {
                Operator::LocalGet { local_index } => Event::Get(local_index),
                Operator::LocalSet { local_index } | Operator::LocalTee { local_index } => Event::Set(local_index),
                Operator::Block { .. } => {
                    open.push(Kind::Other);
                    Event::Block
                }
                Operator::Loop { .. } => {
                    open.push(Kind::Loop(body.loops.len()));
                    body.loops.push(offset as u32);
                    Event::Loop(body.loops.len() - 1)
                }
                Operator::If { .. } => {
                    open.push(Kind::Other);
                    Event::If
                }
                Operator::Else => Event::Else,
                Operator::End => Event::End(open.pop()?),
                Operator::Br { relative_depth } => Event::Branch(relative_depth),
                Operator::BrIf { relative_depth } => Event::BranchIf(relative_depth),
                Operator::BrTable { targets } => {
                    for depth in targets.targets() {
                        body.events.push(Event::BranchIf(depth.ok()?));
                    }
                    // Backwards: this one first, which forgets what follows, then the others.
                    Event::Branch(targets.default())
                }
                Operator::Return | Operator::Unreachable => Event::Leave,
                _ => continue,
            };
            body.events.push(event);
        }
        Some(body)
    }
}
