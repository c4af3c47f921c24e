//! A small fixed histogram of the times between content chunks, filled as they come and recorded
//! once at the end. Knows no instrument.

use std::time::Duration;

/// Upper bounds of the buckets in seconds: the GenAI conventions' bounds for
/// `gen_ai.client.operation.time_per_output_chunk`, with the objective's 3 s, continued to ten minutes.
pub const BOUNDS: [f64; 18] = [
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 3.0, 5.12, 10.24, 20.48, 40.96, 81.92,
    163.84, 327.68, 655.36,
];

/// Counts and sums per bucket. Keeping the sums lets the end record each bucket's own mean: in an
/// instrument of the same bounds the count of each bucket and the total are exact, the least and the
/// greatest value are means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    buckets: [Bucket; BOUNDS.len() + 1],
    longest_micros: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bucket {
    count: u64,
    micros: u64,
}

impl Gaps {
    /// Adds one gap.
    pub fn add(&mut self, gap: Duration) {
        let micros = u64::try_from(gap.as_micros()).unwrap_or(u64::MAX);
        let seconds = micros as f64 / 1e6;
        let index = BOUNDS.partition_point(|&bound| bound < seconds);
        let bucket = &mut self.buckets[index];
        bucket.count += 1;
        bucket.micros = bucket.micros.saturating_add(micros);
        self.longest_micros = self.longest_micros.max(micros);
    }

    /// How many gaps there were: content chunks less one.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.count).sum()
    }

    /// The longest, absent where there was none.
    pub fn longest(&self) -> Option<Duration> {
        (self.count() > 0).then(|| Duration::from_micros(self.longest_micros))
    }

    /// Per filled bucket: the mean of its gaps in seconds, and how many there were.
    pub fn means(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        self.buckets
            .iter()
            .filter(|bucket| bucket.count > 0)
            .map(|bucket| (bucket.micros as f64 / bucket.count as f64 / 1e6, bucket.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_total_are_exact() {
        let mut gaps = Gaps::default();
        let all = [5, 10, 11, 300, 700_000, 10_000].map(Duration::from_millis);
        all.iter().for_each(|&gap| gaps.add(gap));
        assert_eq!(gaps.count(), 6);
        assert_eq!(gaps.longest(), Some(Duration::from_secs(700)));
        let total: f64 = gaps.means().map(|(mean, count)| mean * count as f64).sum();
        let expected: f64 = all.iter().map(Duration::as_secs_f64).sum();
        assert!((total - expected).abs() < 1e-6, "{total} {expected}");
    }

    #[test]
    fn a_gap_on_a_bound_is_in_the_bucket_below_it() {
        let mut gaps = Gaps::default();
        gaps.add(Duration::from_millis(10));
        gaps.add(Duration::from_micros(10_001));
        assert_eq!(gaps.means().map(|(_, count)| count).collect::<Vec<_>>(), [1, 1]);
    }

    #[test]
    fn each_mean_lies_in_the_bucket_of_its_gaps() {
        let mut random = fastrand::Rng::with_seed(2);
        for _ in 0..1000 {
            let mut gaps = Gaps::default();
            let bound = *random.choice(&BOUNDS).unwrap();
            let near = |nanos: i64| Duration::from_nanos(((bound * 1e9) as i64 + nanos) as u64);
            (0..random.u8(1..9)).for_each(|_| gaps.add(near(random.i64(-3000..3000))));
            let bucket = |seconds: f64| BOUNDS.partition_point(|&bound| bound < seconds);
            let filled = (0..gaps.buckets.len()).filter(|&index| gaps.buckets[index].count > 0);
            let means = gaps.means().map(|(mean, _)| bucket(mean));
            assert_eq!(means.collect::<Vec<_>>(), filled.collect::<Vec<_>>(), "{bound}");
        }
    }
}
