//! What is said about this host's KVM.

use std::time::{Duration, Instant};

use clade_kvm::{Verdict, examine};

#[test]
fn an_examination_is_short_and_says_what_it_found() {
    let began = Instant::now();
    let verdict = examine();
    let took = began.elapsed();
    eprintln!("{verdict} ({took:?})");
    assert!(took < Duration::from_secs(3), "{took:?}");
    match verdict {
        Verdict::Real(report) => {
            assert!(report.mips.is_some_and(|mips| mips > 50.0));
            assert!(
                report
                    .findings
                    .iter()
                    .all(|finding| finding.problem.is_none())
            );
        }
        Verdict::Poor(report) => assert_eq!(report.findings.len(), 3),
        Verdict::Absent(error) => assert!(error.to_string().contains("emulate"), "{error}"),
    }
}
