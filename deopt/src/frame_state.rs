//! What the interpreter's frames hold at a place in compiled code, in the compiler's values.

use cranelift_codegen::ir::Value;

/// The guest frames the interpreter would have at a place in compiled code, outermost first.
///
/// The first is the function the unit is of. There are more where the *lowering* put callees' bodies into their caller: they
/// are in the middle of the call that led to the next frame. (What a compiler inlines by itself is a function of its own with
/// frame states of its own.)
///
/// ```
/// # use cranelift_codegen::ir::Value;
/// # use tierup_deopt::FrameState;
/// # let (n, sum, x) = (Value::from_u32(0), Value::from_u32(1), Value::from_u32(2));
/// // `caller`, at its call at 17 with two live slots, of `callee`, at 3.
/// let state = FrameState::of(1, 17).slot(0, n).slot(2, sum).calls(2, 3).slot(0, x);
/// assert_eq!(state.frames().len(), 2);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameState {
    frames: Vec<StateFrame>,
}

/// One frame of a [`FrameState`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateFrame {
    /// The function, in the embedder's numbering.
    pub function: u64,
    /// Where in it the interpreter goes on, in the embedder's numbering of such places. An outer frame goes on when the frame
    /// it called has returned.
    pub pc: u32,
    /// What each live slot holds. A slot that is not here is dead: its content is nobody's.
    pub slots: Vec<(u32, Value)>,
}

impl FrameState {
    /// One frame of `function`, which goes on at `pc`, without live slots.
    pub fn of(function: u64, pc: u32) -> Self {
        FrameState { frames: vec![StateFrame { function, pc, slots: Vec::new() }] }
    }

    /// Slot `slot` of the innermost frame holds `value`: one of at most 64 bits. Narrow ones are in the slot's low half, below
    /// zeros.
    pub fn slot(mut self, slot: u32, value: Value) -> Self {
        self.innermost_mut().slots.push((slot, value));
        self
    }

    /// As [`slot`](Self::slot), for several.
    pub fn slots(mut self, slots: impl IntoIterator<Item = (u32, Value)>) -> Self {
        self.innermost_mut().slots.extend(slots);
        self
    }

    /// The innermost frame has called `function`, whose body the lowering put here: from now on that is the innermost frame.
    pub fn calls(mut self, function: u64, pc: u32) -> Self {
        self.frames.push(StateFrame { function, pc, slots: Vec::new() });
        self
    }

    /// The frames, outermost first. At least one.
    pub fn frames(&self) -> &[StateFrame] {
        &self.frames
    }

    /// The values of all frames, outermost first, in the order they were given.
    pub fn values(&self) -> impl Iterator<Item = Value> + '_ {
        self.frames.iter().flat_map(|frame| &frame.slots).map(|&(_, value)| value)
    }

    fn innermost_mut(&mut self) -> &mut StateFrame {
        self.frames.last_mut().expect("made with one")
    }
}
