//! How much others may send.

/// How much a host may answer at once. More than that ends the request with an error that names the setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Bytes of one reply, both its streams together (`max_reply_size`).
    pub reply: usize,
    /// Bytes of one HTTP answer that is held in memory (`max_http_size`).
    pub http: usize,
}

impl Limits {
    /// Into how many lines or JSON values one reply is taken apart at most: each takes some hundred bytes of memory, however short it is.
    pub fn parts(&self) -> usize {
        self.reply / 64
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { reply: 64 << 20, http: 64 << 20 }
    }
}
