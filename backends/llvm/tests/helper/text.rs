//! CLIF text loses nothing: what is printed and parsed again prints the same.

use std::{env, fs, path::Path};

use cranelift_codegen::ir::Function;

fn round_trips(function: &Function) -> Result<(), String> {
    let text = function.display().to_string();
    let again = cranelift_reader::parse_functions(&text).map_err(|error| format!("{error}\n{text}"))?;
    let printed = again[0].display().to_string();
    if printed == text { Ok(()) } else { Err(format!("{text}\nbecame\n{printed}")) }
}

#[test]
fn the_abis_functions_round_trip() {
    for function in cranelift_reader::parse_functions(include_str!("../../../tests/spike/functions.clif")).unwrap() {
        round_trips(&function).unwrap();
    }
}

#[test]
fn constants_locations_and_hints_round_trip() {
    let function = super::parse(
        "function u0:7(i64, i32) -> i64 system_v {
    ss0 = explicit_slot 16, align = 8
    fn0 = u0:3(f64) -> f64 system_v
    fn1 = colocated %other(i64) -> i64 system_v
    fn2 = %CeilF32(f32) -> f32 system_v
block0(v0: i64, v1: i32):
@0011                               v2 = f64const -NaN:0x123
@0012                               v3 = f64const 0x1.921fb54442d18p1
                                    v4 = iconst.i64 -9223372036854775808
@0020                               v5 = load.i64 notrap aligned readonly can_move v0+8
                                    v6 = atomic_load.i64 notrap aligned v0
                                    v7 = call fn0(v2)
                                    v8 = f32const -0x0.000006p-126
                                    v9 = call fn2(v8)
                                    br_table v1, block3, [block1, block2, block1]
block1 cold:
    store.i64 notrap aligned v4, v0+16
    jump block3
block2:
    v10 = stack_addr.i64 ss0+8
    v11 = call fn1(v10)
    jump block3
block3:
    return v5
}",
    );
    round_trips(&function).unwrap();
}

/// Every function of Cranelift's own run tests.
#[test]
fn clif_runtests_round_trip() {
    let Some(data) = env::var_os("TIERUP_TESTDATA") else { return println!("skipped: TIERUP_TESTDATA not set") };
    let mut functions = 0;
    let mut visit = |path: &Path| {
        let text = fs::read_to_string(path).unwrap();
        // Some are for features this reader was built without.
        let Ok(parsed) = cranelift_reader::parse_functions(&text) else { return };
        for function in &parsed {
            round_trips(function).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            functions += 1;
        }
    };
    walk(&Path::new(&data).join("clif-runtests"), &mut visit);
    assert!(functions > 900, "{functions} functions");
}

fn walk(folder: &Path, visit: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, visit);
        } else if path.extension().is_some_and(|ending| ending == "clif") {
            visit(&path);
        }
    }
}
