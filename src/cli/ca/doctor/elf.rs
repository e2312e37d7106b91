//! What a program in machine code says about its TLS.

use memchr::memmem;

/// How such a program is made, as far as its file tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Native {
    /// Whether Go built it.
    pub is_go: bool,
    /// Whether it needs no loader, so that no library of the system is in play.
    pub is_static: bool,
    /// TLS libraries that it names.
    pub libraries: Vec<&'static str>,
}

/// With which Go marks the place of its build information (`debug/buildinfo`).
const GO_BUILD_INFO: &[u8] = b"\xff Go buildinf:";
/// `PT_INTERP`: a segment that names the loader.
const INTERPRETER: u32 = 3;
const LIBRARIES: &[(&str, &str)] =
    &[("libssl.so.", "OpenSSL"), ("libgnutls.so.", "GnuTLS"), ("libnss3.so", "NSS"), ("libcurl.so.", "curl")];

impl Native {
    /// Reads an ELF file; none where it is something else.
    pub fn of(file: &[u8]) -> Option<Self> {
        file.starts_with(b"\x7fELF").then(|| Self {
            is_go: has_go_build_info(file),
            is_static: !segment_types(file).is_some_and(|types| types.contains(&INTERPRETER)),
            libraries: LIBRARIES.iter().filter(|(name, _)| names_library(file, name)).map(|(_, name)| *name).collect(),
        })
    }
}

/// Whether the name is one of the strings of the file, each of which ends with NUL, with any version behind it.
fn names_library(file: &[u8], name: &str) -> bool {
    memmem::find_iter(file, name).any(|at| {
        let before = at.checked_sub(1).and_then(|at| file.get(at));
        let behind = file.get(at.saturating_add(name.len())..).unwrap_or_default();
        before == Some(&0) && behind.iter().find(|byte| !byte.is_ascii_digit() && **byte != b'.') == Some(&0)
    })
}

/// The mark alone is in every program that looks for it, this one too: behind it stand the size of a pointer, and flags.
fn has_go_build_info(file: &[u8]) -> bool {
    memmem::find_iter(file, GO_BUILD_INFO).any(|at| {
        let behind = file.get(at.saturating_add(GO_BUILD_INFO.len())..).unwrap_or_default();
        matches!(behind, [4 | 8, flags, ..] if *flags <= 3)
    })
}

/// The types of the program's segments, of an ELF file in 64 bits and this machine's byte order.
fn segment_types(file: &[u8]) -> Option<Vec<u32>> {
    let half = |at: usize| Some(u16::from_ne_bytes(file.get(at..at.checked_add(2)?)?.try_into().ok()?));
    let start = usize::try_from(u64::from_ne_bytes(file.get(0x20..0x28)?.try_into().ok()?)).ok()?;
    let (size, count) = (usize::from(half(0x36)?), usize::from(half(0x38)?));
    (0..count)
        .map(|index| {
            let at = start.checked_add(index.checked_mul(size)?)?;
            Some(u32::from_ne_bytes(file.get(at..at.checked_add(4)?)?.try_into().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_very_program_is_dynamic_and_rust() {
        let native = Native::of(&std::fs::read("/proc/self/exe").unwrap()).unwrap();
        assert!(!native.is_static && !native.is_go && native.libraries.is_empty(), "{native:?}");
        assert_eq!(Native::of(b"#!/bin/sh"), None);
    }

    #[test]
    fn a_file_that_breaks_off_is_no_fault() {
        let native = Native::of(b"\x7fELF\x02\x01\x01").unwrap();
        assert!(native.is_static && !native.is_go && native.libraries.is_empty());
    }

    #[test]
    fn go_and_libraries_are_known_by_what_they_leave() {
        let parts = [b"\x7fELF".as_slice(), &[0; 64], GO_BUILD_INFO, &[8, 2, 0], b"libgnutls.so.30", &[0]];
        let file = parts.concat();
        let native = Native::of(&file).unwrap();
        assert!(native.is_go && native.is_static);
        assert_eq!(native.libraries, ["GnuTLS"]);
    }
}
