//! Chance as a function: the same arguments give the same draw, on every machine and in every order of asking.

/// A draw for (seed, job, attempt): the finaliser of splitmix64 (Steele, Lea, Flood 2014) over the mixed arguments.
pub(crate) fn draw(seed: u64, job: u64, attempt: u64) -> u64 {
    let step = |x: u64| {
        let mut z = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    step(step(step(seed) ^ job) ^ attempt)
}
