//! How an engine is set up.

/// Which tiers an engine uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TierMode {
    /// The interpreter only; nothing is ever compiled.
    Interp,
    /// Everything is compiled before its first call.
    Baseline,
    /// The interpreter first, native code for what turns out hot.
    #[default]
    Auto,
}

/// An engine's configuration. The defaults suit a command that runs one program.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which tiers to use.
    pub tier: TierMode,
    /// Bytes of machine stack that guest calls may use, counted from the outermost call. The calling thread must have
    /// them, and 128 KiB more for host functions.
    pub max_native_stack: usize,
    /// Bytes of each store's value stack, where interpreter frames live.
    pub value_stack: usize,
    /// Pages (64 KiB) no memory grows past, whatever its type says.
    pub max_memory_pages: u64,
    /// Elements no table grows past, whatever its type says.
    pub max_table_elements: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            tier: TierMode::default(),
            max_native_stack: 1 << 20,
            value_stack: 8 << 20,
            max_memory_pages: crate::memory::MAX_PAGES,
            max_table_elements: 10_000_000,
        }
    }
}
