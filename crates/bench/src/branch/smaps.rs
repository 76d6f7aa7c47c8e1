//! How much memory a clone has of its own.

/// Memory that nobody else has, in MiB.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Private {
    /// Guest memory that was written to.
    pub(super) guest: f64,
    /// All else.
    pub(super) own: f64,
}

/// Of a process.
pub(super) fn private(process: u32) -> Result<Private, String> {
    let path = format!("/proc/{process}/smaps");
    let smaps = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    Ok(split(&smaps))
}

/// Guest memory begins with the first mapping of a layer and ends with the last: what lies between
/// them is pages that were zero. Without layers all is the process's own.
fn split(smaps: &str) -> Private {
    let mut mappings: Vec<(bool, f64)> = Vec::new();
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let Some(key) = words.next() else { continue };
        if !key.ends_with(':') {
            mappings.push((line.ends_with(".mem"), 0.0));
        } else if key == "Private_Dirty:"
            && let (Some(last), Some(Ok(kib))) =
                (mappings.last_mut(), words.next().map(str::parse::<f64>))
        {
            last.1 += kib / 1024.0;
        }
    }
    let first = mappings.iter().position(|(layer, _)| *layer);
    let last = mappings.iter().rposition(|(layer, _)| *layer);
    let mut private = Private::default();
    for (number, (_, size)) in mappings.iter().enumerate() {
        match Some(number) >= first && first.is_some() && Some(number) <= last {
            true => private.guest += size,
            false => private.own += size,
        }
    }
    private
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guest_memory_is_told_from_the_rest() {
        let mapping = |path: &str, kib: u32| {
            format!("7f00-7f01 rw-p 00000000 00:00 0 {path}\nSize: 9 kB\nPrivate_Dirty: {kib} kB\n")
        };
        let smaps = [
            mapping("[heap]", 1024),
            mapping("/a/1.mem", 2048),
            mapping("", 512),
            mapping("/a/2.mem", 0),
            mapping("/usr/bin/clade", 256),
        ];
        let expected = Private {
            guest: 2.5,
            own: 1.25,
        };
        assert_eq!(split(&smaps.concat()), expected);
        let rest = Private {
            guest: 0.0,
            own: 1.0,
        };
        assert_eq!(split(&mapping("[heap]", 1024)), rest);
    }
}
