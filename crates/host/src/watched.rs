//! A stream that says how far it has come.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Who is told.
pub(super) type Watch<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// How often it says something.
const INTERVAL: Duration = Duration::from_secs(1);

/// How many characters the bar has.
const WIDTH: usize = 30;

/// How far a transfer has come.
pub(super) struct Progress<'a> {
    verb: &'static str,
    path: &'a str,
    size: u64,
    done: u64,
}

impl<'a> Progress<'a> {
    pub(super) fn sending(path: &'a str, size: u64) -> Self {
        Self { verb: "sending", path, size, done: 0 }
    }

    pub(super) fn receiving(path: &'a str, size: u64) -> Self {
        Self { verb: "receiving", path, size, done: 0 }
    }

    /// A line with a bar: `sending /a [=====>    ] 51% of 1024 MB`.
    fn shown(&self) -> String {
        let Self { verb, path, size, done } = self;
        // A file may grow while it is read.
        let percent =
            usize::try_from((done.min(size) * 100).checked_div(*size).unwrap_or(100)).unwrap_or(100);
        let filled = percent * WIDTH / 100;
        let (bar, head) = ("=".repeat(filled), if filled < WIDTH { ">" } else { "" });
        let rest = " ".repeat(WIDTH.saturating_sub(filled + head.len()));
        format!("{verb} {path} [{bar}{head}{rest}] {percent}% of {} MB", size / 1_000_000)
    }
}

pub(super) struct Watched<'a, S> {
    inner: S,
    progress: Progress<'a>,
    said: Instant,
    watch: Watch<'a>,
}

impl<'a, S> Watched<'a, S> {
    pub(super) fn new(inner: S, progress: Progress<'a>, watch: Watch<'a>) -> Self {
        Self { inner, progress, said: Instant::now(), watch }
    }

    fn count(&mut self, bytes: usize) {
        self.progress.done += bytes as u64;
        if self.said.elapsed() >= INTERVAL {
            self.said = Instant::now();
            (self.watch)(&self.progress.shown());
        }
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
        self.count(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Watched<'_, W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes))?;
        self.count(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
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
            assert_eq!(Progress { done: sent, ..Progress::sending("/a", size) }.shown(), expected);
        }
    }
}
