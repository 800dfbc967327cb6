//! Every plan there is, for programs so small that this is possible.

use super::{
    candidates,
    search::{Best, crews},
};
use crate::{Machine, Program, plan};

/// The best of all plans, or `None` if there are more than `most`.
pub fn exhaustive(program: &Program, machine: Machine, most: u64) -> Option<Best> {
    let jobs = candidates(program);
    let count = (0..=jobs.len() as u64).try_fold((0_u64, 1_u64), |(sum, plans), length| {
        // `plans` of this length, and of one more.
        Some((sum.checked_add(plans)?, plans.checked_mul(jobs.len() as u64 - length)?))
    });
    if count.is_none_or(|(count, _)| count > most) {
        return None;
    }
    let mut best = Best::of(Vec::new(), plan::time(program, machine, &[]), machine);
    crews(machine).for_each(|crew| extend(program, crew, &jobs, &mut Vec::new(), &mut best));
    Some(best)
}

fn extend(program: &Program, machine: Machine, jobs: &[plan::Job], tried: &mut Vec<plan::Job>, best: &mut Best) {
    for job in jobs {
        if tried.contains(job) {
            continue;
        }
        tried.push(*job);
        let time = plan::time(program, machine, tried);
        if time < best.time {
            *best = Best::of(tried.clone(), time, machine);
        }
        extend(program, machine, jobs, tried, best);
        tried.pop();
    }
}
