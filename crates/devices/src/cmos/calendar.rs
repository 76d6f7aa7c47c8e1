//! Seconds as a date.

/// A date and time of day, UTC, of the Gregorian calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Date {
    pub(super) second: u8,
    pub(super) minute: u8,
    pub(super) hour: u8,
    /// 1 is Sunday.
    pub(super) weekday: u8,
    pub(super) day: u8,
    pub(super) month: u8,
    pub(super) year: u64,
}

const DAY: u64 = 86_400;
/// Days in 400 years, after which the calendar repeats.
const ERA: u64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH: u64 = 719_468;

impl Date {
    /// The date `seconds` after 1970-01-01, leap seconds not counted.
    pub(super) fn of_unix(seconds: u64) -> Self {
        let days = seconds / DAY;
        let time = seconds % DAY;
        // Years begin in March here, so that leap days end them.
        let shifted = days + EPOCH;
        let (era, day_of_era) = (shifted / ERA, shifted % ERA);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / (ERA - 1)) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        // Months from March on have 31, 30, 31, 30, 31 days, over and over: 153 in five of them.
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = (month_from_march + 2) % 12 + 1;
        Self {
            second: (time % 60) as u8,
            minute: (time / 60 % 60) as u8,
            hour: (time / 3600) as u8,
            // 1970-01-01 was a Thursday.
            weekday: ((days + 4) % 7 + 1) as u8,
            day: (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u8,
            month: month as u8,
            year: 400 * era + year_of_era + u64::from(month <= 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Unix seconds and what `date -u` of GNU coreutils makes of them: year, month, day, hour, minute,
    /// second, weekday (1 is Sunday).
    const KNOWN: [(u64, [u64; 7]); 6] = [
        (0, [1970, 1, 1, 0, 0, 0, 5]),
        (951_782_399, [2000, 2, 28, 23, 59, 59, 2]),
        (951_782_400, [2000, 2, 29, 0, 0, 0, 3]),
        (1_709_251_199, [2024, 2, 29, 23, 59, 59, 5]),
        (4_107_542_400, [2100, 3, 1, 0, 0, 0, 2]),
        (1_798_761_599, [2026, 12, 31, 23, 59, 59, 5]),
    ];

    #[test]
    fn dates_are_those_of_date() {
        for (seconds, [year, month, day, hour, minute, second, weekday]) in KNOWN {
            let date = Date {
                second: second as u8,
                minute: minute as u8,
                hour: hour as u8,
                weekday: weekday as u8,
                day: day as u8,
                month: month as u8,
                year,
            };
            assert_eq!(Date::of_unix(seconds), date, "{seconds}");
        }
    }
}
