//! The hot path of this crate, one out-of-line function per row, beside the incumbent's. As `benches/hotpath.rs` at the top:
//! `cargo bench -p tierup-beadie --bench hotpath` counts instructions per call, `-- --time` takes nanoseconds.

#[path = "../../benches/rows/mod.rs"]
mod rows;

use rows::Row;

extern "C" fn body() {}

/// The same rows for two crates with one API.
macro_rules! rows_of {
    ($module:ident, $krate:ident, $prefix:literal, $invoke:ident, $tiered:ident, $osr:ident) => {
        mod $module {
            use std::{hint::black_box, ptr, sync::Arc};

            use $krate::{Beadie, HotnessPolicy, OsrEntry, ThresholdPolicy, TieredAdapter, TieredBound};

            use super::{Row, body};

            #[unsafe(no_mangle)]
            #[inline(never)]
            fn $invoke(beadie: &Beadie, bead: &Arc<$krate::Bead>) -> Option<*mut ()> {
                beadie.on_invoke(bead, |_| body as *mut ())
            }

            #[unsafe(no_mangle)]
            #[inline(never)]
            fn $tiered(adapter: &TieredAdapter, bound: &TieredBound) -> Option<*mut ()> {
                adapter.on_invoke(bound, |_, _| body as *mut ())
            }

            #[unsafe(no_mangle)]
            #[inline(never)]
            fn $osr(bead: &$krate::Bead, site: u64) -> Option<*mut ()> {
                bead.osr_entry(site)
            }

            fn invoke(beadie: Beadie, compiled: bool, calls: u64) {
                let bead = beadie.register(ptr::null_mut(), None);
                if compiled {
                    assert!(bead.eager_install(body as *mut ()));
                    beadie.on_invoke(&bead, |_| body as *mut ());
                }
                (0..=calls).for_each(|_| {
                    black_box($invoke(&beadie, black_box(&bead)));
                });
            }

            fn tiered(thresholds: &[u32], calls: u64) {
                let policy = |&calls: &u32| Box::new(ThresholdPolicy::new(calls)) as Box<dyn HotnessPolicy>;
                let adapter = TieredAdapter::new(thresholds.iter().map(policy).collect());
                let bound = adapter.register(ptr::null_mut(), None);
                bound.bead().eager_install(body as *mut ());
                (0..=calls).for_each(|_| {
                    black_box($tiered(&adapter, black_box(&bound)));
                });
            }

            fn look_up(site: u64, calls: u64) {
                let beadie = Beadie::new();
                let bead = beadie.register(ptr::null_mut(), None);
                bead.eager_install(body as *mut ());
                let osr = (0..8).map(|site| OsrEntry { site: 10 * site, code: body as *mut () }).collect();
                bead.swap_compiled_with_osr(body as *mut (), osr);
                bead.compiled();
                (0..=calls).for_each(|_| {
                    black_box($osr(black_box(&bead), site));
                });
            }

            pub(super) const ROWS: &[Row] = &[
                Row {
                    name: concat!($prefix, "/compiled"),
                    symbol: stringify!($invoke),
                    calls: |calls| invoke(Beadie::new(), true, calls),
                },
                Row {
                    name: concat!($prefix, "/cold"),
                    symbol: stringify!($invoke),
                    calls: |calls| invoke(Beadie::with_policy(ThresholdPolicy::new(u32::MAX)), false, calls),
                },
                Row {
                    name: concat!($prefix, "/tiered-top"),
                    symbol: stringify!($tiered),
                    calls: |calls| tiered(&[u32::MAX], calls),
                },
                Row {
                    name: concat!($prefix, "/tiered-pending"),
                    symbol: stringify!($tiered),
                    calls: |calls| tiered(&[u32::MAX, u32::MAX], calls),
                },
                Row { name: concat!($prefix, "/osr-hit"), symbol: stringify!($osr), calls: |calls| look_up(30, calls) },
                Row { name: concat!($prefix, "/osr-miss"), symbol: stringify!($osr), calls: |calls| look_up(31, calls) },
            ];
        }
    };
}

rows_of!(ours, beadie, "ours", ours_on_invoke, ours_tiered, ours_osr);
rows_of!(theirs, incumbent, "incumbent", incumbent_on_invoke, incumbent_tiered, incumbent_osr);

fn main() {
    let rows: Vec<Row> = ours::ROWS.iter().chain(theirs::ROWS).copied().collect();
    rows::main(&rows);
}
