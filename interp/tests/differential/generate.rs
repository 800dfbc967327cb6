//! A module from a seed: wasm-smith over seeded bytes, limited to what the VM has.

use arbitrary::Unstructured;
use wasm_encoder::{ExportKind, ExportSection, RawSection};
use wasm_smith::{Config, InstructionKind, InstructionKinds, Module};
use wasmparser::{ExternalKind, Operator, Parser, Payload};

use crate::random::Random;

/// The export through which a run sets how long the guest may go on.
pub(crate) const FUEL: &str = "tierup fuel";

/// How NaNs are dealt with, since their bits may differ between two right engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nans {
    /// Every NaN is made the canonical one: everything is compared bit for bit.
    Canonical,
    /// NaNs are left as they come, in modules that can neither store one nor turn one into an integer: floats are
    /// compared by the NaN classes of the specification, everything else bit for bit.
    Classes,
}

/// The module of this seed; `None` when the seed's bytes do not make one.
pub(crate) fn module(seed: u64, nans: Nans) -> Option<Vec<u8>> {
    let mut random = Random::new(seed);
    let mut bytes = vec![0; 8192 << random.below(4)];
    random.fill(&mut bytes);
    let config = config(&mut random, nans);
    let mut module = Module::new(config, &mut Unstructured::new(&bytes)).ok()?;
    let fuel = module.ensure_termination(1000).ok()?;
    let mut wasm = module.to_bytes();
    if nans == Nans::Classes {
        hide_nan_bits(&mut wasm);
    }
    Some(export_global(&wasm, fuel))
}

fn config(random: &mut Random, nans: Nans) -> Config {
    let memory = match nans {
        Nans::Canonical => InstructionKind::Memory,
        Nans::Classes => InstructionKind::MemoryInt,
    };
    let memories = u32::from(random.below(4) > 0);
    let tables = random.below(3) as u32;
    Config {
        allowed_instructions: InstructionKinds::new(&[
            InstructionKind::Control,
            InstructionKind::Numeric,
            InstructionKind::Parametric,
            InstructionKind::Reference,
            InstructionKind::Table,
            InstructionKind::Variable,
            memory,
        ]),
        canonicalize_nans: nans == Nans::Canonical,
        // Half of the modules trap rarely, so that they get deeper.
        disallow_traps: random.below(2) == 0,
        export_everything: true,
        min_types: 4,
        max_types: 16,
        min_imports: random.below(4) as usize,
        max_imports: 8,
        min_funcs: 1 + random.below(6) as usize,
        max_funcs: 12,
        min_globals: random.below(4) as usize,
        max_globals: 12,
        min_memories: memories,
        min_data_segments: random.below(2).min(memories.into()) as usize,
        min_tables: tables,
        min_element_segments: random.below(3).min(tables.into()) as usize,
        max_instructions: 50 << random.below(4),
        max_memories: 1,
        max_memory32_bytes: 4 << 16,
        max_tables: 3,
        max_table_elements: 200,
        bulk_memory_enabled: true,
        multi_value_enabled: true,
        reference_types_enabled: true,
        saturating_float_to_int_enabled: true,
        sign_extension_ops_enabled: true,
        acquire_release_atomics_enabled: false,
        compact_imports_enabled: false,
        custom_descriptors_enabled: false,
        custom_page_sizes_enabled: false,
        exceptions_enabled: false,
        extended_const_enabled: false,
        gc_enabled: false,
        memory64_enabled: false,
        multibyte_array_access_enabled: false,
        relaxed_simd_enabled: false,
        shared_everything_threads_enabled: false,
        simd_enabled: false,
        tail_call_enabled: false,
        threads_enabled: false,
        wide_arithmetic_enabled: false,
        ..Config::default()
    }
}

/// Replaces, in place, each operator through which the bits of a NaN could reach an integer, the memory or a sign, by
/// one of the same type and length through which they cannot.
fn hide_nan_bits(wasm: &mut [u8]) {
    let mut patches = Vec::new();
    each_operator(wasm, |offset, operator| {
        let replacement = match operator {
            // Traps on a NaN, whatever its bits.
            Operator::I32ReinterpretF32 => 0xa8, // i32.trunc_f32_s
            Operator::I64ReinterpretF64 => 0xb0, // i64.trunc_f64_s
            // The sign of a NaN operand would show.
            Operator::F32Copysign => 0x97, // f32.max
            Operator::F64Copysign => 0xa5, // f64.max
            Operator::F32Store { .. } | Operator::F64Store { .. } => {
                panic!("the configuration allows no float stores");
            }
            _ => return,
        };
        patches.push((offset, replacement));
    });
    for (offset, replacement) in patches {
        wasm[offset] = replacement;
    }
}

fn each_operator(wasm: &[u8], mut visit: impl FnMut(usize, &Operator<'_>)) {
    for payload in Parser::new(0).parse_all(wasm) {
        let Ok(Payload::CodeSectionEntry(body)) = payload else {
            continue;
        };
        let reader = body.get_operators_reader().expect("wasm-smith writes well-formed bodies");
        for item in reader.into_iter_with_offsets() {
            let (operator, offset) = item.expect("wasm-smith writes well-formed bodies");
            visit(offset as usize, &operator);
        }
    }
}

/// The module with one more export: the fuel, which `ensure_termination` keeps to itself.
fn export_global(wasm: &[u8], global: u32) -> Vec<u8> {
    let mut out = wasm_encoder::Module::new();
    let mut exported = false;
    let add = |out: &mut wasm_encoder::Module, mut exports: ExportSection| {
        exports.export(FUEL, ExportKind::Global, global);
        out.section(&exports);
    };
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.expect("wasm-smith writes well-formed modules");
        if let Payload::ExportSection(reader) = payload {
            let mut exports = ExportSection::new();
            for export in reader {
                let export = export.expect("wasm-smith writes well-formed exports");
                exports.export(export.name, kind(export.kind), export.index);
            }
            add(&mut out, exports);
            exported = true;
        } else if let Some((id, range)) = payload.as_section() {
            // Sections are in the order of these numbers up to the code section; there is always a function.
            const EXPORT: u8 = 7;
            if id > EXPORT && !exported {
                add(&mut out, ExportSection::new());
                exported = true;
            }
            out.section(&RawSection { id, data: &wasm[range.start as usize..range.end as usize] });
        }
    }
    out.finish()
}

fn kind(kind: ExternalKind) -> ExportKind {
    match kind {
        ExternalKind::Func | ExternalKind::FuncExact => ExportKind::Func,
        ExternalKind::Table => ExportKind::Table,
        ExternalKind::Memory => ExportKind::Memory,
        ExternalKind::Global => ExportKind::Global,
        ExternalKind::Tag => ExportKind::Tag,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmparser::{Validator, WasmFeatures};

    #[test]
    fn modules_are_valid_wasm_2_without_simd() {
        let features = WasmFeatures::WASM2.difference(WasmFeatures::SIMD);
        let mut made = 0;
        for seed in 0..200 {
            for nans in [Nans::Canonical, Nans::Classes] {
                let Some(wasm) = module(seed, nans) else { continue };
                made += 1;
                if let Err(error) = Validator::new_with_features(features).validate_all(&wasm) {
                    panic!("seed {seed} {nans:?}: {error}");
                }
            }
        }
        assert!(made > 200, "half of the seeds make a module, not {made} of 400");
    }

    #[test]
    fn class_modules_cannot_show_a_nan_s_bits() {
        for wasm in (0..200).filter_map(|seed| module(seed, Nans::Classes)) {
            each_operator(&wasm, |_, operator| {
                let shows = matches!(
                    operator,
                    Operator::I32ReinterpretF32
                        | Operator::I64ReinterpretF64
                        | Operator::F32Copysign
                        | Operator::F64Copysign
                        | Operator::F32Store { .. }
                        | Operator::F64Store { .. }
                );
                assert!(!shows, "{operator:?}");
            });
        }
    }
}
