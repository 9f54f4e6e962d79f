//! A playbook of a folder, run by the engine itself.

use std::path::Path;
use std::sync::{Arc, Mutex};

use quaylab::engine::{self, Event, Options, Sink, Summary};
use quaylab::inventory::Inventory;
use quaylab::playbook::{Folder, Loader};
use tokio_util::sync::CancellationToken;

/// Runs `site.yml` of a folder.
pub(crate) async fn run(folder: &Path, speculate: bool) -> (Summary, Vec<Event>) {
    let (inventory, _) =
        Inventory::load(&[folder.join("hosts").display().to_string()]).expect("an inventory");
    let loader = Loader::new(Vec::new());
    let events = Arc::new(Mutex::new(Vec::new()));
    let sink: Sink = {
        let events = Arc::clone(&events);
        Arc::new(move |event| events.lock().expect("unpoisoned").push(event))
    };
    let options = Options { speculate, ..Options::new(inventory, "test", folder.join("state")) };
    let playbook = loader.playbook(&Folder::Disk(folder.to_owned()), "site.yml").expect("a playbook");
    let summary =
        engine::run(playbook, loader, options, sink, CancellationToken::new()).await.expect("a run");
    let events = std::mem::take(&mut *events.lock().expect("unpoisoned"));
    (summary, events)
}
