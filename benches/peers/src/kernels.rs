//! The kernels and the arguments that make them work for a given time.

/// A column of the kernel tables: how long native code would work.
pub(crate) const SIZES: [&str; 6] = ["10us", "100us", "1ms", "10ms", "100ms", "700ms"];

/// The time that one of [`SIZES`] names, in seconds.
pub(crate) fn work(size: &str) -> Option<f64> {
    let (number, unit) = size.split_at(size.find(|c: char| c.is_ascii_alphabetic())?);
    let unit = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        _ => return None,
    };
    number.parse::<f64>().ok().map(|number| number * unit)
}

/// One kernel: `run(n)` of `kernels/<name>.wasm`.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) name: &'static str,
    /// The argument for each of [`SIZES`].
    pub(crate) n: [i32; 6],
}

/// The kernels, with the arguments their README gives.
pub(crate) const KERNELS: [Kernel; 6] = [
    Kernel { name: "fib", n: [18, 23, 27, 32, 37, 40] },
    Kernel { name: "nbody", n: [139, 1376, 13_853, 131_904, 1_141_279, 4_490_271] },
    Kernel { name: "mandel", n: [99, 969, 8316, 81_614, 464_727, 3_589_941] },
    Kernel { name: "sieve", n: [5047, 34_327, 203_200, 1_580_474, 10_479_220, 85_162_918] },
    Kernel { name: "matmul", n: [28, 67, 144, 288, 532, 945] },
    Kernel { name: "vm", n: [2560, 23_082, 238_759, 2_113_516, 19_231_860, 136_365_111] },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_times_that_grow() {
        let works: Vec<f64> = SIZES.iter().map(|size| work(size).expect("a time")).collect();
        assert!(works.windows(2).all(|pair| pair[0] < pair[1]), "{works:?}");
        assert!((works[5] - 0.7).abs() < 1e-9);
        assert_eq!(work("long"), None);
    }
}
