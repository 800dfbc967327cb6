//! Random functions entered in the midst of the quick compiler's code: a call that is stopped at a loop, at some arrival, and goes on there does
//! what an uninterrupted one does. Cranelift compiles the uninterrupted one, the one that stops, and what is called.

use cranelift_codegen::{
    data_value::DataValue,
    ir::{
        Function, Value,
        types::{F64, I16, I32},
    },
    verify_function,
};
use tierup_backends::{CraneliftBackend, LowerCx, OptLevel, Site};
use tierup_broker::{Bailout, Tier};

use crate::{
    generate::{
        self, Program,
        entered::{ARRIVALS, CONSTANT, FRAME, STOPPED, WORDS},
        is_plain,
    },
    oracles::{Tally, arguments, point, text},
    random::Random,
    tiers::{Baseline, Symbols, call, isa, name, trampoline},
};

/// Loops of one program that are entered, and arrivals at which each is.
const MOST_SITES: usize = 4;
const ENTRIES: usize = 3;
/// What a variant returns when the call is over.
const DONE: i64 = tierup_backends::abi::OsrOutcome::DONE;

/// What generated code sees: the vmctx.
#[derive(Clone, PartialEq)]
#[repr(C, align(16))]
struct Words([u64; WORDS]);

impl Words {
    fn new(arrivals: u64) -> Box<Self> {
        let mut words = Box::new(Words([0; WORDS]));
        (words.0[ARRIVALS], words.0[CONSTANT]) = (arrivals, 0x1234_5678_9abc);
        words
    }

    /// What a program may look at.
    fn memory(&self) -> &[u64] {
        &self.0[..generate::SLOT as usize / 8]
    }
}

/// Compiled by Cranelift.
struct Reference {
    code: Baseline,
    program: Program,
}

impl Reference {
    fn new(program: Program) -> Result<Self, String> {
        let isa = isa(false);
        let entry = trampoline("entry", "f", &program.functions[0].signature);
        let all: Vec<Function> = program.functions.iter().cloned().chain([entry]).collect();
        Ok(Reference { code: Baseline::new(&isa, &all, &Symbols::new())?, program })
    }

    /// Calls `%f`; `args` are those behind vmctx and callee.
    fn call(&self, words: &mut Words, args: &[DataValue]) -> i64 {
        let signature = &self.program.functions[0].signature;
        let mut args: Vec<DataValue> = [words.0.as_mut_ptr() as i64, 0].map(DataValue::I64).iter().chain(args).cloned().collect();
        point(&mut args, &self.program, &self.code);
        // SAFETY: a trampoline of this signature; the words are what such a function sees.
        match unsafe { call(self.code.address("entry"), signature, &args) }[..] {
            [DataValue::I64(result)] => result,
            ref other => unreachable!("{other:?} of an i64"),
        }
    }
}

/// Enters the seed's program at its loops, if it is plain.
///
/// # Errors
///
/// What differs, with the program's text.
pub(crate) fn check(seed: u64, tally: &mut Tally) -> Result<(), String> {
    enter(seed, tally, |_| {})
}

/// Whether it shows when a frame has two values of one type in each other's places.
pub(crate) fn notices_wrong_slots(seed: u64) -> bool {
    let outcome = enter(seed, &mut Tally::default(), |program| {
        let dfg = &program.functions[0].dfg;
        for site in &mut program.sites {
            for ty in [I16, I32, F64] {
                let is_such = |&(_, value): &(u32, Value)| dfg.value_type(value) == ty;
                let (first, last) = (site.live.iter().position(is_such), site.live.iter().rposition(is_such));
                if let (Some(first), Some(last)) = (first, last) {
                    let slots = (site.live[first].0, site.live[last].0);
                    (site.live[last].0, site.live[first].0) = slots;
                }
            }
        }
    });
    outcome.is_err_and(|find| find.contains("entered at site"))
}

/// [`check`], of a program that is spoilt before.
fn enter(seed: u64, tally: &mut Tally, spoil: impl FnOnce(&mut Program)) -> Result<(), String> {
    if !is_plain(seed) || !is_x86_feature_detected!("bmi2") {
        return Ok(());
    }
    let mut program = generate::enterable(seed, None);
    spoil(&mut program);
    if program.sites.is_empty() {
        return Ok(());
    }
    let (functions, sites) = (program.functions.clone(), program.sites.clone());
    let find = |what: String| Err(format!("seed {seed:#x}: {what}\n{}", text(&functions)));
    if let Err(errors) = verify_function(&functions[0], &*isa(false)) {
        return find(format!("not verified: {errors}"));
    }
    let whole = Reference::new(program)?;
    let mut builder = CraneliftBackend::builder().opt_level(OptLevel::Quick);
    for callee in &functions[1..] {
        let name = name(callee);
        // SAFETY: a function of that signature, kept as long as the code.
        builder = unsafe { builder.symbol(&name, whole.code.address(&name) as *const u8, callee.signature.clone()) };
    }
    let lower = |cx: &mut LowerCx<'_, (Function, Vec<Site>)>| -> Result<(), Bailout> {
        let (function, sites) = cx.guest();
        cx.provide(function.clone());
        sites.iter().for_each(|site| cx.loop_site(site.clone()));
        Ok(())
    };
    let guest = (functions[0].clone(), sites.clone());
    let backend = builder.build(lower).map_err(|error| error.to_string())?;
    let mut random = Random::new(seed ^ 0x0e17);
    let own = &functions[0].signature;
    for _ in 0..sites.len().min(MOST_SITES) {
        let site = random.below(sites.len()) as u32;
        let before = backend.totals().quick_units;
        let code = match backend.compile_variant(&guest, Tier::new(1), site) {
            Ok(code) if backend.totals().quick_units > before => code,
            _ => {
                tally.refused += 1;
                continue;
            }
        };
        let stopping = Reference::new(generate::enterable(seed, Some(site)))?;
        let args = arguments(&mut random, own).split_off(2);
        let mut counted = Words::new(u64::MAX >> 1);
        stopping.call(&mut counted, &args);
        let arrivals = (u64::MAX >> 1) - counted.0[ARRIVALS];
        let mut uninterrupted = Words::new(0);
        let expected = whole.call(&mut uninterrupted, &args);
        for _ in 0..ENTRIES.min(arrivals as usize) {
            let arrival = 1 + random.below(arrivals as usize) as u64;
            let mut words = Words::new(arrival);
            stopping.call(&mut words, &args);
            assert_eq!(words.0[STOPPED], 1, "it arrives so often");
            let mut frame = words.0[FRAME..].to_vec();
            type Variant = extern "C" fn(*mut u64, u64, *mut u64, u64) -> i64;
            // SAFETY: a variant is of that signature; it was made for these words, and for a frame of these slots.
            let entry: Variant = unsafe { std::mem::transmute::<*const u8, Variant>(code.entry()) };
            let status = entry(words.0.as_mut_ptr(), 0, frame.as_mut_ptr(), site.into());
            tally.entries += 1;
            let result = frame[0].cast_signed();
            if (status, result) != (DONE, expected) || words.memory() != uninterrupted.memory() {
                let memory = if words.memory() == uninterrupted.memory() { "the same memory" } else { "other memory" };
                return find(format!(
                    "entered at site {site}, arrival {arrival} of {arrivals}: status {status}, {result:#x} for {expected:#x}, {memory}"
                ));
            }
        }
    }
    Ok(())
}
