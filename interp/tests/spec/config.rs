//! The configurations the tests run in.

use std::fmt;

use tierup_interp::{Config, Engine, TierMode};

/// How functions get to run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Configuration {
    /// Nothing is compiled.
    Interp,
    /// Everything is compiled before its first call.
    Baseline,
    /// Each function is compiled, on the calling thread, after a number of calls that the seed and its size decide.
    Mixed {
        /// What decides.
        seed: u64,
    },
    /// As mixed, compiled on worker threads whenever they get to it.
    Background,
}

impl Configuration {
    /// Mixed, with the seed of the environment or of the clock.
    pub(crate) fn mixed() -> Self {
        let clock = || std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_nanos() as u64);
        let seed = std::env::var("TIERUP_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(clock);
        Self::Mixed { seed }
    }

    /// An engine set up this way.
    pub(crate) fn engine(self) -> Result<Engine, tierup_interp::Error> {
        let mut config = Config::default();
        match self {
            Self::Interp => config.tier = TierMode::Interp,
            Self::Baseline => config.tier = TierMode::Baseline,
            Self::Mixed { .. } | Self::Background => config.tier = TierMode::Auto,
        }
        Engine::new(config)
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interp => f.write_str("interpreter"),
            Self::Baseline => f.write_str("baseline"),
            Self::Mixed { seed } => write!(f, "mixed (TIERUP_SEED={seed})"),
            Self::Background => f.write_str("background"),
        }
    }
}
