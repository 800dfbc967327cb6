//! Clocks. The monotonic one starts at zero when the guest's state is built.

use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};

use crate::ctx::WasiCtx;
use crate::errno::Errno;
use crate::guest::Guest;

/// A preview 1 clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    Realtime,
    Monotonic,
    ProcessCpu,
    ThreadCpu,
}

impl Clock {
    pub(crate) fn from_id(id: u32) -> Result<Self, Errno> {
        Ok(match id {
            0 => Self::Realtime,
            1 => Self::Monotonic,
            2 => Self::ProcessCpu,
            3 => Self::ThreadCpu,
            _ => return Err(Errno::Inval),
        })
    }

    fn host(self) -> ClockId {
        match self {
            Self::Realtime => ClockId::Realtime,
            Self::Monotonic => ClockId::Monotonic,
            Self::ProcessCpu => ClockId::ProcessCPUTime,
            Self::ThreadCpu => ClockId::ThreadCPUTime,
        }
    }

    /// Its time in nanoseconds.
    ///
    /// # Errors
    ///
    /// [`Errno::Overflow`] for a time before 1970 or after 2554.
    pub(crate) fn now(self, ctx: &WasiCtx) -> Result<u64, Errno> {
        match self {
            Self::Monotonic => u64::try_from(ctx.started.elapsed().as_nanos()).map_err(|_| Errno::Overflow),
            _ => nanos(clock_gettime(self.host())),
        }
    }
}

pub(crate) fn clock_time_get(ctx: &mut WasiCtx, guest: &mut Guest<'_>, id: u32, _precision: u64, time: u32) -> Result<(), Errno> {
    guest.write_u64(time, Clock::from_id(id)?.now(ctx)?)
}

pub(crate) fn clock_res_get(_: &mut WasiCtx, guest: &mut Guest<'_>, id: u32, resolution: u32) -> Result<(), Errno> {
    guest.write_u64(resolution, nanos(clock_getres(Clock::from_id(id)?.host()))?)
}

fn nanos(time: Timespec) -> Result<u64, Errno> {
    let seconds = u64::try_from(time.tv_sec).map_err(|_| Errno::Overflow)?;
    let nanos = u64::try_from(time.tv_nsec).map_err(|_| Errno::Overflow)?;
    seconds.checked_mul(1_000_000_000).and_then(|total| total.checked_add(nanos)).ok_or(Errno::Overflow)
}
