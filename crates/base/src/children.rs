//! Programs that this process started and waits for, so that all of them can be ended with it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};

use rustix::process::{Pid, Signal, getpid, kill_process, set_parent_process_death_signal};

/// The programs that are being waited for, by number.
static WAITED_FOR: Mutex<Option<HashSet<i32>>> = Mutex::new(None);

fn waited_for<T>(work: impl FnOnce(&mut HashSet<i32>) -> T) -> T {
    work(WAITED_FOR.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(HashSet::new))
}

/// Runs a program to its end and gives what it printed, as [`Command::output`] does; [`end`] ends it before, and so does the end of
/// this process, of whatever kind.
#[expect(unsafe_code, reason = "what a child does before its program cannot be said otherwise")]
pub fn output(command: &mut Command) -> std::io::Result<Output> {
    let with_us = || set_parent_process_death_signal(Some(Signal::KILL)).map_err(std::io::Error::from);
    // SAFETY: between fork and exec it makes one system call and touches no memory that a thread might have locked.
    unsafe { command.pre_exec(with_us) };
    let child = command.stdout(Stdio::piped()).spawn()?;
    let number = i32::try_from(child.id()).ok();
    waited_for(|all| all.extend(number));
    let output = child.wait_with_output();
    waited_for(|all| number.is_some_and(|number| all.remove(&number)));
    output
}

/// Ends the programs that are being waited for, with all that they have started.
pub fn end() {
    let roots: Vec<i32> = waited_for(|all| all.iter().copied().collect());
    if !roots.is_empty() {
        end_all_of(|| [roots.clone(), below(&roots, &processes())].concat());
    }
}

/// Ends everything that this process has started and that belongs to its session: daemons have one of their own.
pub fn end_all() {
    let own = getpid().as_raw_nonzero().get();
    end_all_of(|| {
        let all = processes();
        let session = |pid| all.iter().find(|process| process.pid == pid).map(|process| process.session);
        let mut found = below(&[own], &all);
        found.retain(|pid| session(*pid) == session(own));
        found
    });
}

/// How often it is looked whether something has been started meanwhile.
const ROUNDS: usize = 8;

fn end_all_of(find: impl Fn() -> Vec<i32>) {
    let mut known: HashSet<i32> = HashSet::new();
    for _ in 0..ROUNDS {
        let found = find();
        if found.iter().all(|pid| known.contains(pid)) {
            break;
        }
        // What stands still starts nothing more, which would be nobody's child once its parent is gone.
        send(&found, Signal::STOP);
        known.extend(found);
    }
    send(&known, Signal::KILL);
}

fn send<'a>(to: impl IntoIterator<Item = &'a i32>, signal: Signal) {
    for pid in to.into_iter().copied().filter_map(Pid::from_raw) {
        // One that has gone by now is what was wanted.
        let _gone = kill_process(pid, signal);
    }
}

/// A process as `/proc/PID/stat` tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    /// 0 where the session was begun outside, as in a container; that is no process number, and a session all the same.
    session: i32,
}

impl Process {
    /// A program's name may hold anything, brackets too.
    fn of(pid: i32, stat: &str) -> Option<Self> {
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(1);
        let parent = fields.next()?.parse().ok()?;
        let session = fields.nth(1)?.parse().ok()?;
        Some(Self { pid, parent, session })
    }
}

fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    numbers
        .filter_map(|pid| Process::of(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?))
        .collect()
}

/// All that descend from these, children before grandchildren.
fn below(roots: &[i32], processes: &[Process]) -> Vec<i32> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for Process { pid, parent, .. } in processes {
        children.entry(*parent).or_default().push(*pid);
    }
    let mut found: Vec<i32> = Vec::new();
    let mut next = roots.to_vec();
    while let Some(pid) = next.pop() {
        let more = children.remove(&pid).unwrap_or_default();
        found.extend(&more);
        next.extend(more);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descendants_are_found_whatever_they_are_called() {
        let odd = Process { pid: 12, parent: 7, session: 0 };
        assert_eq!(Process::of(12, "12 (a) b (c) S 7 12 0 0"), Some(odd));
        assert_eq!(Process::of(12, "12"), None);
        let all = [(2, 1), (3, 2), (4, 9), (5, 3), (6, 1)].map(|(pid, parent)| Process { pid, parent, session: 1 });
        let mut found = below(&[1], &all);
        found.sort_unstable();
        assert_eq!(found, [2, 3, 5, 6]);
    }

    #[test]
    fn what_is_waited_for_can_be_ended_with_its_children() {
        let waiting = std::thread::spawn(|| {
            // The outer shell waits for the inner one, which would hold the output open.
            output(Command::new("/bin/sh").args(["-c", "sh -c 'echo up; sleep 600'; echo never"]))
        });
        while waited_for(|all| all.is_empty()) {
            std::thread::yield_now();
        }
        end();
        let done = waiting.join().expect("no panic").expect("it was started");
        assert!(!done.status.success());
        assert!(!String::from_utf8_lossy(&done.stdout).contains("never"));
    }
}
