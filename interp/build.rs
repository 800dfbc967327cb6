//! Chooses how interpreter handlers reach each other: by jumps where the optimizer makes them, else by a loop.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(tierup_loop_dispatch)");
    println!("cargo::rerun-if-env-changed=TIERUP_LOOP_DISPATCH");
    // Calls in tail position become jumps from opt-level 2 on; at "s" and "z" too.
    let level = std::env::var("OPT_LEVEL").unwrap_or_default();
    let forced = std::env::var_os("TIERUP_LOOP_DISPATCH").is_some();
    if forced || matches!(level.as_str(), "" | "0" | "1") {
        println!("cargo::rustc-cfg=tierup_loop_dispatch");
    }
}
