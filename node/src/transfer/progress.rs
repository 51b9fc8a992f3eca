//! The bar, and the sentences beside it.

use indicatif::{ProgressBar, ProgressStyle};

/// Shows points of one collection. Where nobody looks (no terminal), only sentences are printed.
pub struct Progress(ProgressBar);

impl Progress {
    pub fn new(collection: &str, done: u64, total: u64) -> Self {
        let bar = ProgressBar::new(total.max(done)).with_position(done).with_prefix(collection.to_owned());
        let style = "{prefix} [{bar:30}] {human_pos}/{human_len} points, {per_sec}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.reset_eta();
        Self(bar)
    }

    pub fn add(&self, points: usize) {
        self.0.inc(points as u64);
        // The source may grow meanwhile.
        if self.0.length().is_some_and(|total| total < self.0.position()) {
            self.0.set_length(self.0.position());
        }
    }

    /// Takes the bar away.
    pub fn close(self) {
        self.0.finish_and_clear();
    }
}

/// A line that stays.
pub fn say(collection: &str, text: &str) {
    println!("{collection}: {text}");
}
