#!/usr/bin/env python3
"""Times the same idempotent work under quaylab and its peers, in alternation, and writes docs/benchmarks.md.

Hosts are made by the benchmark: one sshd in a network namespace of its own answers on many loopback addresses, for a user whose
shell is /bin/sh; each address has a folder of its own. Peers come pinned from the Python registry into a virtual environment.
Run it as root: `make bench`.
"""

import argparse
import asyncio
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

PEERS = {"ansible-core": "2.19.14", "mitogen": "0.3.54", "pyinfra": "3.10.0"}
NAMESPACE = f"qlbench{os.getpid()}"
HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent


def operations():
    """The 37 operations as (kind, number)."""
    kinds = [("directory", 10), ("copy", 10), ("template", 5), ("line", 5), ("command", 4), ("stat", 2), ("link", 1)]
    return [(kind, number) for kind, count in kinds for number in range(count)]


def playbook():
    tasks = []
    for kind, n in operations():
        tasks.append({
            "directory": f"file: {{path: '{{{{ base }}}}/d{n}', state: directory, mode: '0755'}}",
            "copy": f"copy: {{content: \"content {n}\\n\", dest: '{{{{ base }}}}/d{n}/file', mode: '0644'}}",
            "template": f"template: {{src: t.j2, dest: '{{{{ base }}}}/t{n}', mode: '0644'}}",
            "line": f"lineinfile: {{path: '{{{{ base }}}}/d{n}/lines', line: 'key{n}=value', create: true, mode: '0644'}}",
            "command": "command: 'true'\n      changed_when: false",
            "stat": "stat: {path: /etc/hosts}",
            "link": "file: {src: '{{ base }}/d1', dest: '{{ base }}/link', state: link}",
        }[kind])
    head = "- hosts: all\n  gather_facts: false\n  tasks:\n    - file: {path: '{{ base }}', state: directory, mode: '0755'}\n"
    return head + "".join(f"    - {task}\n" for task in tasks)


def script():
    """What a careful person would write by hand: check, and change only what differs."""
    lines = ["set -eu", 'b=$1', 'mkdir -p "$b"']
    for kind, n in operations():
        lines.append({
            "directory": f'[ "$(stat -c %a "$b/d{n}" 2>/dev/null)" = 755 ] || {{ mkdir -p "$b/d{n}"; chmod 755 "$b/d{n}"; }}',
            "copy": f'[ "$(cat "$b/d{n}/file" 2>/dev/null)" = "content {n}" ] && [ "$(stat -c %a "$b/d{n}/file")" = 644 ] || {{ echo "content {n}" >"$b/d{n}/file"; chmod 644 "$b/d{n}/file"; }}',
            "template": f'[ "$(cat "$b/t{n}" 2>/dev/null)" = "host $b" ] && [ "$(stat -c %a "$b/t{n}")" = 644 ] || {{ echo "host $b" >"$b/t{n}"; chmod 644 "$b/t{n}"; }}',
            "line": f'grep -qxF "key{n}=value" "$b/d{n}/lines" 2>/dev/null || echo "key{n}=value" >>"$b/d{n}/lines"',
            "command": "/bin/true",
            "stat": "stat -c '%a %U %s %Y' /etc/hosts >/dev/null; sha1sum /etc/hosts >/dev/null",
            "link": '[ "$(readlink "$b/link" 2>/dev/null)" = "$b/d1" ] || ln -s "$b/d1" "$b/link"',
        }[kind])
    return "\n".join(lines) + "\n"


def deploy():
    """The same for pyinfra."""
    lines = ["from io import StringIO", "from pyinfra import host", "from pyinfra.operations import files, server", "base = host.data.base",
             "files.directory(path=base, mode='755')"]
    for kind, n in operations():
        lines.append({
            "directory": f"files.directory(path=f'{{base}}/d{n}', mode='755')",
            "copy": f"files.put(src=StringIO('content {n}\\n'), dest=f'{{base}}/d{n}/file', mode='644')",
            "template": f"files.template(src='t.pyinfra.j2', dest=f'{{base}}/t{n}', mode='644', base=base)",
            "line": f"files.line(path=f'{{base}}/d{n}/lines', line='key{n}=value', present=True)",
            "command": "server.shell(commands=['true'])",
            "stat": "host.get_fact(__import__('pyinfra.facts.files', fromlist=['File']).File, path='/etc/hosts')",
            "link": "files.link(path=f'{base}/link', target=f'{base}/d1')",
        }[kind])
    return "\n".join(lines) + "\n"


class Lab:
    """A namespace with one sshd on all loopback addresses, and the files that the tools are given."""

    def __init__(self, folder, hosts):
        self.folder, self.hosts, self.sshd = folder, [f"127.0.{n // 200}.{n % 200 + 1}" for n in range(hosts)], None

    def __enter__(self):
        f = self.folder
        subprocess.run(["ip", "netns", "add", NAMESPACE], check=True)
        subprocess.run(["ip", "-n", NAMESPACE, "link", "set", "lo", "up"], check=True)
        for key in ("host", "login"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f / key], check=True)
        passwd = "\n".join(self.plain_root(line) for line in pathlib.Path("/etc/passwd").read_text().splitlines())
        (f / "passwd").write_text(passwd + "\n")
        (f / "sshd_config").write_text(
            f"Port 2222\nListenAddress 0.0.0.0\nHostKey {f}/host\nAuthorizedKeysFile {f}/login.pub\nStrictModes no\nUsePAM no\n"
            f"PidFile {f}/pid\nPermitRootLogin yes\nMaxStartups 1000\nUseDNS no\nSubsystem sftp internal-sftp\n")
        os.makedirs("/run/sshd", exist_ok=True)
        inner = f"mount --bind {f}/passwd /etc/passwd && exec /usr/sbin/sshd -D -f {f}/sshd_config -E {f}/sshd.log"
        self.sshd = subprocess.Popen(["ip", "netns", "exec", NAMESPACE, "unshare", "--mount", "sh", "-c", inner])
        common = f"ansible_port=2222 ansible_user=root ansible_ssh_private_key_file={f}/login"
        known = f"-o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no -o LogLevel=ERROR"
        rows = "\n".join(f"{host} base={f}/work/{host} {common}" for host in self.hosts)
        (f / "inventory").write_text(f"{rows}\n[all:vars]\nansible_ssh_common_args={known}\nansible_python_interpreter={sys.executable}\n")
        data = ", ".join(
            f"('{host}', {{'base': '{f}/work/{host}', 'ssh_port': 2222, 'ssh_user': 'root', 'ssh_key': '{f}/login', 'ssh_strict_host_key_checking': 'off'}})"
            for host in self.hosts)
        (f / "hosts.py").write_text(f"hosts = [{data}]\n")
        (f / "site.yml").write_text(playbook())
        (f / "deploy.py").write_text(deploy())
        (f / "by-hand.sh").write_text(script())
        (f / "t.j2").write_text("host {{ base }}\n")
        (f / "t.pyinfra.j2").write_text("host {{ base }}\n")
        for _ in range(100):
            if subprocess.run(self.inside(["ssh", *self.ssh_options(), "root@127.0.0.1", "true"]), capture_output=True).returncode == 0:
                return self
            time.sleep(0.1)
        raise SystemExit("the benchmark's sshd does not answer: " + (f / "sshd.log").read_text())

    @staticmethod
    def plain_root(line):
        return ":".join(line.split(":")[:-1] + ["/bin/sh"]) if line.startswith("root:") else line

    def __exit__(self, *_):
        if self.sshd:
            self.sshd.terminate()
            self.sshd.wait()
        subprocess.run(["ip", "netns", "del", NAMESPACE], check=False)

    def inside(self, command):
        return ["ip", "netns", "exec", NAMESPACE, *command]

    def ssh_options(self):
        return ["-p", "2222", "-i", str(self.folder / "login"), "-o", "UserKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=no",
                "-o", "LogLevel=ERROR", "-o", "BatchMode=yes"]


def tools(lab, venv, quaylab):
    """Each tool as a function from hosts to the command that does the work on them."""
    f = lab.folder
    ansible = {"ANSIBLE_PIPELINING": "1", "ANSIBLE_HOST_KEY_CHECKING": "0", "ANSIBLE_FORKS": "50", "ANSIBLE_NOCOLOR": "1"}

    def by_hand(hosts):
        options = " ".join(lab.ssh_options())
        return ["sh", "-c", "; ".join(f"ssh {options} root@{h} sh -s {f}/work/{h} <{f}/by-hand.sh &" for h in hosts).replace("&;", "&") + " wait"], {}

    def with_quaylab(hosts):
        return [quaylab, "run", "-i", str(f / "inventory"), "-l", ",".join(hosts), str(f / "site.yml")], {}

    def with_ansible(hosts):
        return [f"{venv}/bin/ansible-playbook", "-i", str(f / "inventory"), "-l", ",".join(hosts), str(f / "site.yml")], ansible

    def with_mitogen(hosts):
        found = sorted(pathlib.Path(venv).glob("lib/python*/site-packages/ansible_mitogen/plugins/strategy"))
        if not found:
            return None
        return with_ansible(hosts)[0], {**ansible, "ANSIBLE_STRATEGY_PLUGINS": str(found[0]), "ANSIBLE_STRATEGY": "mitogen_linear"}

    def with_pyinfra(hosts):
        limits = [word for host in hosts for word in ("--limit", host)]
        return [f"{venv}/bin/pyinfra", "-y", *limits, str(f / "hosts.py"), str(f / "deploy.py")], {}

    return {"ssh + one sh script": by_hand, "quaylab": with_quaylab, "ansible-core": with_ansible, "ansible-core + mitogen": with_mitogen,
            "pyinfra": with_pyinfra}


def measure(lab, command):
    argv, extra = command
    started = time.monotonic()
    done = subprocess.run(lab.inside(argv), cwd=lab.folder, env={**os.environ, **extra}, capture_output=True, text=True)
    seconds = time.monotonic() - started
    return (seconds, None) if done.returncode == 0 else (None, (done.stdout + done.stderr).strip().splitlines()[-1:])


def timed(argv, folder):
    """Seconds, and MiB at most in memory, of a command that must succeed."""
    with open(folder / "out", "w+") as out:
        started = time.monotonic()
        child = subprocess.Popen(argv, cwd=folder, stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.monotonic() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            out.seek(0)
            raise SystemExit(f"{' '.join(map(str, argv[:8]))} failed:\n{out.read()[-2000:]}")
    return seconds, usage.ru_maxrss / 1024


def medians(rounds, **commands):
    """The median seconds and the most memory of each command, run in alternation."""
    seen = {name: [] for name in commands}
    for _ in range(rounds):
        for name, run in commands.items():
            seen[name].append(run())
    return {name: (statistics.median(s for s, _ in runs), max(m for _, m in runs)) for name, runs in seen.items()}


def many_tasks(count, loop):
    """Copies of small files, each a task or each an item of one loop."""
    head = "- hosts: all\n  gather_facts: false\n  tasks:\n    - file: {path: '{{ base }}', state: directory, mode: '0755'}\n"
    task = "    - copy: {{content: \"content {0}\\n\", dest: '{{{{ base }}}}/f{0}', mode: '0644'}}\n"
    if loop:
        return head + task.format("{{ item }}") + f"      loop: \"{{{{ range({count}) | list }}}}\"\n"
    return head + "".join(task.format(n) for n in range(count))


def many_by_hand(count):
    lines = ["set -eu", "b=$1", 'mkdir -p "$b"']
    for n in range(count):
        lines.append(f'[ "$(cat "$b/f{n}" 2>/dev/null)" = "content {n}" ] && [ "$(stat -c %a "$b/f{n}")" = 644 ] || {{ echo "content {n}" >"$b/f{n}"; chmod 644 "$b/f{n}"; }}')
    return "\n".join(lines) + "\n"


LOGIN = "- hosts: all\n  gather_facts: false\n  tasks:\n    - ping:\n"


class Delay:
    """A proxy in front of the benchmark's sshd that holds every byte back for half a round trip, in both directions."""

    def __init__(self, lab, milliseconds):
        self.lab, self.ms = lab, milliseconds

    def __enter__(self):
        self.process = subprocess.Popen(self.lab.inside([sys.executable, __file__, "--proxy", str(self.ms)]), stdout=subprocess.PIPE)
        self.process.stdout.readline()
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    @staticmethod
    def serve(milliseconds):
        async def pump(reader, writer):
            queue, loop = asyncio.Queue(), asyncio.get_running_loop()

            async def deliver():
                while (item := await queue.get()) is not None:
                    due, data = item
                    await asyncio.sleep(max(0, due - loop.time()))
                    writer.write(data)
                    await writer.drain()
                writer.close()

            delivering = asyncio.create_task(deliver())
            while data := await reader.read(65536):
                queue.put_nowait((loop.time() + milliseconds / 2000, data))
            queue.put_nowait(None)
            await delivering

        async def accept(reader, writer):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", 2222)
            await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer), return_exceptions=True)

        async def main():
            server = await asyncio.start_server(accept, "127.0.0.1", 2223)
            print("ready", flush=True)
            await server.serve_forever()

        asyncio.run(main())


def tasks_section(lab, quaylab, rounds):
    """(b) 200 tasks, nothing to change, on one host."""
    f = lab.folder
    (f / "loop.yml").write_text(many_tasks(200, True))
    run = lambda book, *more: lambda: timed(lab.inside([quaylab, "run", "-i", f / "inventory", "-l", lab.hosts[0], *more, f / book]), f)
    options = " ".join(lab.ssh_options())
    by_hand = lambda: timed(lab.inside(["sh", "-c", f"ssh {options} root@{lab.hosts[0]} sh -s {f}/work/{lab.hosts[0]} <{f}/tasks.sh"]), f)
    fresh(lab)
    run("tasks.yml")()
    seen = medians(rounds, script=by_hand, tasks=run("tasks.yml"), loop=run("loop.yml"), turn=run("tasks.yml", "--no-speculate"), login=run("login.yml"))
    base = seen["script"][0]
    names = {"script": "ssh + one sh script", "tasks": "quaylab, 200 tasks", "loop": "quaylab, one task with 200 items",
             "turn": "quaylab --no-speculate, 200 tasks", "login": "quaylab, log in and nothing else"}
    rows = [f"| {names[n]} | {s:.2f} s | {s / base:.2f} |" for n, (s, _) in seen.items()]
    each = (seen["tasks"][0] - seen["login"][0]) / 200 * 1000
    return "\n".join(["### 200 files on one host, nothing to change", "", "| | median | against the script |", "| --- | ---: | ---: |", *rows, "",
                      f"A task more: {each:.2f} ms, on both sides together.", ""])


def fresh(lab):
    shutil.rmtree(lab.folder / "work", ignore_errors=True)
    (lab.folder / "work").mkdir()


def delay_section(lab, quaylab, rounds):
    """(d) the same over a delayed connection."""
    f = lab.folder
    inventory = (f / "inventory").read_text().replace("ansible_port=2222", "ansible_port=2223")
    (f / "delayed").write_text(inventory)
    rows = []
    for ms in (1, 20, 80):
        with Delay(lab, ms):
            run = lambda book, *more: lambda: timed(lab.inside([quaylab, "run", "-i", f / "delayed", "-l", "127.0.0.1", *more, f / book]), f)
            options = " ".join(lab.ssh_options()).replace("2222", "2223")
            by_hand = lambda: timed(lab.inside(["sh", "-c", f"ssh {options} root@127.0.0.1 sh -s {f}/work/127.0.0.1 <{f}/tasks.sh"]), f)
            fresh(lab)
            run("tasks.yml")()
            seen = {n: s for n, (s, _) in medians(rounds, script=by_hand, login=run("login.yml"), tasks=run("tasks.yml"), turn=run("tasks.yml", "--no-speculate")).items()}
        trips = (seen["tasks"] - seen["login"]) * 1000 / ms
        rows.append(f"| {ms} ms | {seen['script']:.2f} s | {seen['login']:.2f} s | {seen['tasks']:.2f} s | {trips:.1f} | {seen['turn']:.2f} s |")
    return "\n".join(["### 200 unchanged tasks over a connection with a delay", "",
                      "| round trip | ssh + one sh script | quaylab, log in only | quaylab, 200 tasks | more than the login, in round trips | with --no-speculate |",
                      "| ---: | ---: | ---: | ---: | ---: | ---: |", *rows, ""])


def hosts_section(lab, quaylab, counts, rounds):
    """(c) 20 tasks on many hosts."""
    f = lab.folder
    (f / "twenty.yml").write_text(many_tasks(19, False))
    rows = []
    for count in counts:
        hosts = ",".join(lab.hosts[:count])
        (f / "limit").write_text("\n".join(lab.hosts[:count]))
        run = lambda book: lambda: timed(lab.inside([quaylab, "run", "-i", f / "inventory", "-l", f"@{f}/limit" if count > 100 else hosts, f / book]), f)
        fresh(lab)
        first, _ = run("twenty.yml")()
        seen = medians(rounds, login=run("login.yml"), tasks=run("twenty.yml"))
        (login, _), (tasks, memory) = seen["login"], seen["tasks"]
        rows.append(f"| {count} | {first:.2f} s | {login:.2f} s | {tasks:.2f} s | {tasks / login:.2f} | {memory:.0f} MiB |")
    return "\n".join(["### 20 tasks on many hosts", "", "| hosts | first run | log in only | unchanged run | against the logins | memory |",
                      "| ---: | ---: | ---: | ---: | ---: | ---: |", *rows, ""])


def start_section(lab, quaylab, rounds):
    """(e) start-up, and an inventory of 10,000 hosts."""
    f = lab.folder
    groups = "".join(f"[g{n}]\n" + "".join(f"host{n * 100 + m} ansible_host=10.0.{n}.{m} number={m}\n" for m in range(100)) for n in range(100))
    (f / "large").write_text(groups + "[all:vars]\nx=1\n")
    seen = medians(max(rounds, 9), version=lambda: timed([quaylab, "--version"], f), listing=lambda: timed([quaylab, "inventory", "-i", f / "large", "--list"], f))
    (version, _), (listing, memory) = seen["version"], seen["listing"]
    return (f"### Start-up\n\n| | |\n| --- | ---: |\n| `quaylab --version` | {version * 1000:.0f} ms |\n"
            f"| `quaylab inventory --list`, 10,000 hosts in 100 groups | {listing:.2f} s, {memory:.0f} MiB |\n")


def large_section(lab, quaylab, rounds):
    """One file of 1 GiB to one host, each time where there is none."""
    f, host = lab.folder, lab.hosts[0]
    with open(f / "large.bin", "wb") as file:
        for _ in range(1024):
            file.write(os.urandom(1 << 20))
    (f / "large.yml").write_text(f"- hosts: all\n  gather_facts: false\n  tasks:\n    - copy: {{src: '{f}/large.bin', dest: '{{{{ base }}}}/large.bin', mode: '0644'}}\n")
    options = ["-P" if word == "-p" else word for word in lab.ssh_options()]

    def into_nothing(command):
        fresh(lab)
        (f / "work" / host).mkdir()
        seen = timed(lab.inside(command), f)
        if (f / "work" / host / "large.bin").stat().st_size != 1 << 30:
            raise SystemExit(f"{command[0]} did not copy the file")
        return seen

    def brought(command):
        shutil.rmtree(f / "back", ignore_errors=True)
        (f / "back").mkdir()
        seen = timed(lab.inside(command), f)
        if (f / "back/large.bin").stat().st_size != 1 << 30:
            raise SystemExit(f"{command[0]} did not bring the file")
        return seen

    (f / "fetch.yml").write_text(f"- hosts: all\n  gather_facts: false\n  tasks:\n    - fetch: {{src: '{f}/large.bin', dest: '{f}/back/', flat: true}}\n")
    scp = ["scp", "-q", *options, f / "large.bin", f"root@{host}:{f}/work/{host}/large.bin"]
    back = ["scp", "-q", *options, f"root@{host}:{f}/large.bin", f / "back/large.bin"]
    with_quaylab = lambda book: [quaylab, "run", "-i", f / "inventory", "-l", host, f / book]
    seen = medians(rounds, scp=lambda: into_nothing(scp), copy=lambda: into_nothing(with_quaylab("large.yml")),
                   back=lambda: brought(back), fetch=lambda: brought(with_quaylab("fetch.yml")))
    (f / "large.bin").unlink()
    shutil.rmtree(f / "back")
    names = {"scp": ("scp, to the host", "scp"), "copy": ("quaylab, `copy`", "scp"), "back": ("scp, from the host", "back"), "fetch": ("quaylab, `fetch`", "back")}
    rows = [f"| {names[n][0]} | {s:.2f} s | {seen[names[n][1]][0] / s:.0%} | {memory:.0f} MiB |" for n, (s, memory) in seen.items()]
    return "\n".join(["### A file of 1 GiB", "", "| | median | speed against scp | memory |", "| --- | ---: | ---: | ---: |", *rows, "",
                      "`fetch` asks the host for a checksum before and hashes what came.", ""])


def vm_section(quaylab, rounds):
    """(f) 200 tasks in the quickstart's VM; `None` where there is none."""
    if not (pathlib.Path(os.environ.get("XDG_STATE_HOME", pathlib.Path.home() / ".local/state")) / "quaylab/quickstart").exists():
        return None
    inventory, guest = ROOT / "inventories/quickstart.inv", "quay.quaylab.lan"
    with tempfile.TemporaryDirectory(prefix="qlbench") as name:
        f = pathlib.Path(name)
        (f / "tasks.yml").write_text(many_tasks(200, False))
        (f / "login.yml").write_text(LOGIN)
        (f / "tasks.sh").write_text(many_by_hand(200))
        run = lambda book: lambda: timed([quaylab, "run", "-i", inventory, "-l", guest, "-e", "base=/tmp/bench", f / book], f)
        by_hand = lambda: timed(["sh", "-c", f"{quaylab} ssh -i {inventory} {guest} sudo sh -s /tmp/bench <{f}/tasks.sh"], f)
        run("tasks.yml")()
        seen = medians(rounds, script=by_hand, tasks=run("tasks.yml"), login=run("login.yml"))
        timed([quaylab, "ssh", "-i", inventory, guest, "sudo", "rm", "-rf", "/tmp/bench"], f)
    base = seen["script"][0]
    names = {"script": "`quaylab ssh` + one sh script", "tasks": "quaylab, 200 tasks", "login": "quaylab, log in and nothing else"}
    rows = [f"| {names[n]} | {s:.2f} s | {s / base:.2f} |" for n, (s, _) in seen.items()]
    return "\n".join(["### 200 unchanged tasks in the quickstart's VM", "", "| | median | against the script |", "| --- | ---: | ---: |", *rows, ""])


def benchmark(lab, all_tools, hosts, rounds):
    """Medians by tool of the first and of the unchanged run, taken in alternation."""
    first, again, broken = {}, {}, {}
    for number in range(rounds):
        for name, tool in all_tools.items():
            if name in broken:
                continue
            command = tool(hosts)
            if command is None:
                broken[name] = "not installed"
                continue
            shutil.rmtree(lab.folder / "work", ignore_errors=True)
            (lab.folder / "work").mkdir()
            for results in (first, again):
                seconds, error = measure(lab, command)
                if seconds is None:
                    broken[name] = " ".join(error or ["failed"])
                    break
                # A tool that works on no host ends well, too.
                undone = [host for host in hosts if not (lab.folder / "work" / host / "d9" / "file").exists()]
                if undone:
                    broken[name] = f"did nothing on {len(undone)} of {len(hosts)} hosts"
                    break
                results.setdefault(name, []).append(seconds)
            print(f"  {len(hosts):3} hosts, round {number + 1}: {name}: {broken.get(name) or f'{first[name][-1]:.2f} s, then {again[name][-1]:.2f} s'}", flush=True)
    median = lambda results: {name: statistics.median(values) for name, values in results.items() if name not in broken}
    return median(first), median(again), broken


def table(title, first, again):
    base = again["ssh + one sh script"]
    ours = again["quaylab"]
    rows = [f"### {title}", "", "| | first run | unchanged run | against the script | quaylab is faster by |", "| --- | ---: | ---: | ---: | ---: |"]
    for name, seconds in sorted(again.items(), key=lambda item: item[1]):
        faster = "" if name == "quaylab" else f"{seconds / ours:.1f}"
        rows.append(f"| {name} | {first[name]:.2f} s | {seconds:.2f} s | {seconds / base:.2f} | {faster} |")
    return "\n".join(rows) + "\n"


def plot(again):
    """Bars of the unchanged runs, on a logarithmic scale since they span three orders of magnitude."""
    import math
    names = sorted(again, key=again.get)
    low, high = 0.1, max(again.values()) * 1.4
    width = lambda s: 430 * math.log(max(s, low) / low) / math.log(high / low)
    rows = []
    for i, name in enumerate(names):
        y, fill = 34 + 30 * i, "#2a7de1" if name == "quaylab" else "#9aa5b1"
        rows.append(f'<text x="172" y="{y + 15}" text-anchor="end">{name}</text><rect x="180" y="{y}" width="{width(again[name]):.0f}" height="20" fill="{fill}"/>'
                    f'<text x="{186 + width(again[name]):.0f}" y="{y + 15}">{again[name]:.2f} s</text>')
    height = 44 + 30 * len(names)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 700 {height}" width="700" height="{height}" font-family="sans-serif" font-size="13" fill="#333">'
            f'<rect width="700" height="{height}" fill="#fff"/><text x="12" y="20" font-weight="bold">37 operations on one host, nothing to change (logarithmic)</text>{"".join(rows)}</svg>\n')


def machine():
    memory = next(int(line.split()[1]) // 1024 for line in open("/proc/meminfo") if line.startswith("MemTotal"))
    return f"{os.cpu_count()} cores, {memory} MiB, {platform.system()} {platform.release().split('-')[0]}, {time.strftime('%Y-%m-%d')}"


def replace_section(document, name, text):
    begin, end = f"<!-- {name}: written by make bench -->", f"<!-- end of {name} -->"
    section = f"{begin}\n{text}{end}"
    if begin in document and end in document:
        head, rest = document.split(begin, 1)
        return head + section + rest.split(end, 1)[1]
    return document.rstrip() + f"\n\n{section}\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quaylab", default=str(ROOT / "target/release/quaylab"))
    parser.add_argument("--venv", default=str(ROOT / "target/bench-venv"))
    parser.add_argument("--hosts", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--many", type=int, nargs="*", default=[10, 100, 500], help="numbers of hosts for the section on many hosts")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", nargs="+", default=["operations", "tasks", "hosts", "delay", "large", "start", "vm"])
    parser.add_argument("--proxy", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.proxy is not None:
        return Delay.serve(options.proxy)
    if os.geteuid() != 0:
        raise SystemExit("the benchmark makes a network namespace: run it as root")
    if not pathlib.Path(options.venv, "bin/ansible-playbook").exists():
        subprocess.run([sys.executable, "-m", "venv", options.venv], check=True)
        wanted = [f"{name}=={version}" for name, version in PEERS.items()]
        subprocess.run([f"{options.venv}/bin/pip", "install", "-q", *wanted], check=True)
    document = ROOT / "docs/benchmarks.md"

    def write(name, text):
        document.write_text(replace_section(document.read_text() if document.exists() else "# Benchmarks\n", name, text))
        print(f"wrote {name} into {document}", flush=True)

    most = max([*options.hosts, *options.many])
    with tempfile.TemporaryDirectory(prefix="qlbench") as folder, Lab(pathlib.Path(folder), most) as lab:
        os.chmod(folder, 0o755)
        if "operations" in options.parts:
            sections, drawn = [], None
            for count in options.hosts:
                first, again, broken = benchmark(lab, tools(lab, options.venv, options.quaylab), lab.hosts[:count], options.rounds)
                sections.append(table(f"{count} host{'s' * (count > 1)}", first, again))
                sections += [f"{name} could not be measured: {why}\n" for name, why in broken.items()]
                drawn = drawn or again
            versions = ", ".join(f"{name} {version}" for name, version in PEERS.items())
            write("operations", (f"## 37 idempotent operations over SSH\nMedians of {options.rounds} rounds in alternation on {machine()}; sshd on loopback in a namespace of its own; {versions}.\n\n"
                                 f"![unchanged runs](benchmarks.svg)\n\n" + "\n".join(sections)))
            (ROOT / "docs/benchmarks.svg").write_text(plot(drawn))
        (lab.folder / "login.yml").write_text(LOGIN)
        (lab.folder / "tasks.yml").write_text(many_tasks(200, False))
        (lab.folder / "tasks.sh").write_text(many_by_hand(200))
        parts = {"tasks": lambda: tasks_section(lab, options.quaylab, options.rounds), "delay": lambda: delay_section(lab, options.quaylab, options.rounds),
                 "hosts": lambda: hosts_section(lab, options.quaylab, options.many, options.rounds), "start": lambda: start_section(lab, options.quaylab, options.rounds),
                 "large": lambda: large_section(lab, options.quaylab, options.rounds), "vm": lambda: vm_section(options.quaylab, options.rounds)}
        head = f"Medians of {options.rounds} rounds in alternation on {machine()}.\n\n"
        for name in ("tasks", "delay", "hosts", "large", "start", "vm"):
            if name not in options.parts:
                continue
            text = parts[name]()
            if text is None:
                print(f"skipped {name}: no quickstart lab is at hand; `make quickstart` brings one up", flush=True)
            else:
                write(name, head + text)


if __name__ == "__main__":
    main()
