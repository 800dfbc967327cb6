//! The VM's speculation on indirect calls: what a call has called is called directly, what it has not called leaves, and whatever
//! happens the program cannot tell.

mod program;

use program::{FIRST, Program, WARM, config};
use tierup_interp::{AsStore, Config, Extern, Instance, Linker, Osr, Speculate, TrapCode, Val};

/// `run(which, x)` calls element `which` with `x`, and `outer` calls `run`. Elements 0 to 5 are what [`expected`] says, 6 divides by
/// `x`, 7 is null, 8 of another type, 9 calls element `inner` and adds 2, and there are [`SIZE`].
const FUNCTIONS: &str = r#"
    (type $unary (func (param i32) (result i32)))
    (global $k (export "k") (mut i32) (i32.const 1))
    (func $a (type $unary) (i32.add (local.get 0) (global.get $k)))
    (func $b (type $unary) (i32.mul (local.get 0) (i32.const 3)))
    (func $c (type $unary) (i32.xor (local.get 0) (i32.const 255)))
    (func $d (type $unary) (i32.sub (i32.const 7) (local.get 0)))
    (func $e (type $unary) (i32.rotl (local.get 0) (i32.const 5)))
    (func $f (type $unary) (i32.clz (local.get 0)))
    (func $div (type $unary) (i32.div_u (i32.const 1000) (local.get 0)))
    (func $other)
    (global $inner (export "inner") (mut i32) (i32.const 0))
    (func $through (type $unary) (i32.add (i32.const 2) (call_indirect (type $unary) (local.get 0) (global.get $inner))))
    (elem (i32.const 9) $through)
    (elem (i32.const 0) $a $b $c $d $e $f $div)
    (elem (i32.const 8) $other)
    (func $run (export "run") (param $which i32) (param $x i32) (result i32) (local $kept i32)
        (local.set $kept (i32.mul (local.get $x) (i32.const 5)))
        (i32.add (local.get $kept) (call_indirect (type $unary) (local.get $x) (local.get $which))))
    (func (export "outer") (param $which i32) (param $x i32) (result i32)
        (i32.sub (call $run (local.get $which) (local.get $x)) (i32.const 1)))
    (func (export "loop") (param $from i32) (param $turns i32) (result i32) (local $sum i32)
        (loop
            (local.set $sum (i32.add (local.get $sum)
                (call_indirect (type $unary) (local.get $turns) (i32.load (i32.shl (i32.div_u (local.get $from) (i32.const 100000)) (i32.const 2))))))
            (local.set $from (i32.add (local.get $from) (i32.const 1)))
            (br_if 0 (local.tee $turns (i32.sub (local.get $turns) (i32.const 1)))))
        (local.get $sum))
    (memory (export "m") 1)"#;

/// Elements of the table.
const SIZE: i32 = 100;

/// Who can write to the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Table {
    /// Others, and they have done so.
    Open,
    /// Nobody. It has more functions of the type than are worth a look at each.
    Closed,
    /// Nobody, and it has few.
    Small,
}

const TABLES: [Table; 2] = [Table::Open, Table::Closed];

impl Table {
    fn text(self) -> String {
        match self {
            Table::Open => format!(r#"(table (export "t") {SIZE} funcref)"#),
            Table::Small => format!("(table {SIZE} {SIZE} funcref)"),
            Table::Closed => {
                let more: String = (0..80).map(|n| format!("(func $m{n} (type $unary) (i32.const {n}))")).collect();
                let names: String = (0..80).map(|n| format!(" $m{n}")).collect();
                format!("(table {SIZE} {SIZE} funcref) {more} (elem (i32.const 10){names})")
            }
        }
    }
}

fn target(which: i32, x: i32) -> i32 {
    match which {
        0 => x.wrapping_add(1),
        1 => x.wrapping_mul(3),
        2 => x ^ 255,
        3 => 7_i32.wrapping_sub(x),
        4 => x.rotate_left(5),
        5 => x.leading_zeros() as i32,
        _ => 1000_u32.checked_div(x as u32).expect("divided by 0") as i32,
    }
}

fn expected(which: i32, x: i32) -> i32 {
    x.wrapping_mul(5).wrapping_add(target(which, x))
}

impl Program {
    fn new(table: Table, config: Config) -> Self {
        let mut program = Self::of(&format!("{FUNCTIONS} {}", table.text()), config);
        if table == Table::Open {
            let last = SIZE as u64 - 1;
            program.instance.table(&program.store, "t").unwrap().set(&mut program.store, last, &Val::FuncRef(None)).unwrap();
        }
        program
    }

    fn both() -> [Self; 2] {
        TABLES.map(|table| Self::new(table, config()))
    }

    fn call(&mut self, name: &str, first: i32, second: i32) -> Result<i32, TrapCode> {
        self.try_call(name, first, second).map_err(|trap| {
            // The function called, if there is one, and its caller.
            assert!((1..=3).contains(&trap.backtrace().len()), "{trap:?}");
            trap.code()
        })
    }

    #[track_caller]
    fn check(&mut self, which: i32, x: i32) {
        assert_eq!(self.call("run", which, x), Ok(expected(which, x)), "function {which} of {x}");
    }

    /// Calls so many of the functions in turn until LLVM has compiled `run`.
    #[track_caller]
    fn warm(&mut self, functions: i32) {
        let before = self.units();
        for n in 0..WARM as i32 {
            self.check(n % functions, n);
        }
        assert!(self.units() > before, "{:?}", self.engine.broker().stats());
    }

    /// Exits that calls of these functions take.
    #[track_caller]
    fn exits(&mut self, calls: &[i32]) -> u64 {
        let before = self.store.deopts();
        for &which in calls {
            self.check(which, 12_345);
        }
        self.store.deopts() - before
    }
}

/// Up to four targets are known; another one leaves, once per call, and what comes of it is the same.
#[test]
fn up_to_four_targets() {
    for mut program in Program::both() {
        program.warm(1);
        assert_eq!((program.exits(&[0, 0, 1, 0, 2, 1]), program.exits(&[0; 10])), (3, 0));
    }
    for functions in 2..=4 {
        for mut program in Program::both() {
            program.warm(functions);
            let known: Vec<_> = (0..functions).collect();
            assert_eq!((program.exits(&known), program.exits(&[functions, 0, functions])), (0, 2), "{functions} functions");
        }
    }
}

/// More than four are called as ever, and so are those of code that must not speculate.
#[test]
fn megamorphic_calls_never_leave() {
    for mut program in Program::both() {
        program.warm(5);
        assert_eq!(program.exits(&[0, 1, 2, 3, 4, 5]), 0);
    }
    for table in TABLES {
        let mut program = Program::new(table, Config { speculate: Speculate::Off, ..config() });
        program.warm(1);
        assert_eq!(program.exits(&[0, 1, 2, 3, 4, 5]), 0);
    }
}

/// Where it is certain what a call can call nothing is taken for granted, unless that is asked for.
#[test]
fn what_is_certain_is_not_speculated_on() {
    for (speculate, exits) in [(Speculate::Auto, 0), (Speculate::Always, 5)] {
        let mut program = Program::new(Table::Small, Config { speculate, ..config() });
        program.warm(1);
        assert_eq!(program.exits(&[0, 1, 2, 3, 4, 5]), exits, "{speculate:?}");
    }
}

/// A target that is new when the code is compiled is not taken for granted, nor are the others then.
#[test]
fn an_unstable_call_is_not_speculated_on() {
    for mut program in Program::both() {
        for n in 0..WARM as i32 {
            // The last but few calls in the interpreter's and Cranelift's code are the first of another function.
            program.check(i32::from((2 * FIRST as i32 - 20..2 * FIRST as i32).contains(&n)), n);
        }
        assert!(program.units() > 0);
        assert_eq!(program.exits(&[0, 1, 2, 3]), 0);
    }
}

/// A callee behind a guard, inlined, has a guard of its own: what leaves there is that callee, and its caller goes on in the same code.
#[test]
fn a_guarded_callee_has_guards_of_its_own() {
    for mut program in Program::both() {
        let Some(Extern::Global(inner)) = program.instance.export(&program.store, "inner").unwrap() else { panic!("it has one") };
        let value = |which: i32, x: i32| x.wrapping_mul(5).wrapping_add(target(which, x)).wrapping_add(2);
        for x in 0..WARM as i32 {
            assert_eq!(program.call("run", 9, x), Ok(value(0, x)));
        }
        let guards = "tier 2 may be left at 2 indirect calls of what they had not called";
        assert!(program.why("run").contains(&format!("{guards}\n")), "its own and the callee's: {}", program.why("run"));
        let before = program.store.deopts();
        let call = |program: &mut Program, which: i32, x: i32| {
            inner.set(&mut program.store, &Val::I32(which)).unwrap();
            let result = program.try_call("run", 9, x);
            (result, program.store.deopts() - before)
        };
        assert_eq!(call(&mut program, 0, 10).1, 0);
        let (result, exits) = call(&mut program, 1, 10);
        assert_eq!((result.unwrap(), exits), (value(1, 10), 1), "once, for the callee");
        assert!(program.why("run").contains("; was left once: once at the indirect call"), "{}", program.why("run"));
        let (result, exits) = call(&mut program, 6, 0);
        let trap = result.unwrap_err();
        assert_eq!((trap.code(), trap.backtrace().len(), exits), (TrapCode::IntegerDivideByZero, 3, 2), "{trap}");
        let (result, exits) = call(&mut program, 7, 0);
        let trap = result.unwrap_err();
        assert_eq!((trap.code(), trap.backtrace().len(), exits), (TrapCode::IndirectCallToNull, 2, 3), "{trap}");
        // It becomes known.
        for x in 0..20_000 {
            assert_eq!(call(&mut program, 1, x).0.unwrap(), value(1, x));
        }
        let settled = call(&mut program, 1, 5).1;
        assert!(settled < 500, "{settled}");
        assert_eq!((call(&mut program, 0, 5).1, call(&mut program, 1, 5).1), (settled, settled));
    }
}

/// What is wrong with an element shows behind the exit, as it does without speculation; so does what is wrong in a known callee.
#[test]
fn traps_are_the_same() {
    for functions in 1..=5 {
        for mut program in Program::both() {
            program.warm(functions);
            assert_eq!(program.call("run", 7, 1), Err(TrapCode::IndirectCallToNull));
            assert_eq!(program.call("run", 8, 1), Err(TrapCode::BadSignature));
            assert_eq!(program.call("run", SIZE, 1), Err(TrapCode::TableOutOfBounds));
            assert_eq!(program.call("run", -1, 1), Err(TrapCode::TableOutOfBounds));
            assert_eq!(program.call("run", 6, 0), Err(TrapCode::IntegerDivideByZero));
            program.check(6, 8);
        }
    }
    for mut program in Program::both() {
        for n in 1..WARM as i32 {
            program.check(6, n);
        }
        assert!(program.units() > 0);
        assert_eq!((program.call("run", 6, 0), program.store.deopts()), (Err(TrapCode::IntegerDivideByZero), 0));
    }
}

/// The same code in another instance is another function: it has other globals.
#[test]
fn another_instances_function_is_another() {
    let mut program = Program::new(Table::Open, config());
    program.warm(1);
    let other = Linker::new().instantiate(&mut program.store, &program.module).unwrap();
    let Some(Extern::Global(k)) = other.export(&program.store, "k").unwrap() else { panic!("it has one") };
    k.set(&mut program.store, &Val::I32(1000)).unwrap();
    let table = |program: &Program, instance: &Instance| -> tierup_interp::Table {
        match instance.export(&program.store, "t").unwrap() {
            Some(Extern::Table(table)) => table,
            _ => panic!("it has one"),
        }
    };
    let (ours, theirs) = (table(&program, &program.instance), table(&program, &other));
    let their_a = theirs.get(&program.store, 0).unwrap().unwrap();
    ours.set(&mut program.store, 3, &their_a).unwrap();
    let before = program.store.deopts();
    assert_eq!(program.call("run", 3, 10), Ok(50 + 1010), "the other instance's global");
    assert_eq!(program.store.deopts(), before + 1, "the guard tells them apart");
    // The other instance runs the same code, whose guards are about its own functions.
    program.instance = other;
    assert_eq!(program.call("run", 0, 10), Ok(50 + 1010));
    assert_eq!(program.store.deopts(), before + 1);
    // Called often enough it is known for what it is: foreign.
    program.instance = Linker::new().instantiate(&mut program.store, &program.module).unwrap();
    let ours = table(&program, &program.instance);
    ours.set(&mut program.store, 3, &their_a).unwrap();
    for n in 0..50_000 {
        let which = if n % 2 == 0 { 3 } else { 0 };
        assert_eq!(program.call("run", which, 10), Ok(50 + if which == 3 { 1010 } else { 11 }));
    }
    let settled = program.store.deopts();
    assert_eq!(program.call("run", 3, 10), Ok(50 + 1010));
    assert_eq!(program.store.deopts(), settled);
}

/// The target changes every 1,000 calls, among more and more functions: the code settles after a few compiles, and knows them, or gives
/// up speculating.
#[test]
fn a_storm_settles() {
    for functions in [2, 3, 4, 6] {
        for name in ["run", "outer"] {
            for mut program in Program::both() {
                let value = |which, x| expected(which, x) - i32::from(name == "outer");
                let mut exits_of_phase = Vec::new();
                for phase in 0..60 {
                    let before = program.store.deopts();
                    for x in 0..1000 {
                        let which = phase % functions;
                        assert_eq!(program.call(name, which, x), Ok(value(which, x)));
                    }
                    exits_of_phase.push(program.store.deopts() - before);
                }
                let stats = program.engine.broker().stats();
                println!("{functions} functions, {name}: {exits_of_phase:?}, {:?}", stats.tiers[1]);
                assert!(exits_of_phase.iter().any(|&exits| exits > 0), "nothing was speculated on");
                assert_eq!(exits_of_phase[30..].iter().sum::<u64>(), 0, "it has settled: {exits_of_phase:?}");
                // `run` and `outer`, each compiled once and again for each function it did not know, and these functions.
                assert!(stats.tiers[1].installed <= 3 * functions as u64, "{:?}", stats.tiers[1]);
            }
        }
    }
}

/// The same in one call, whose loop is entered and left again and again.
#[test]
fn a_storm_in_a_loop_settles() {
    const TURNS: i32 = 1_200_000;
    const PHASE: i32 = 100_000;
    for functions in [1, 2, 3, 6] {
        for table in TABLES {
            let mut program = Program::new(table, Config { osr: Osr::Auto, ..config() });
            let which = |at: i32| at / PHASE % functions;
            let Some(Extern::Memory(memory)) = program.instance.export(&program.store, "m").unwrap() else {
                panic!("it has one")
            };
            for (at, word) in memory.data_mut(&mut program.store).unwrap().as_chunks_mut::<4>().0.iter_mut().enumerate() {
                *word = (at as i32 % functions).to_le_bytes();
            }
            let sum = (0..TURNS).fold(0_i32, |sum, at| sum.wrapping_add(target(which(at), TURNS - at)));
            assert_eq!(program.call("loop", 0, TURNS), Ok(sum));
            let first = program.store.deopts();
            for _ in 0..20 {
                assert_eq!(program.call("loop", 0, TURNS), Ok(sum));
            }
            let later = program.store.deopts() - first;
            let stats = program.engine.broker().stats();
            println!("{functions} functions: {first} exits, then {later}; {:?}", stats.tiers[1]);
            assert_eq!(first + later > 0, functions > 1, "{first} exits, then {later}");
            assert!(later <= 400, "{first} exits, then {later}");
            assert!(stats.tiers[1].installed <= 3 * functions as u64 + 2, "{:?}", stats.tiers[1]);
        }
    }
}
