#!/usr/bin/env python3
"""Inventories and values of any size: what quaylab takes for them, alone. It writes the section `scale` of docs/benchmarks.md.

Each case is a playbook on this machine (`ansible_connection=local`) that asks no host anything, so that time and memory are the program's own.
"""
import argparse
import os
import pathlib
import signal
import statistics
import subprocess
import tempfile
import time

from bench import ROOT, machine, replace_section

ROUNDS = 5


def play(*tasks, hosts="all"):
    return f"- hosts: {hosts}\n  gather_facts: false\n  tasks:\n" + "".join(f"    - {task}\n" for task in tasks)


def hosts(count, name="w"):
    return "[web]\n" + "".join(f"{name}{n} ansible_connection=local\n" for n in range(count))


def group_vars(size):
    entries, length, n = [], 0, 0
    while length < size:
        entry = f'var_{n}:\n  name: item {n}\n  list: [a{n}, b{n}, c{n}]\n  text: "value {{{{ inventory_hostname }}}} {n}"\n'
        entries.append(entry)
        length += len(entry)
        n += 1
    return "".join(entries)


BIG = 'set_fact: {big: "{{ range(60000) | list + range(60000) | list + range(60000) | list + range(60000) | list + range(60000) | list + range(60000) | list }}"}'
ONE = "localhost ansible_connection=local\n"


def cases():
    """Name, inventory, playbook, files beside it, the most seconds of CPU, what it took on 2026-11-30 (on another such machine)."""
    loop = 'loop: "{{ range(100000) | list }}"'
    wide = "h ansible_connection=local " + " ".join(f"v{n}=x{n}" for n in range(4000)) + "\n"
    hi = "debug: {msg: hi}"
    length = "debug: {msg: \"{{ groups['web'] | length }}\"}"
    return [
        ("500 hosts, 223 kB of group variables, one debug", hosts(500), play(hi), {"group_vars/all.yml": group_vars(223_000)}, 1.0, "26 s of CPU, 2592 MiB"),
        ("a list of 360,000 items", ONE, play(BIG), {}, None, ""),
        ("300 set_fact beside it", ONE, play(BIG, *['set_fact: {x: "1"}'] * 300), {}, None, "2.7 s"),
        ("200 conditions on one of its items", ONE, play(BIG, *["debug: {msg: hi}\n      when: big[0] == 1"] * 200), {}, None, "3.2 s"),
        ("10 tasks on 1200 hosts", hosts(1200), play(*[hi] * 10), {}, None, "0.5 s"),
        ("the same with `groups[...]`", hosts(1200), play(*[length] * 10), {}, None, "11 s"),
        ("a loop of 100,000 `debug`", ONE, play('debug: {msg: "{{ item }}"}\n      ' + loop), {}, 3.0, "over an hour"),
        ("a loop of 100,000 `set_fact`", ONE, play('set_fact: {x: "{{ item }}"}\n      ' + loop), {}, 3.0, "over an hour"),
        ("a line of an inventory with 4,000 variables", wide, play(hi), {}, None, "0.25 s"),
        ("8 hosts, a look-up of 1 s each", hosts(8), play("debug: {msg: \"{{ lookup('pipe', 'sleep 1; echo ok') }}\"}"), {}, None, "8.1 s"),
    ]


def command(quaylab, folder):
    return [quaylab, "run", "-i", "hosts", "site.yml", "-f", "8"], {"cwd": folder, "env": os.environ | {"XDG_STATE_HOME": str(folder / "state")}}


def measured(quaylab, folder):
    """Seconds of CPU, seconds, and MiB at its peak of a run that must succeed."""
    words, around = command(quaylab, folder)
    began = time.monotonic()
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **around) as run:
        said = run.stderr.read()
        _, status, used = os.wait4(run.pid, 0)
        run.returncode = os.waitstatus_to_exitcode(status)
    if run.returncode != 0:
        raise SystemExit(f"{words} ended with {run.returncode}: {said.decode()[-2000:]}")
    return used.ru_utime + used.ru_stime, time.monotonic() - began, used.ru_maxrss / 1024


def stopped(quaylab, folder, how):
    """Seconds from a signal in the middle of a look-up to the end."""
    words, around = command(quaylab, folder)
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **around) as run:
        time.sleep(1)
        began = time.monotonic()
        run.send_signal(how)
        run.wait()
    return time.monotonic() - began


def written(folder, inventory, playbook, files):
    for name, text in {"hosts": inventory, "site.yml": playbook, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quaylab", type=lambda name: str(pathlib.Path(name).resolve()), required=True)
    arguments = parser.parse_args()
    rows = []
    for name, inventory, playbook, files, wanted, before in cases():
        with tempfile.TemporaryDirectory() as made:
            folder = written(pathlib.Path(made), inventory, playbook, files)
            seen = [measured(arguments.quaylab, folder) for _ in range(ROUNDS)]
        cpu, wall, memory = (statistics.median(column) for column in zip(*seen))
        rows.append(f"| {name} | {cpu:.2f} s | {wall:.2f} s | {memory:.0f} MiB | {before} |")
        if wanted and cpu > wanted:
            raise SystemExit(f"{name}: {cpu:.2f} s of CPU, and {wanted} s are the most")
    ends = []
    with tempfile.TemporaryDirectory() as made:
        slow = play("debug: {msg: \"{{ lookup('pipe', 'sleep 60') }}\"}")
        folder = written(pathlib.Path(made), hosts(8), slow, {})
        for how in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            took = max(stopped(arguments.quaylab, folder, how) for _ in range(ROUNDS))
            ends.append(f"{how.name[3:]} {took * 1000:.0f} ms")
            if took > 0.5:
                raise SystemExit(f"{how.name} took {took:.2f} s, and 0.5 s are the most")
    document = ROOT / "docs/benchmarks.md"
    section = f"""## Inventories and values of any size
Medians of {ROUNDS} runs on {machine()}; quaylab alone, connections to this machine itself (`benches/scale.py`).
The last column is from before values were shared and hosts spawned: single runs on another machine of this kind.

| | CPU | time | memory | 2026-11-30 |
| --- | ---: | ---: | ---: | ---: |
""" + "\n".join(rows) + f"""

The longest of {ROUNDS} stops while eight hosts wait in a look-up: {", ".join(ends)} (2026-11-30: 13 s, and TERM never).
"""
    document.write_text(replace_section(document.read_text(), "scale", section))
    print(f"wrote scale into {document}")


if __name__ == "__main__":
    main()
