//! One at a time, for each thing by its name.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

/// Turns within this process: who works on one thing waits for those who work on the same, and for nobody else.
#[derive(Debug, Default)]
pub struct Turns {
    of: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Turns {
    /// Waits for the turn at this thing, which lasts as long as what is returned.
    pub async fn at(&self, name: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
            // Entries that nobody holds or waits for are dropped.
            of.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(of.entry(name.to_owned()).or_default())
        };
        turn.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn only_those_at_the_same_thing_wait() {
        let turns = Turns::default();
        let a = turns.at("a").await;
        let b = turns.at("b").await;
        assert!(tokio::time::timeout(Duration::from_millis(20), turns.at("a")).await.is_err());
        drop(a);
        let again = turns.at("a").await;
        assert_eq!(turns.of.lock().expect("unpoisoned").len(), 2);
        drop((again, b));
        drop(turns.at("c").await);
        assert_eq!(turns.of.lock().expect("unpoisoned").len(), 1);
    }
}
