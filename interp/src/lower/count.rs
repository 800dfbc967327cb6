//! How the work of compiled code becomes known, where the function may go to a higher tier.
//!
//! *Sampled* code has nothing to do for that but to poll, at its entry, which the prologue does, and at its loops, where it tells of the
//! site as well and may leave for better code. Where nobody samples, and where it would never poll, code counts; but for the smallest leaves, which
//! are left to their callers.
//!
//! *Counting* code has calls and loops' turns to tell of. A variable has the work that the thread's countdown was not told of: a call's,
//! and that of every turn of a loop, which costs an addition and a compare-and-branch at the header. It is taken from the countdown on
//! return, and when it is large. (A countdown in memory would make every turn of a loop wait for the store of the one before.) At the
//! entry the countdown is only looked at, so a call that finds it spent was not the one that spent it. Nothing is taken when a trap
//! ends the body.

use tierup::CALL_WORK;

use super::clif::{self, Block, BodyAbi, Countdown, Imm64, Inst, InstBuilder, InstructionData, IntCC, Value, Variable, types};
use super::function::FuncLower;
use super::site::DeclaredSite;

/// Work loops usually do before the countdown is told, in work units: some 10 us at least, and no more than 100, because that is
/// when the code polls.
pub(super) const FLUSH: i64 = 1 << 17;

/// The counting of one body under way.
#[derive(Clone, Copy)]
pub(super) struct Counter {
    counting: Counting,
    /// None if it is sampled.
    account: Option<Account>,
}

/// What counting code carries along.
#[derive(Clone, Copy)]
struct Account {
    /// Work the countdown was not told of.
    unpaid: Variable,
    /// What that is where a loop is entered from the interpreter: none.
    none: Value,
    /// How much it may become in loops.
    flush: i64,
}

/// How a body is to count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counting {
    pub(super) countdown: Countdown,
    /// The function's index in the module, its token.
    pub(super) function: u32,
    /// Work loops do before the countdown is told, in work units; `None` for code that is sampled.
    pub(super) flush: Option<i64>,
}

/// A loop being counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct LoopCount {
    /// The constant that is one turn's work, filled in when the loop ends.
    turn: Inst,
    /// Operators on the way to the header.
    before: u32,
    /// Operators on the longest way from there back to it, as the interpreter counts them.
    longest: u32,
}

impl LoopCount {
    /// A way back to the header was found.
    pub(super) fn note_way(&mut self, work: u32) {
        self.longest = self.longest.max(work - self.before);
    }
}

impl FuncLower<'_, '_> {
    /// Counts a call; code goes on in a new block. Nothing happens if the body is not to count.
    pub(super) fn count_call(&mut self, counting: Option<Counting>) {
        let Some(counting) = counting else { return };
        let Some(flush) = counting.flush else {
            self.count = Some(Counter { counting, account: None });
            return;
        };
        let countdown = counting.countdown;
        let spent = countdown.is_spent(self.b, self.abi.cells);
        let none = self.b.ins().iconst(types::I32, 0);
        let call = self.b.ins().iconst(types::I32, i64::from(CALL_WORK));
        let unpaid = self.b.declare_var(types::I32);
        self.b.def_var(unpaid, call);
        self.count = Some(Counter { counting, account: Some(Account { unpaid, none, flush }) });
        let (tell, next) = self.fork(spent);
        self.b.switch_to_block(tell);
        self.tell(counting, none, None);
        self.b.ins().jump(next, &[]);
        self.go_on(next);
    }

    /// Declares the loop whose header the builder has just entered, polls, and counts a turn of it; code goes on in a new block.
    pub(super) fn begin_loop(&mut self, header: Block) -> Option<LoopCount> {
        let Some(Counter { counting, account }) = self.count else {
            self.declare_site(header, None);
            self.poll_at_header();
            return None;
        };
        let Some(Account { unpaid, none, flush }) = account else {
            let site = self.declare_site(header, None);
            let abi = self.abi_at_header();
            let asked = clif::poll_cell(self.b, abi.cells);
            let (tell, next) = self.fork(asked);
            self.b.switch_to_block(tell);
            let none = self.b.ins().iconst(types::I32, 0);
            self.tell_in_loop(counting, none, site, next);
            return None;
        };
        let before = self.b.use_var(unpaid);
        let site = self.declare_site(header, Some((before, none)));
        let turn = self.b.ins().iconst(types::I32, 0);
        let now = self.b.ins().iadd(before, turn);
        self.b.def_var(unpaid, now);
        let much = self.b.ins().icmp_imm_s(IntCC::SignedGreaterThan, now, flush);
        let (tell, next) = self.fork(much);
        self.b.switch_to_block(tell);
        let none = self.b.ins().iconst(types::I32, 0);
        self.b.def_var(unpaid, none);
        self.tell_in_loop(counting, now, site, next);
        let turn = self.b.func.dfg.value_def(turn).inst().expect("just made");
        Some(LoopCount { turn, before: self.work, longest: 1 })
    }

    /// The loop has ended: every turn is charged the longest way.
    pub(super) fn end_count(&mut self, count: LoopCount) {
        if let InstructionData::UnaryImm { imm, .. } = &mut self.b.func.dfg.insts[count.turn] {
            *imm = Imm64::new(i64::from(count.longest));
        }
    }

    /// Takes what is unpaid from the countdown: the body is about to return.
    pub(super) fn count_return(&mut self) {
        if let Some(Counter { counting, account: Some(Account { unpaid, .. }) }) = self.count {
            let unpaid = self.b.use_var(unpaid);
            // The next call finds out what is left.
            counting.countdown.charge(self.b, self.abi.cells, unpaid);
        }
    }

    /// Counts a call that is inlined.
    pub(super) fn count_inlined(&mut self) {
        if let Some(Counter { account: Some(Account { unpaid, .. }), .. }) = self.count {
            let before = self.b.use_var(unpaid);
            let now = self.b.ins().iadd_imm_s(before, i64::from(CALL_WORK));
            self.b.def_var(unpaid, now);
        }
    }

    /// Ends the current block, a cold one: tells of `work` and of the loop, and leaves there or goes on in `next`.
    fn tell_in_loop(&mut self, counting: Counting, work: Value, site: Option<DeclaredSite>, next: Block) {
        let abi = self.tell(counting, work, site.as_ref().map(|site| site.id));
        match site {
            Some(site) => self.leave_or(next, &abi, &site),
            None => {
                self.b.ins().jump(next, &[]);
            }
        }
        self.go_on(next);
    }

    /// Tells the broker, and returns what a body has at hand in this block.
    fn tell(&mut self, counting: Counting, work: Value, site: Option<u32>) -> BodyAbi {
        // A constant, so that the parameter is not kept for this.
        let callee = self.b.ins().iconst(types::I64, i64::from(counting.function));
        let abi = BodyAbi { callee, ..self.abi };
        counting.countdown.tell(self.b, &abi, work, site);
        abi
    }

    /// Ends a block that has told of `site`: leaves there if that is better, and else goes on in `next`.
    fn leave_or(&mut self, next: Block, abi: &BodyAbi, site: &DeclaredSite) {
        let should = clif::should_leave(self.b, abi);
        let should = self.or_if_invalid(should);
        let away = self.b.create_block();
        self.b.set_cold_block(away);
        self.b.ins().brif(should, away, &[], next, &[]);
        self.b.seal_block(away);
        let leave = self.cx.leave_block(self.b, abi, site.id, &site.live);
        self.b.switch_to_block(away);
        self.b.ins().jump(leave.unwrap_or(next), &[]);
        if let Some(leave) = leave {
            self.b.seal_block(leave);
        }
    }
}
