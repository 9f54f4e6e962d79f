"""Answers the test's questions, given as JSON on standard input, with ansible-core.

It takes most of a second to start, so it is loaded once, and every run of ansible-inventory is a fork of that.
"""

import json
import os
import sys
import tempfile

from ansible.cli.inventory import InventoryCLI
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader


def start(arguments):
    """Starts ansible-inventory with these arguments."""
    out, err = tempfile.TemporaryFile(), tempfile.TemporaryFile()
    child = os.fork()
    if child == 0:
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        try:
            InventoryCLI.cli_executor(["ansible-inventory", *arguments])
        except SystemExit:
            pass
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)
    return child, out, err


def finish(run):
    child, out, err = run
    os.waitpid(child, 0)
    text = []
    for stream in (out, err):
        stream.seek(0)
        text.append(stream.read().decode())
        stream.close()
    return {"stdout": text[0], "stderr": text[1]}


def printed(runs):
    results, started = [], []
    for arguments in runs:
        if len(started) == os.cpu_count():
            results.append(finish(started.pop(0)))
        started.append(start(arguments))
    return results + [finish(run) for run in started]


def selected(sources, pattern, limit):
    """The hosts of a pattern, or nothing where ansible-core refuses it."""
    manager = InventoryManager(DataLoader(), sources)
    try:
        manager.subset(limit)
        return [host.name for host in manager.get_hosts(pattern)]
    except Exception:
        return None


question = json.load(sys.stdin)
answer = {
    "printed": printed(question.get("runs", [])),
    "selected": [selected(*selection) for selection in question.get("selections", [])],
}
json.dump(answer, sys.stdout)
