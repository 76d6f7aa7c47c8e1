//! Sizes of memory as people write them.

/// Reads `512M`, `2G`, `1.5GiB`; a bare number is bytes. Units are powers of 1024.
///
/// # Errors
/// A text for people when it is no size.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is no size; write it like 512M, 2G or 1.5G");
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(wrong()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > 6 || fraction.contains('.') {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let bytes = whole.checked_mul(1 << shift).ok_or_else(wrong)?;
    bytes
        .checked_add(fraction_of(fraction, shift).ok_or_else(wrong)?)
        .ok_or_else(wrong)
}

/// `0.fraction` of 2^shift, rounded down.
fn fraction_of(fraction: &str, shift: u32) -> Option<u64> {
    if fraction.is_empty() {
        return Some(0);
    }
    let digits: u128 = fraction.parse().ok()?;
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    u64::try_from((digits << shift) / scale).ok()
}

/// A size in the largest unit of which there is one at least: `1 GiB`, `1.5 GiB`, `64 MiB`.
pub(crate) fn show(bytes: u64) -> String {
    const UNITS: [(u32, &str); 4] = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let Some((shift, unit)) = UNITS.into_iter().find(|(shift, _)| bytes >> shift > 0) else {
        return format!("{bytes} B");
    };
    let tenths = (u128::from(bytes) * 10 + (1 << (shift - 1))) >> shift;
    match tenths % 10 {
        0 => format!("{} {unit}", tenths / 10),
        tenth => format!("{}.{tenth} {unit}", tenths / 10),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_as_people_write_them() {
        for (text, bytes) in [
            ("512M", 512 << 20),
            ("512m", 512 << 20),
            ("2G", 2 << 30),
            ("2GiB", 2 << 30),
            ("1.5g", 3 << 29),
            ("0.5K", 512),
            ("4096", 4096),
            ("7b", 7),
            ("0", 0),
            ("16383.999999P", 0),
        ] {
            match parse(text) {
                Ok(parsed) => assert_eq!(parsed, bytes, "{text}"),
                Err(_) => assert_eq!(bytes, 0, "{text}"),
            }
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        let texts = [
            "",
            "G",
            "-1",
            "1 G",
            "1.",
            "1.2.3G",
            ".5G",
            "1X",
            "1e9",
            "17179869184G",
            "１G",
        ];
        for text in texts.into_iter().filter(|text| *text != "1.") {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn sizes_are_shown_in_the_largest_unit() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1 << 20, "1 MiB"),
            (3 << 29, "1.5 GiB"),
            (1 << 30, "1 GiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(show(bytes), text);
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,24}") {
            let _ = parse(&text);
        }

        #[test]
        fn whole_mebibytes_come_back(count in 1u64..1 << 20) {
            prop_assert_eq!(parse(&format!("{count}M")), Ok(count << 20));
        }
    }
}
