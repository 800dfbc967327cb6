//! Random numbers that a seed determines, and choices.

#[path = "../../../../osr/tests/property/random.rs"]
mod numbers;

pub(crate) use numbers::Random;

impl Random {
    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}
