//! Whether guest code can be translated into this host's own, and if not, why.

use std::env::consts::ARCH;

use clade_emulate::translator_support;

use super::Check;

const WHAT: &str = "translator";

/// Said of every lack: it is one of speed only.
const STILL: &str = "machines run all the same, by interpretation";

pub(super) fn check() -> Check {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        let finding = format!("not used: it is for x86-64 hosts under Linux, this is {ARCH}");
        return Check::good(WHAT, format!("{finding}; {STILL}"));
    }
    match translator_support() {
        Ok(()) => Check::good(WHAT, "guest code is translated into the host's own"),
        Err(lacks) => lacking(&lacks),
    }
}

fn lacking(lacks: &[&str]) -> Check {
    Check::lacking(
        WHAT,
        format!("this host lacks {}; {STILL}", lacks.join(", ")),
        "for a feature of the processor: if this host is itself a virtual machine, give it a CPU \
         model of `host`\n\
         for FSGSBASE: run Linux 5.9 or later, without `nofsgsbase` among its parameters\n\
         for memory to execute: let the container or security module that Clade runs under allow it",
    )
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_lack_is_named_and_has_a_remedy() {
        let check = lacking(&["AVX", "FMA"]);
        assert_eq!(check.verdict, Verdict::Lacking);
        assert!(check.finding.contains("AVX, FMA"), "{check:?}");
        assert!(check.remedy.is_some(), "{check:?}");
    }
}
