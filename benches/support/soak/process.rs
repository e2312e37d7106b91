//! What the processes hold, second by second.

use std::time::Instant;

use crate::support::process;

/// What one process holds at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Seconds since the begin.
    pub at: f64,
    /// Resident memory in MiB.
    pub resident: f64,
    pub files: usize,
    pub threads: usize,
}

/// A process that is watched.
pub struct Watched {
    pub name: &'static str,
    pub pid: u32,
    pub samples: Vec<Sample>,
}

impl Watched {
    pub fn new(name: &'static str, pid: u32) -> Watched {
        Watched { name, pid, samples: Vec::new() }
    }

    pub fn look(&mut self, begin: Instant) -> Sample {
        let count = |what: &str| std::fs::read_dir(format!("/proc/{}/{what}", self.pid)).unwrap().count();
        let resident = process::resident(self.pid) as f64 / f64::from(1 << 20);
        let sample = Sample { at: begin.elapsed().as_secs_f64(), resident, files: count("fd"), threads: count("task") };
        self.samples.push(sample);
        sample
    }

    /// By how many MiB it grew over the second half, as a straight line through it says.
    pub fn growth(&self) -> f64 {
        let half = &self.samples[self.samples.len() / 2..];
        let count = half.len() as f64;
        let mean = |of: fn(&Sample) -> f64| half.iter().map(of).sum::<f64>() / count;
        let (at, resident) = (mean(|s| s.at), mean(|s| s.resident));
        let covariance: f64 = half.iter().map(|s| (s.at - at) * (s.resident - resident)).sum();
        let variance: f64 = half.iter().map(|s| (s.at - at).powi(2)).sum();
        let lasted = half.last().unwrap().at - half[0].at;
        covariance / variance.max(f64::EPSILON) * lasted
    }

    /// The most of something in each half.
    pub fn halves(&self, of: fn(&Sample) -> usize) -> (usize, usize) {
        let (first, second) = self.samples.split_at(self.samples.len() / 2);
        let most = |half: &[Sample]| half.iter().map(of).max().unwrap_or_default();
        (most(first), most(second))
    }
}
