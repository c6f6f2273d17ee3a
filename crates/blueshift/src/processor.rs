//! What the processor must have. The program is compiled for more than every x86-64 has
//! (`.cargo/config.toml`), and would otherwise end with an illegal instruction.

use base::{Error, Result};

/// Registers of the instruction that tells what a processor has.
#[derive(Clone, Copy)]
struct Told {
    /// Leaf 1.
    ecx: u32,
    /// Leaf 7.
    ebx: u32,
    /// Leaf 0x8000_0001.
    extended_ecx: u32,
}

type Register = fn(Told) -> u32;

/// The features of x86-64-v3 beside those of every x86-64: name, register, bit.
const FEATURES: &[(&str, Register, u32)] = &[
    ("SSE4.2", |told| told.ecx, 20),
    ("POPCNT", |told| told.ecx, 23),
    ("MOVBE", |told| told.ecx, 22),
    ("OSXSAVE", |told| told.ecx, 27),
    ("AVX", |told| told.ecx, 28),
    ("F16C", |told| told.ecx, 29),
    ("FMA", |told| told.ecx, 12),
    ("BMI1", |told| told.ebx, 3),
    ("AVX2", |told| told.ebx, 5),
    ("BMI2", |told| told.ebx, 8),
    ("LZCNT", |told| told.extended_ecx, 5),
];

fn missing(told: Told) -> Option<&'static str> {
    let lacks = |(_, register, bit): &&(_, Register, u32)| register(told) >> bit & 1 == 0;
    FEATURES.iter().find(lacks).map(|(name, ..)| *name)
}

/// # Errors
/// 0A000 when the program was compiled for what this processor lacks.
#[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
pub(crate) fn check() -> Result<()> {
    use std::arch::x86_64::__cpuid;

    // The standard library's own test is a constant for what the compiler may use anyway.
    let leaf = |leaf: u32| (__cpuid(leaf & 0x8000_0000).eax >= leaf).then(|| __cpuid(leaf));
    let told = Told {
        ecx: leaf(1).map_or(0, |told| told.ecx),
        ebx: leaf(7).map_or(0, |told| told.ebx),
        extended_ecx: leaf(0x8000_0001).map_or(0, |told| told.ecx),
    };
    match missing(told) {
        None => Ok(()),
        Some(feature) => Err(Error::unsupported(format!("this processor has no {feature}"))
            .detail("The program was compiled for x86-64-v3.")
            .hint("Compile it on this machine with RUSTFLAGS=\"-C target-cpu=native\".")),
    }
}

#[cfg(not(all(target_arch = "x86_64", target_feature = "avx2")))]
pub(crate) fn check() -> Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lacking_feature_is_named() {
        let all = Told { ecx: u32::MAX, ebx: u32::MAX, extended_ecx: u32::MAX };
        assert_eq!(missing(all), None);
        assert_eq!(missing(Told { ebx: !(1 << 5), ..all }), Some("AVX2"));
        assert_eq!(missing(Told { extended_ecx: 0, ..all }), Some("LZCNT"));
        assert!(check().is_ok());
    }
}
