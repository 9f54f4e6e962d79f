use bytes::Bytes;
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;

/// What a started program says.
#[derive(Debug)]
pub(super) enum Output {
    Stdout(Bytes),
    Stderr(Bytes),
    /// The exit status, 128 + signal for a killed program. Output may still follow it.
    Exit(i32),
}

/// A started program with its three streams, near or far. Dropping it ends the program.
pub(super) struct Process {
    /// `None` once its end was announced.
    pub(super) stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    /// Ends when both output streams have ended.
    pub(super) output: mpsc::Receiver<Output>,
    #[expect(dead_code, reason = "held for its `Drop` only")]
    pub(super) guard: Box<dyn Send + Sync>,
}

/// How many pieces of output wait for their reader before the program is slowed down.
pub(super) const OUTPUT_QUEUE: usize = 64;
