/// Who looks on while something large is done.
pub trait Watch: Sync {
    /// How far it is, in bytes.
    fn at(&self, doing: &str, done: u64, total: u64);

    /// Whether it shall be left at that.
    fn stopped(&self) -> bool;
}
