//! How much memory a clone has of its own.

/// Memory that nobody else has, in MiB.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Private {
    /// Guest memory that was written to.
    pub(super) guest: f64,
    /// Translated code. It is mapped twice, so that the host counts it as shared.
    pub(super) code: f64,
    /// All else.
    pub(super) own: f64,
}

impl Private {
    pub(super) fn all(&self) -> f64 {
        self.guest + self.code + self.own
    }
}

/// What is mapped.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Layer,
    Code,
    Other,
}

impl Kind {
    /// By the first line of a mapping.
    fn of(line: &str) -> Self {
        let writable_and_shared = line.split_whitespace().nth(1) == Some("rw-s");
        match line {
            _ if line.ends_with(".mem") => Self::Layer,
            _ if writable_and_shared && line.ends_with("/dev/zero (deleted)") => Self::Code,
            _ => Self::Other,
        }
    }
}

/// Of a process.
pub(super) fn private(process: u32) -> Result<Private, String> {
    let path = format!("/proc/{process}/smaps");
    let smaps = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    Ok(split(&smaps))
}

/// What is anonymous is the process's own, whatever file it is mapped over: pages that are yet to be written
/// back are the file's. Guest memory begins with the first mapping of a layer and ends with the last:
/// what lies between them is pages that were zero. Without layers all is the process's own.
fn split(smaps: &str) -> Private {
    let mut mappings: Vec<(Kind, f64)> = Vec::new();
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let Some(key) = words.next() else { continue };
        let Some((kind, size)) = mappings.last_mut().filter(|_| key.ends_with(':')) else {
            mappings.push((Kind::of(line), 0.0));
            continue;
        };
        let counts = key == "Anonymous:" || (key == "Shared_Dirty:" && *kind == Kind::Code);
        if counts && let Some(Ok(kib)) = words.next().map(str::parse::<f64>) {
            *size += kib / 1024.0;
        }
    }
    let first = mappings.iter().position(|(kind, _)| *kind == Kind::Layer);
    let last = mappings.iter().rposition(|(kind, _)| *kind == Kind::Layer);
    let mut private = Private::default();
    for (number, (kind, size)) in mappings.iter().enumerate() {
        let in_guest = first.is_some() && Some(number) >= first && Some(number) <= last;
        match kind {
            Kind::Code => private.code += size,
            _ if in_guest => private.guest += size,
            _ => private.own += size,
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
            format!(
                "7f00-7f01 rw-p 00000000 00:00 0 {path}\nPrivate_Dirty: 9 kB\nAnonymous: {kib} kB\n"
            )
        };
        let shared = |rights: &str, kib: u32| {
            format!(
                "7f00-7f01 {rights} 00000000 00:01 2 /dev/zero (deleted)\nShared_Dirty: {kib} kB\n"
            )
        };
        let smaps = [
            mapping("[heap]", 1024),
            mapping("/a/1.mem", 2048),
            mapping("", 512),
            mapping("/a/2.mem", 0),
            mapping("/usr/bin/clade", 256),
            shared("rw-s", 512),
            shared("r-xs", 512),
        ];
        let expected = Private {
            guest: 2.5,
            code: 0.5,
            own: 1.25,
        };
        assert_eq!(split(&smaps.concat()), expected);
        let rest = Private {
            own: 1.0,
            ..Private::default()
        };
        assert_eq!(split(&mapping("[heap]", 1024)), rest);
    }
}
