//! Chooses how interpreter handlers reach each other: by jumps where the optimizer makes them, else by a loop. And whether machine
//! code can take their place: it jumps to them, and knows x86-64's registers.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(tierup_loop_dispatch, tierup_templates)");
    println!("cargo::rerun-if-env-changed=TIERUP_LOOP_DISPATCH");
    // Calls in tail position become jumps from opt-level 2 on; at "s" and "z" too.
    let level = std::env::var("OPT_LEVEL").unwrap_or_default();
    let forced = std::env::var_os("TIERUP_LOOP_DISPATCH").is_some();
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    if forced || matches!(level.as_str(), "" | "0" | "1") {
        println!("cargo::rustc-cfg=tierup_loop_dispatch");
    } else if is("CARGO_CFG_TARGET_ARCH", "x86_64") && is("CARGO_CFG_TARGET_FAMILY", "unix") {
        println!("cargo::rustc-cfg=tierup_templates");
    }
}
