//! The home of points in time as text: `2026-01-31 12:00:00 UTC`, as PgBouncer's console writes them.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The wall clock and the steady one, read together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) wall: SystemTime,
    pub(crate) steady: Instant,
}

impl Now {
    pub(crate) fn read() -> Self {
        Self { wall: SystemTime::now(), steady: Instant::now() }
    }

    /// A moment of the steady clock as text.
    pub(crate) fn text(&self, at: Instant) -> String {
        let wall = self.wall.checked_sub(self.steady.saturating_duration_since(at)).unwrap_or(UNIX_EPOCH);
        utc(wall.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs())
    }
}

/// Seconds since 1970 as date and time. The calendar is counted in years that begin on 1 March, so that the leap day
/// is a year's last, and in eras of 400 years (146,097 days).
fn utc(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let since_march_0000 = days + 719_468;
    let (era, day_of_era) = (since_march_0000 / 146_097, since_march_0000 % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_the_calendars() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (951_868_799, "2000-02-29 23:59:59 UTC"),
            (1_709_164_800, "2024-02-29 00:00:00 UTC"),
            (1_735_689_599, "2024-12-31 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(utc(seconds), text);
        }
    }

    #[test]
    fn the_past_is_before_now() {
        let now = Now { wall: UNIX_EPOCH + Duration::from_secs(100), steady: Instant::now() };
        assert_eq!(now.text(now.steady), utc(100));
        assert_eq!(now.text(now.steady + Duration::from_secs(5)), utc(100));
    }
}
