//! How much memory of the host a machine takes beside that of its guest.

use std::fs;

/// Memory that nobody else has, or that was written to, in MiB, without mappings as large as the
/// guest's memory (`guest`, in bytes). Mappings of the same page count by their share.
///
/// # Errors
/// A process is gone, or the kernel does not tell.
pub(crate) fn beside_guest(processes: &[u32], guest: u64) -> Result<f64, String> {
    let mut total = 0;
    for process in processes {
        let path = format!("/proc/{process}/smaps");
        let smaps = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        total += dirty(&smaps, guest / 1024)
            .ok_or_else(|| format!("{path} has no Pss_Dirty: Linux has it since version 6.0"))?;
    }
    Ok(total as f64 / 1024.0)
}

/// In KiB. A program's own file may be in memory, as all of an initramfs is, and its pages count as written
/// to then: of those, only what the process has copied is its.
fn dirty(smaps: &str, guest: u64) -> Option<u64> {
    let mut total = None;
    let (mut size, mut counting) = (0, "Pss_Dirty:");
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let (Some(key), Some(value)) = (words.next(), words.next()) else {
            continue;
        };
        if !key.ends_with(':') {
            counting = match is_file_read_only(value, line) {
                true => "Anonymous:",
                false => "Pss_Dirty:",
            };
            continue;
        }
        match (key, value.parse::<u64>()) {
            ("Size:", Ok(value)) => size = value,
            ("Pss_Dirty:", Ok(_)) if counting != key => {
                total.get_or_insert(0);
            }
            (_, Ok(value)) if counting == key => {
                let counted = if size < guest { value } else { 0 };
                *total.get_or_insert(0) += counted;
            }
            _ => {}
        }
    }
    total
}

/// Whether a mapping with these permissions, described by this line, is of a file with a name that is not
/// written to.
fn is_file_read_only(permissions: &str, line: &str) -> bool {
    let path = line.split_whitespace().nth(5).unwrap_or_default();
    let is_named = path.starts_with('/') && !path.starts_with("/memfd:");
    is_named && !permissions.contains('w') && !line.ends_with(" (deleted)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_the_guests_memory_counts() {
        let smaps = "7f00-7f01 rw-p 00000000 00:00 0\nSize:  1048576 kB\nPss_Dirty:  900 kB\n\
                     7f01-7f02 rw-p 00000000 00:00 0 [heap]\nSize:  64 kB\nPss_Dirty:  12 kB\n\
                     7f02-7f03 rw-p 00000000 00:00 0\nSize:  4 kB\nPss_Dirty:  4 kB\nVmFlags: rd wr\n";
        assert_eq!(dirty(smaps, 1 << 20), Some(16));
        assert_eq!(dirty("Size: 4 kB\n", 1 << 20), None);
    }

    #[test]
    fn of_programs_only_what_was_copied_counts() {
        let mapping =
            |line: &str| format!("{line}\nSize:  64 kB\nPss_Dirty:  40 kB\nAnonymous:  8 kB\n");
        for (line, counted) in [
            ("7f00-7f01 r-xp 00000000 00:02 9   /usr/bin/clade", 8),
            ("7f00-7f01 rw-p 00000000 00:02 9   /usr/bin/clade", 40),
            (
                "7f00-7f01 r-xs 00000000 00:01 9   /memfd:code (deleted)",
                40,
            ),
            ("7f00-7f01 rw-p 00000000 00:00 0   [heap]", 40),
        ] {
            assert_eq!(dirty(&mapping(line), 1 << 20), Some(counted), "{line}");
        }
    }

    #[test]
    fn this_process_has_some() {
        let size = beside_guest(&[std::process::id()], 1 << 40).expect("figures");
        assert!(size > 0.0);
    }
}
