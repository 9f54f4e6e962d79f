//! The order in which hosts that work side by side tell what they did.
//!
//! Hosts report as they finish. Where nothing had to be waited for (a condition that is false, a `debug`), the order of finishing
//! would be the scheduler's mood: there, the order is the play's.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// Of the hosts of one task: who may report.
#[derive(Debug)]
pub(super) struct Order {
    opened: Mutex<Opened>,
    /// By place: told once, when all places before have opened.
    turns: Vec<Notify>,
}

/// A place has opened once its host has waited for something, or is done.
#[derive(Debug)]
struct Opened {
    places: Vec<bool>,
    /// How many places have opened from the first on, without a gap.
    leading: usize,
}

impl Order {
    pub(super) fn of(places: usize) -> Arc<Self> {
        let opened = Mutex::new(Opened { places: vec![false; places], leading: 0 });
        Arc::new(Self { opened, turns: std::iter::repeat_with(Notify::new).take(places).collect() })
    }

    /// The turn of the host in this place, which counts from zero.
    pub(super) fn turn(self: &Arc<Self>, place: usize) -> Turn {
        Turn { order: Arc::clone(self), place, waits: AtomicBool::new(false) }
    }

    fn open(&self, place: usize) {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = opened.places.get_mut(place) {
            *open = true;
        }
        while opened.places.get(opened.leading) == Some(&true) {
            opened.leading += 1;
            if let Some(next) = self.turns.get(opened.leading) {
                next.notify_one();
            }
        }
    }

    fn is_turn_of(&self, place: usize) -> bool {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.leading >= place || opened.places.get(place) == Some(&true)
    }
}

/// One host's turn to report. When it is dropped, nobody waits for that host any more.
#[derive(Debug)]
pub(super) struct Turn {
    order: Arc<Order>,
    place: usize,
    waits: AtomicBool,
}

impl Turn {
    /// Waits until every host before this one has waited for something or is done. One that has waited itself tells at once: it holds nobody up, and
    /// nobody holds it up.
    pub(super) async fn comes(&self) {
        if self.order.is_turn_of(self.place) {
            return;
        }
        self.waits.store(true, Ordering::Relaxed);
        if let Some(turn) = self.order.turns.get(self.place) {
            turn.notified().await;
        }
        self.waits.store(false, Ordering::Relaxed);
    }

    /// Drives a host's work. The first time that it waits for anything but its turn, the hosts after it may report.
    pub(super) async fn of<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|context| {
            let state = work.as_mut().poll(context);
            if state.is_pending() && !self.waits.load(Ordering::Relaxed) {
                self.order.open(self.place);
            }
            state
        })
        .await
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.order.open(self.place);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// What each host does before it reports.
    #[derive(Clone, Copy)]
    enum Host {
        Computes(Duration),
        WaitsFirst,
        /// It lets others run once, and tells then, whoever still computes.
        Yields,
        Breaks,
    }

    /// The places in the order of their reports.
    fn reports(hosts: &[Host]) -> Vec<usize> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(4).build();
        let order = Order::of(hosts.len());
        let told = Arc::new(Mutex::new(Vec::new()));
        let until = Arc::new(tokio::sync::Semaphore::new(0));
        runtime.expect("a runtime").block_on(async {
            let work = hosts.iter().copied().enumerate().map(|(place, host)| {
                let (turn, told, until) = (order.turn(place), Arc::clone(&told), Arc::clone(&until));
                tokio::spawn(async move {
                    let work = async {
                        match host {
                            Host::Computes(time) => tokio::task::block_in_place(|| std::thread::sleep(time)),
                            // Until all others have reported.
                            Host::WaitsFirst => drop(until.acquire().await),
                            Host::Yields => tokio::task::yield_now().await,
                            Host::Breaks => return,
                        }
                        turn.comes().await;
                        told.lock().expect("unpoisoned").push(place);
                        until.add_permits(1);
                    };
                    turn.of(work).await;
                })
            });
            for done in work.collect::<Vec<_>>() {
                done.await.expect("no panic");
            }
        });
        let told = told.lock().expect("unpoisoned");
        told.clone()
    }

    #[test]
    fn hosts_that_only_compute_report_in_the_plays_order() {
        let slow_first = [30, 0, 20, 0, 10, 0].map(|ms| Host::Computes(Duration::from_millis(ms)));
        assert_eq!(reports(&slow_first), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn nobody_waits_for_a_host_that_waits_itself_or_has_gone() {
        let at_once = Host::Computes(Duration::ZERO);
        assert_eq!(reports(&[Host::WaitsFirst, at_once]), [1, 0]);
        assert_eq!(reports(&[Host::Breaks, at_once, Host::Breaks, at_once]), [1, 3]);
        let long = Host::Computes(Duration::from_millis(300));
        assert_eq!(reports(&[long, Host::Yields, at_once]), [1, 0, 2]);
        assert_eq!(reports(&[]), [] as [usize; 0]);
    }
}
