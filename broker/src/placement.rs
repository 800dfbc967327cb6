//! Where functions may run, as their embedder declares; and calls between those that may not run in the same place.
//!
//! A function is *interpreted* by declaration, or *native*, or either. A call from an interpreted to a native one, or back, crosses: it
//! goes through a bridge whenever it is made, and somebody should know. So crossings are declared, and one that is not is told, once,
//! with both ends named. The broker does not see calls: lowerings and bridges tell it of them.

use std::{collections::BTreeMap, fmt};

use crate::{
    BeadId, BeadRef, Broker, CompileNowError, CompileRequest, Tier, Transition,
    shared::Shared,
    sync::{PlainMutex, plain_lock},
};

/// Where a function may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Placement {
    /// Wherever the policy has it.
    #[default]
    Anywhere,
    /// Only in the interpreter.
    InterpreterOnly,
    /// In the interpreter, and up to a tier.
    UpTo(Tier),
    /// Only in native code, of this tier at least: it is compiled before its first run.
    NativeOnly(Tier),
    /// Only in the interpreter; compiled to see whether that can be done ([`Broker::check`]), and never run.
    CheckOnly,
}

/// The side of a bridge a function is on by declaration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Interpreted,
    Native,
}

impl Placement {
    /// The highest tier.
    fn limit(self) -> Tier {
        match self {
            Placement::Anywhere | Placement::NativeOnly(_) => Tier::MAX,
            Placement::UpTo(tier) => tier,
            Placement::InterpreterOnly | Placement::CheckOnly => Tier::INTERPRETER,
        }
    }

    fn side(self) -> Option<Side> {
        match self {
            Placement::Anywhere | Placement::UpTo(_) => None,
            Placement::InterpreterOnly | Placement::CheckOnly => Some(Side::Interpreted),
            Placement::NativeOnly(_) => Some(Side::Native),
        }
    }

    pub(crate) fn pack(self) -> u64 {
        match self {
            Placement::Anywhere => 0,
            Placement::InterpreterOnly => 1,
            Placement::CheckOnly => 2,
            Placement::UpTo(tier) => 3 | u64::from(tier.index()) << 8,
            Placement::NativeOnly(tier) => 4 | u64::from(tier.index()) << 8,
        }
    }

    pub(crate) fn unpack(word: u64) -> Self {
        let tier = Tier::new((word >> 8) as u8);
        match word & 0xFF {
            1 => Placement::InterpreterOnly,
            2 => Placement::CheckOnly,
            3 => Placement::UpTo(tier),
            4 => Placement::NativeOnly(tier),
            _ => Placement::Anywhere,
        }
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Placement::Anywhere => f.write_str("anywhere"),
            Placement::InterpreterOnly => f.write_str("interpreter only"),
            Placement::UpTo(tier) => write!(f, "up to {tier}"),
            Placement::NativeOnly(tier) => write!(f, "native only, {tier} at least"),
            Placement::CheckOnly => f.write_str("check only"),
        }
    }
}

/// A crossing between two functions: declared, made, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bridge {
    /// Who calls.
    pub caller: BeadId,
    /// What the `describe` function says about it.
    pub caller_name: String,
    /// Who is called.
    pub callee: BeadId,
    /// What the `describe` function says about it.
    pub callee_name: String,
    /// Whether [it was declared](Broker::declare_bridge).
    pub declared: bool,
    /// How often the broker was told of it.
    pub calls: u64,
}

/// What [`Broker::note_call`] makes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crossing {
    /// Both may run in the same place.
    None,
    /// It crosses a declared bridge.
    Declared,
    /// It crosses, and nobody has declared that.
    Undeclared,
}

/// All crossings of one broker that were declared or told of.
#[derive(Debug, Default)]
pub(crate) struct Bridges(PlainMutex<BTreeMap<(BeadId, BeadId), Bridge>>);

impl<G: Send + Sync + 'static> Broker<G> {
    /// Declares where the bead's function may run, from now on. Native code it may not have is [invalidated](Self::invalidate);
    /// for [`Placement::NativeOnly`] it is compiled now, on this thread.
    ///
    /// # Errors
    ///
    /// A [`CompileNowError`] when it cannot be compiled, or is another broker's. Then nothing is declared.
    pub fn place(&self, bead: BeadRef<'_, G>, placement: Placement) -> Result<(), CompileNowError> {
        if !self.shared().owns(bead) {
            return Err(CompileNowError::ForeignBead);
        }
        let before = bead.hot.state.snapshot().limit();
        self.limit_tier(bead, placement.limit());
        if let Placement::NativeOnly(tier) = placement
            && let Err(error) = self.compile_now(bead, tier)
        {
            self.limit_tier(bead, before);
            return Err(error);
        }
        self.shared().registry.tally(bead.id as u32).set_placement(placement);
        Ok(())
    }

    /// Where the bead's function may run. `None` when the bead is another broker's.
    pub fn placement(&self, bead: BeadRef<'_, G>) -> Option<Placement> {
        self.shared().owns(bead).then(|| self.shared().registry.tally(bead.id as u32).placement())
    }

    /// Compiles the bead's function for `tier`, wherever it may run, and throws the code away. Returns its size in bytes.
    ///
    /// # Errors
    ///
    /// A [`CompileNowError`] that says why it cannot be compiled.
    pub fn check(&self, bead: BeadRef<'_, G>, tier: Tier) -> Result<usize, CompileNowError> {
        if !self.shared().owns(bead) {
            return Err(CompileNowError::ForeignBead);
        }
        if !self.shared().is_open(tier) {
            return Err(CompileNowError::NoSuchTier(tier));
        }
        Ok(self.shared().compile_and_drop(bead, tier)?)
    }

    /// Declares that `caller` may call `callee` although they may not run in the same place. False when one is another broker's.
    pub fn declare_bridge(&self, caller: BeadRef<'_, G>, callee: BeadRef<'_, G>) -> bool {
        let shared = self.shared();
        let own = shared.owns(caller) && shared.owns(callee);
        if own {
            shared.bridge(caller, callee, |bridge| bridge.declared = true);
        }
        own
    }

    /// `caller` calls `callee`, or is compiled to: counts it if it crosses, and tells by an event ([`Transition::Crossed`]) when that is
    /// undeclared, once for each pair. For bridges, and for whoever knows who calls whom.
    pub fn note_call(&self, caller: BeadRef<'_, G>, callee: BeadRef<'_, G>) -> Crossing {
        self.shared().note_call(caller, callee)
    }

    /// The crossings that were declared or told of, by bead.
    pub fn bridges(&self) -> Vec<Bridge> {
        plain_lock(&self.shared().bridges.0).values().cloned().collect()
    }
}

impl<G: Send + Sync + 'static> CompileRequest<'_, G> {
    /// As [`Broker::note_call`]: the code to be made will call `callee`. For lowerings; `caller` is the bead it is made for.
    pub fn note_call(&self, caller: BeadRef<'_, G>, callee: BeadRef<'_, G>) -> Crossing {
        self.shared.note_call(caller, callee)
    }
}

impl<G: Send + Sync + 'static> Shared<G> {
    fn note_call(&self, caller: BeadRef<'_, G>, callee: BeadRef<'_, G>) -> Crossing {
        if !self.owns(caller) || !self.owns(callee) {
            return Crossing::None;
        }
        let side = |bead: BeadRef<'_, G>| self.registry.tally(bead.id as u32).placement().side();
        if !matches!((side(caller), side(callee)), (Some(from), Some(to)) if from != to) {
            return Crossing::None;
        }
        let (declared, calls, name) = self.bridge(caller, callee, |bridge| bridge.calls += 1);
        if !declared && calls == 1 {
            let what = Transition::Crossed { callee: self.bead_id(callee.id as u32), name };
            let tier = self.running_tier(caller.id as u32);
            self.tell(self.event(caller.id as u32, tier, tier, what));
        }
        if declared { Crossing::Declared } else { Crossing::Undeclared }
    }

    /// Changes the record of a pair, and says whether it is declared, how often it was crossed, and what the callee is called.
    fn bridge(&self, caller: BeadRef<'_, G>, callee: BeadRef<'_, G>, change: impl FnOnce(&mut Bridge)) -> (bool, u64, String) {
        let [from, to] = [caller, callee].map(|bead| bead.id as u32);
        let key = (self.bead_id(from), self.bead_id(to));
        // Named before the lock is taken: describing is foreign code.
        let known = plain_lock(&self.bridges.0).contains_key(&key);
        let names = if known { (String::new(), String::new()) } else { (self.name(from), self.name(to)) };
        let mut bridges = plain_lock(&self.bridges.0);
        let bridge = bridges.entry(key).or_insert_with(|| Bridge {
            caller: key.0,
            caller_name: names.0,
            callee: key.1,
            callee_name: names.1,
            declared: false,
            calls: 0,
        });
        change(bridge);
        (bridge.declared, bridge.calls, bridge.callee_name.clone())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn placements_fit_a_word() {
        let all = [Placement::Anywhere, Placement::InterpreterOnly, Placement::CheckOnly];
        for placement in all.into_iter().chain([Placement::UpTo(Tier::new(1)), Placement::NativeOnly(Tier::MAX)]) {
            assert_eq!(Placement::unpack(placement.pack()), placement);
        }
        assert_eq!(Placement::unpack(0), Placement::default());
    }
}
