//! `poll_oneoff`: sleeping until a time, or until a descriptor is ready.
//!
//! Files, and streams as far as preview 1 can say, are always ready: a poll with one of them returns at once.

use std::time::Duration;

use crate::clock::Clock;
use crate::ctx::WasiCtx;
use crate::errno::Errno;
use crate::guest::Guest;
use crate::rights::Rights;

const SUBSCRIPTION: u32 = 48;
const EVENT: u32 = 32;
/// Subscriptions one call may make.
const MAX_SUBSCRIPTIONS: u32 = 4096;
/// The clock's time is absolute.
const ABSTIME: u16 = 1;

enum Subscription {
    /// Ends after this long.
    Clock(Duration),
    /// Is ready now, or fails.
    Descriptor(Result<(), Errno>),
}

pub(crate) fn poll_oneoff(
    ctx: &mut WasiCtx,
    guest: &mut Guest<'_>,
    subscriptions: u32,
    events: u32,
    count: u32,
    happened: u32,
) -> Result<(), Errno> {
    if count == 0 || count > MAX_SUBSCRIPTIONS {
        return Err(Errno::Inval);
    }
    // Checked before anybody sleeps.
    guest.bytes(subscriptions, count * SUBSCRIPTION)?;
    guest.bytes(events, count * EVENT)?;
    guest.bytes(happened, 4)?;
    let waits = (0..count)
        .map(|i| {
            let at = subscriptions + i * SUBSCRIPTION;
            Ok((guest.u64(at)?, guest.u8(at + 8)?, subscription(ctx, guest, at)?))
        })
        .collect::<Result<Vec<_>, Errno>>()?;

    let any_ready = waits.iter().any(|(.., wait)| matches!(wait, Subscription::Descriptor(_)));
    let sleep = if any_ready { Duration::ZERO } else { waits.iter().filter_map(|(.., w)| w.timeout()).min().unwrap_or_default() };
    if !sleep.is_zero() {
        std::thread::sleep(sleep);
    }

    let mut number = 0;
    for (user, tag, wait) in &waits {
        let result = match wait {
            Subscription::Clock(timeout) if *timeout <= sleep => Ok(()),
            Subscription::Clock(_) => continue,
            Subscription::Descriptor(result) => *result,
        };
        let mut event = [0; EVENT as usize];
        event[0..8].copy_from_slice(&user.to_le_bytes());
        event[8..10].copy_from_slice(&result.map_or_else(|errno| errno as u16, |()| 0).to_le_bytes());
        event[10] = *tag;
        if matches!(wait, Subscription::Descriptor(Ok(()))) {
            event[16..24].copy_from_slice(&1u64.to_le_bytes());
        }
        guest.write(events + number * EVENT, &event)?;
        number += 1;
    }
    guest.write_u32(happened, number)
}

fn subscription(ctx: &mut WasiCtx, guest: &Guest<'_>, at: u32) -> Result<Subscription, Errno> {
    match guest.u8(at + 8)? {
        0 => {
            let clock = Clock::from_id(guest.u32(at + 16)?)?;
            let time = guest.u64(at + 24)?;
            let wait = if guest.u16(at + 40)? & ABSTIME != 0 { time.saturating_sub(clock.now(ctx)?) } else { time };
            Ok(Subscription::Clock(Duration::from_nanos(wait)))
        }
        tag @ (1 | 2) => {
            let needed = if tag == 1 { Rights::FD_READ } else { Rights::FD_WRITE };
            let ready = ctx.fds.with_rights(guest.u32(at + 16)?, Rights::POLL_FD_READWRITE | needed);
            Ok(Subscription::Descriptor(ready.map(drop)))
        }
        _ => Err(Errno::Inval),
    }
}

impl Subscription {
    fn timeout(&self) -> Option<Duration> {
        match self {
            Self::Clock(timeout) => Some(*timeout),
            Self::Descriptor(_) => None,
        }
    }
}
