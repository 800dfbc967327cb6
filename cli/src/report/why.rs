//! `--why`: what is known about single functions.

use tierup_interp::Engine;

/// Why the functions of this name, number or, for `all`, those that did anything run in the tiers they run in.
pub(crate) fn why(engine: &Engine, name: &str) -> String {
    let broker = engine.broker();
    broker.collect();
    let mut beads = Vec::new();
    broker.walk(|bead| {
        let is_meant = match name {
            "all" => bead.stats.work > 0 || !bead.stats.tier.is_interpreter(),
            name => bead.guest.name().as_deref() == Some(name) || bead.guest.index().to_string() == name,
        };
        if is_meant {
            beads.push(bead.id);
        }
    });
    if beads.is_empty() {
        return if name == "all" { "no function did anything".to_owned() } else { format!("no function is called {name}") };
    }
    beads.into_iter().filter_map(|bead| broker.why(bead)).map(|why| format!("\n{why}")).collect()
}
