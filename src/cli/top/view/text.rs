//! Numbers and times, short enough for a column.

use std::time::Duration;

/// How many: four columns at most, below ten thousand to the last one.
pub fn amount(count: u64) -> String {
    match count {
        0..10_000 => count.to_string(),
        10_000..1_000_000 => format!("{}k", count / 1_000),
        1_000_000..10_000_000 => format!("{:.1}M", count as f64 / 1e6),
        _ => format!("{}M", count / 1_000_000),
    }
}

/// How many a second.
pub fn rate(rate: f64) -> String {
    match rate {
        0.0 => "0".to_owned(),
        ..0.095 => format!("{rate:.2}"),
        ..9.95 => format!("{rate:.1}"),
        _ => amount(rate.round() as u64),
    }
}

/// How long, in its two largest units.
pub fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// A bar for each number; the largest is as high as a line.
pub fn sparkline(numbers: &[u64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = numbers.iter().copied().max().unwrap_or(0);
    let bar = |number: u64| match number {
        0 => ' ',
        _ => BARS.get(usize::try_from(number * 7 / most.max(1)).unwrap_or(0)).copied().unwrap_or('█'),
    };
    numbers.iter().map(|number| bar(*number)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (count, expected) in [(0, "0"), (9_999, "9999"), (12_345, "12k"), (1_250_000, "1.2M"), (43_000_000, "43M")]
        {
            assert_eq!(amount(count), expected);
        }
        for (given, expected) in [(0.0, "0"), (0.0167, "0.02"), (0.5, "0.5"), (9.99, "10"), (2_000.4, "2000")] {
            assert_eq!(rate(given), expected);
        }
        for (seconds, expected) in [(0, "0s"), (61, "1m01s"), (7_260, "2h01m"), (100_000, "1d03h")] {
            assert_eq!(span(Duration::from_secs(seconds)), expected);
        }
        assert_eq!(sparkline(&[0, 1, 4, 7]), " ▂▅█");
        assert_eq!(sparkline(&[0, 0]), "  ");
    }
}
