use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Lines, output, visible};
use crate::engine::Event;

/// Prints a run: lines to standard output, progress to standard error and only on a terminal.
pub struct Terminal {
    lines: Lines,
    progress: Mutex<Option<ProgressBar>>,
}

impl Terminal {
    pub fn new(lines: Lines) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template(
                "{spinner:.cyan} {bar:24.cyan/dim} {pos}/{len} {wide_msg} {elapsed:.dim}",
            ) {
                bar.set_style(style);
            }
            bar
        });
        Self { lines, progress: Mutex::new(bar) }
    }

    /// Prints one event. A closed standard output (`| head`) is not an error.
    pub fn show(&self, event: &Event) {
        let guard = self.progress.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let text = self.lines.render(event);
        let print = || {
            if let Some(text) = &text {
                // What could not be written is told at the program's end.
                let _kept = output::write(format!("{text}\n").as_bytes());
            }
        };
        let Some(bar) = guard.as_ref() else {
            print();
            return;
        };
        bar.suspend(print);
        match event {
            Event::TaskStarted { task, hosts } => {
                bar.reset();
                bar.set_length(*hosts as u64);
                bar.set_message(visible(&task.name).into_owned());
                bar.enable_steady_tick(Duration::from_millis(120));
            }
            Event::Progress { host, message } => {
                bar.set_message(visible(&format!("{host}: {message}")).into_owned());
            }
            Event::Result { .. } => bar.inc(1),
            Event::Finished { .. } => bar.finish_and_clear(),
            _ => {}
        }
    }
}
