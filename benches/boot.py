#!/usr/bin/env python3
"""A VM from its definition to the end of cloud-init: quaylab, virt-install with a cloud-init disk by cloud-localds, and vagrant-libvirt where it is installed.

All make the same VM of the same image on the same libvirt (quaylab's private one where none answers), in the same network, in alternation, and
write the section `boot` of docs/benchmarks.md. It wants root, the quickstart's image (`make image`), virt-install and cloud-localds.
"""
import argparse
import collections
import contextlib
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import tempfile
import time

from bench import ROOT, machine, replace_section

IMAGE = "/var/cache/quaylab/images/debian-12.qcow2"
NETWORK = {"name": "qlboot", "bridge": "virbr-qlboot", "ip_address": "192.168.233.254", "ip_netmask": "255.255.255.0",
           "dhcp_start": "192.168.233.1", "dhcp_end": "192.168.233.99"}
POOL = "/var/lib/quaylab/qlboot"
INVENTORY = f"""[hypervisor]
127.0.0.1 ansible_connection=local
[hypervisor:vars]
libvirt_private=auto
libvirt_bridges=[{NETWORK}]
libvirt_pools=[{{'qlboot': {{'type': 'dir', 'path': '{POOL}'}}}}]
[lab]
guest.qlboot.lan
[lab:vars]
quaylab_lab=qlboot
ansible_user=debian
image_uri=file://{IMAGE}
vm_pool=qlboot
resources={{'vcpus': 1, 'ram': 768, 'network': 'qlboot'}}
"""
# What a careful person types: an overlay, a cloud-init disk, virt-install, and loops until the guest is ready.
BY_HAND = """set -eu
cd "$1"
qemu-img create -q -f qcow2 -F qcow2 -b {image} {pool}/hand.qcow2
cloud-localds seed.img user-data && mv seed.img {pool}/hand-seed.img
virt-install -q --connect qemu:///system --name hand --virt-type {accelerator} --vcpus 1 --memory 768 --import --osinfo detect=off,require=off \
  --disk path={pool}/hand.qcow2,format=qcow2,bus=virtio --disk path={pool}/hand-seed.img,device=cdrom --network network=qlboot,model=virtio \
  --graphics none --rng /dev/urandom --noautoconsole
address=
until [ -n "$address" ]; do
  address=$(virsh -q -c qemu:///system domifaddr hand --source lease | awk '{{ sub("/.*", "", $4); print $4; exit }}')
  [ -n "$address" ] || sleep 0.5
done
login="ssh -q -i key -o BatchMode=yes -o ConnectTimeout=2 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null debian@$address"
until $login true 2>/dev/null; do sleep 0.5; done
$login cloud-init status --wait >/dev/null
"""
# A box of the same image, with the same cloud-init disk, on the network and the pool that are there.
VAGRANTFILE = """Vagrant.configure("2") do |config|
  config.vm.box = "qlboot"
  config.vm.synced_folder ".", "/vagrant", disabled: true
  config.vm.boot_timeout = 900
  config.ssh.username = "debian"
  config.ssh.private_key_path = "{folder}/key"
  config.ssh.insert_key = false
  config.vm.provider :libvirt do |libvirt|
    libvirt.uri = "qemu:///system"
    libvirt.driver = "{accelerator}"
    libvirt.cpus = 1
    libvirt.memory = 768
    libvirt.cpu_mode = "{cpu_mode}"
    {cpu_model}
    libvirt.storage_pool_name = "qlboot"
    libvirt.management_network_name = "qlboot"
    libvirt.management_network_address = "192.168.233.0/24"
    libvirt.management_network_keep = true
    libvirt.storage :file, device: :cdrom, path: "{pool}/vagrant-seed.img"
    libvirt.graphics_type = "none"
  end
end
"""
BY_VAGRANT = """set -eu
cd "$1"
cloud-localds seed.img user-data && mv seed.img {pool}/vagrant-seed.img
vagrant up --no-provision
vagrant ssh -c 'cloud-init status --wait' >/dev/null
"""
AWAY = "virsh -q -c qemu:///system destroy hand; virsh -q -c qemu:///system undefine hand; rm -f {pool}/hand.qcow2 {pool}/hand-seed.img"


def inside(command):
    """The command where libvirt is: in the namespaces of the private one, where there is one."""
    daemon = pathlib.Path("/run/quaylab/private/run/libvirtd.pid")
    if not daemon.exists():
        return command
    return ["nsenter", "--net", "--mount", "--target", daemon.read_text().strip(), "--", *command]


def timed(command, cwd=None):
    return told(command, cwd)[0]


def told(command, cwd=None):
    """How long a command that must succeed took, and what it printed."""
    started = time.monotonic()
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))[:200]} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}")
    return time.monotonic() - started, done.stdout


def waited(output):
    """The seconds that a run with -v says it waited for the guest."""
    return sum(sum(json.loads(stages).values()) for stages in re.findall(r'"waited": (\{[^}]*\})', output))


@contextlib.contextmanager
def lab(folder, quaylab):
    inventory = folder / "qlboot.inv"
    inventory.write_text(INVENTORY)
    try:
        timed([quaylab, "run", "-i", inventory, "-y", "--limit", "hypervisor", ROOT / "tests/vm/provision.yml"])
        yield inventory
    finally:
        subprocess.run([quaylab, "destroy", "-i", inventory, "--yes"], capture_output=True, stdin=subprocess.DEVNULL, check=False)


class Vagrant:
    """vagrant-libvirt on its own folder: the box is added and uploaded once, before anything is timed."""

    def __init__(self, folder, accelerator):
        self.folder = folder / "vagrant"
        self.words = {"folder": self.folder, "pool": POOL, "accelerator": accelerator, "cpu_mode": "custom" if accelerator == "qemu" else "host-passthrough",
                      "cpu_model": 'libvirt.cpu_model = "Nehalem"' if accelerator == "qemu" else ""}
        self.folder.mkdir()
        for name in ("key", "user-data"):
            shutil.copy2(folder / name, self.folder / name)
        (self.folder / "Vagrantfile").write_text(VAGRANTFILE.format(**self.words))
        box = self.folder / "box"
        box.mkdir()
        information = json.loads(subprocess.run(["qemu-img", "info", "--output=json", IMAGE], capture_output=True, text=True, check=True).stdout)
        (box / "metadata.json").write_text(json.dumps({"provider": "libvirt", "format": "qcow2", "virtual_size": -(-information["virtual-size"] // 2**30)}))
        os.symlink(os.path.realpath(IMAGE), box / "box.img")
        timed(["tar", "-chf", self.folder / "qlboot.box", "-C", box, "metadata.json", "box.img"])
        self.run("vagrant box add --provider libvirt --name qlboot qlboot.box && rm qlboot.box")
        self.up()
        self.away()

    def run(self, script):
        home = f"VAGRANT_HOME={self.folder}/home"
        return timed(inside(["timeout", "1200", "env", home, "VAGRANT_DEFAULT_PROVIDER=libvirt", "sh", "-c", f'cd "{self.folder}" && {script}', "sh", self.folder]))

    def up(self):
        return self.run(BY_VAGRANT.format(**self.words))

    def again(self):
        return self.run("vagrant up --no-provision")

    def away(self):
        self.run("vagrant destroy -f")

    def close(self):
        """Its box volume in the pool goes with it."""
        with contextlib.suppress(SystemExit):
            self.away()
        with contextlib.suppress(SystemExit):
            self.run("for v in $(virsh -q -c qemu:///system vol-list qlboot | awk '$1 ~ /vagrant/ { print $1 }'); do virsh -q -c qemu:///system vol-delete --pool qlboot $v; done")


def measure(folder, inventory, quaylab, rounds, with_vagrant):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
    (folder / "user-data").write_text("#cloud-config\nusers:\n  - {name: debian, sudo: 'ALL=(ALL) NOPASSWD:ALL', shell: /bin/bash, ssh_authorized_keys: ['"
                                      + (folder / "key.pub").read_text().strip() + "']}\n")
    run = [quaylab, "run", "-i", inventory, "-y", ROOT / "tests/vm/provision.yml"]
    seen, vagrant, accelerator = collections.defaultdict(list), None, None
    away = [quaylab, "destroy", "-i", inventory, "--host", "guest.qlboot.lan", "--yes"]
    # The image comes into the pool before anything is timed, as the box does.
    timed(run)
    timed(away)
    with contextlib.ExitStack() as made:
        for number in range(rounds):
            took, output = told([*run, "-v"])
            seen["quaylab"].append(took)
            seen["overhead"].append(took - waited(output))
            seen["quaylab again"].append(timed(run))
            described = subprocess.run(inside(["virsh", "-c", "qemu:///system", "dumpxml", "guest"]), capture_output=True, text=True, check=True).stdout
            accelerator = "kvm" if "type='kvm'" in described else "qemu"
            timed(away)
            words = {"image": IMAGE, "pool": POOL, "accelerator": accelerator}
            try:
                seen["virt-install"].append(timed(inside(["timeout", "900", "sh", "-c", BY_HAND.format(**words), "sh", folder])))
            finally:
                subprocess.run(inside(["sh", "-c", AWAY.format(**words)]), capture_output=True, check=False)
            if with_vagrant:
                vagrant = vagrant or made.enter_context(contextlib.closing(Vagrant(folder, accelerator)))
                seen["vagrant"].append(vagrant.up())
                seen["vagrant again"].append(vagrant.again())
                vagrant.away()
            print(f"    round {number + 1}: " + ", ".join(f"{name} {times[-1]:.1f} s" for name, times in seen.items()), flush=True)
    return {name: statistics.median(times) for name, times in seen.items()}, accelerator


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quaylab", default=str(ROOT / "target/release/quaylab"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-vagrant", action="store_true", help="vagrant-libvirt takes minutes a round under software emulation")
    options = parser.parse_args()
    missing = [name for name in ("virt-install", "cloud-localds", "qemu-img") if not shutil.which(name)]
    if missing or os.geteuid() != 0 or not pathlib.Path(IMAGE).exists():
        print(f"skipped boot: it wants root, {IMAGE} (`make image`), virt-install, cloud-localds and qemu-img; missing here: {', '.join(missing) or 'no program'}")
        return
    with_vagrant = not options.without_vagrant and shutil.which("vagrant") is not None
    with tempfile.TemporaryDirectory(prefix="qlboot") as name, lab(pathlib.Path(name), options.quaylab) as inventory:
        seen, accelerator = measure(pathlib.Path(name), inventory, options.quaylab, options.rounds, with_vagrant)
    names = {"vagrant": "vagrant-libvirt, its box added and uploaded before", "virt-install": "virt-install and cloud-localds", "quaylab": "quaylab, the image in its pool before",
             "overhead": "quaylab, besides waiting for the guest (overlay, seed, definition, start)",
             "vagrant again": "all is there: vagrant-libvirt", "quaylab again": "all is there: quaylab"}
    rows = [(title, seen[name]) for name, title in names.items() if name in seen]
    text = "\n".join([f"## A VM from its definition to the end of cloud-init\nMedians of {options.rounds} rounds in alternation on {machine()}; "
                      f"{'KVM' if accelerator == 'kvm' else 'software emulation'}; 1 virtual processor, 768 MB, the quickstart's image; network and pool are there.\n",
                      "| | median |", "| --- | ---: |", *(f"| {name} | {seconds:.1f} s |" for name, seconds in rows), ""])
    document = ROOT / "docs/benchmarks.md"
    document.write_text(replace_section(document.read_text(), "boot", text))
    print(f"wrote boot into {document}")


if __name__ == "__main__":
    main()
