//! A stream that says how far it has come.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, ReadBuf};

/// Who is told.
pub(super) type Watch<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// How often it says something.
const INTERVAL: Duration = Duration::from_secs(1);

/// How many characters the bar has.
const WIDTH: usize = 30;

pub(super) struct Watched<'a, R> {
    inner: R,
    path: &'a str,
    size: u64,
    sent: u64,
    said: Instant,
    watch: Watch<'a>,
}

impl<'a, R> Watched<'a, R> {
    pub(super) fn new(inner: R, path: &'a str, size: u64, watch: Watch<'a>) -> Self {
        Self { inner, path, size, sent: 0, said: Instant::now(), watch }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Watched<'_, R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        self.sent += (buffer.filled().len() - before) as u64;
        if self.said.elapsed() >= INTERVAL {
            self.said = Instant::now();
            (self.watch)(&shown(self.path, self.sent, self.size));
        }
        Poll::Ready(Ok(()))
    }
}

/// A line with a bar: `sending /a [=====>    ] 51% of 1024 MB`.
fn shown(path: &str, sent: u64, size: u64) -> String {
    // A file may grow while it is read.
    let percent = usize::try_from((sent.min(size) * 100).checked_div(size).unwrap_or(100)).unwrap_or(100);
    let done = percent * WIDTH / 100;
    let (bar, head) = ("=".repeat(done), if done < WIDTH { ">" } else { "" });
    let rest = " ".repeat(WIDTH.saturating_sub(done + head.len()));
    format!("sending {path} [{bar}{head}{rest}] {percent}% of {} MB", size / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_as_long_as_what_was_sent() {
        for (sent, size, expected) in [
            (0, 1_000_000_000, "sending /a [>                             ] 0% of 1000 MB"),
            (500_000_000, 1_000_000_000, "sending /a [===============>              ] 50% of 1000 MB"),
            (2_000_000, 1_000_000, "sending /a [==============================] 100% of 1 MB"),
        ] {
            assert_eq!(shown("/a", sent, size), expected);
        }
    }
}
