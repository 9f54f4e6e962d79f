#!/bin/sh
# remote.sh: two hypervisors, each only reached by SSH, each with a network that only it reaches, and that has the same addresses as
# the other's. VMs are placed by `hypervisor=` and by free memory; one has a real system and is worked on through its hypervisor.
set -eu
me=remote.sh
if [ "${1:-}" != inside ]; then
    exec unshare --net --mount --pid --fork --kill-child --mount-proc sh "$0" inside
fi
. "$(dirname -- "$0")/lib.sh"
export XDG_STATE_HOME="$scratch/state"
lab=$scratch/far.inv
finish() {
    code=$?
    trap - EXIT
    exec 8>&- 9>&-
    [ -z "${first:-}" ] || wait "$first" 2>/dev/null || true
    [ -z "${second:-}" ] || wait "$second" 2>/dev/null || true
    rm -rf -- "$scratch"
    exit "$code"
}
trap finish EXIT
ip link set lo up
ssh-keygen -q -t ed25519 -N '' -f "$scratch/key"
mkfifo "$scratch/first.stays" "$scratch/second.stays"
for name in first second; do mkdir "$scratch/$name"; done
tests/data/lab/hypervisor.sh "$scratch/first" 10.99.1.2 "$scratch/key" <"$scratch/first.stays" >"$scratch/first.log" 2>&1 &
first=$!
exec 8>"$scratch/first.stays"
tests/data/lab/hypervisor.sh "$scratch/second" 10.99.2.2 "$scratch/key" <"$scratch/second.stays" >"$scratch/second.log" 2>&1 &
second=$!
exec 9>"$scratch/second.stays"
# namespace_of PID: the first process of the namespaces that `unshare --fork` made.
namespace_of() {
    for _ in $(seq 100); do
        of=$(cat "/proc/$1/task/$1/children" 2>/dev/null | awk '{ print $1 }')
        [ -z "$of" ] || [ "$(readlink "/proc/$of/ns/net")" = "$(readlink /proc/self/ns/net)" ] || { echo "$of"; return; }
        sleep 0.1
    done
    return 1
}
number=0
for pid in "$first" "$second"; do
    number=$((number + 1))
    there=$(namespace_of "$pid") || fail "hypervisor $number does not start" "$scratch/first.log"
    ip link add "down$number" type veth peer name up0 netns "$there"
    ip address add "10.99.$number.1/24" dev "down$number"
    ip link set "down$number" up
done
on_first() { nsenter --target "$(namespace_of "$first")" --mount --net --pid -- "$@"; }
on_second() { nsenter --target "$(namespace_of "$second")" --mount --net --pid -- "$@"; }
for _ in $(seq 300); do
    if on_first test -S /run/libvirt/libvirt-sock && on_second test -S /run/libvirt/libvirt-sock; then break; fi
    sleep 0.1
done
on_second test -S /run/libvirt/libvirt-sock || fail 'the second libvirtd does not start' "$scratch/second.log"
key_of() { cut -d' ' -f1,2 "$scratch/$1/host_key.pub"; }

# A disk that says on the serial console that it was booted, and stops.
speaking_disk "$scratch/small.img"
truncate -s 1M "$scratch/small.img"
cat >"$lab" <<X
[hypervisor]
first ansible_host=10.99.1.2 quaylab_ssh_host_key='$(key_of first)'
second ansible_host=10.99.2.2 quaylab_ssh_host_key='$(key_of second)'
[hypervisor:vars]
ansible_user=root
ansible_ssh_private_key_file=$scratch/key
libvirt_bridges=[{'name': 'far', 'bridge': 'virbr-far', 'ip_address': '192.168.234.254', 'ip_netmask': '255.255.255.0', 'dhcp_start': '192.168.234.1', 'dhcp_end': '192.168.234.99'}]
libvirt_pools=[{'far': {'type': 'dir', 'path': '/srv/far'}}]
[lab]
real.far.lan hypervisor=second ansible_user=debian image_uri=file:///var/cache/quaylab/images/debian-12.qcow2
small.far.lan vm_wait=false image_uri=file://$scratch/small.img
[lab:vars]
quaylab_lab=far
vm_pool=far
resources={'vcpus': 2, 'ram': 768, 'network': 'far'}
X
cat >"$scratch/own.yml" <<'X'
- hosts: real.far.lan
  gather_facts: false
  tasks:
    - name: A file of the guest
      ansible.builtin.copy: {content: "behind {{ inventory_hostname }}\n", dest: /tmp/own}
      become: true
X
mkdir "$scratch/passing"
quaylab() { TMPDIR=$scratch/passing "$program" "$@" >"$scratch/log" 2>&1 </dev/null; }
vms() { "$1" virsh -q -c qemu:///system list --all --name | grep . | tr '\n' ' '; }

quaylab plan -i "$lab" || fail "the plan ended with $?" "$scratch/log"
quaylab run -i "$lab" tests/vm/provision.yml || fail "the run ended with $?" "$scratch/log"
[ "$(vms on_first)" = 'small ' ] || fail "the first hypervisor has: $(vms on_first)" "$scratch/log"
[ "$(vms on_second)" = 'real ' ] || fail "the second hypervisor has: $(vms on_second)" "$scratch/log"
quaylab run -i "$lab" tests/vm/provision.yml || fail "the second run ended with $?" "$scratch/log"
expect_unchanged "$scratch/log"
say 'placed, and left alone by a second run'

quaylab run -i "$lab" "$scratch/own.yml" || fail "the own playbook ended with $?" "$scratch/log"
quaylab ssh -i "$lab" real.far.lan 'cat /tmp/own' || fail "ssh ended with $?" "$scratch/log"
grep -qx 'behind real.far.lan' "$scratch/log" || fail 'the guest was not reached' "$scratch/log"
quaylab snapshot create -i "$lab" kept || fail "the snapshot ended with $?" "$scratch/log"
quaylab ssh -i "$lab" real.far.lan 'sudo rm /tmp/own; sync' || fail "ssh ended with $?" "$scratch/log"
quaylab snapshot restore -i "$lab" kept --yes || fail "going back ended with $?" "$scratch/log"
quaylab ssh -i "$lab" real.far.lan 'cat /tmp/own' || fail "after going back ssh ended with $?" "$scratch/log"
grep -qx 'behind real.far.lan' "$scratch/log" || fail 'the guest is not as it was' "$scratch/log"
quaylab status -i "$lab" || fail "status ended with $?" "$scratch/log"
for vm in real small; do grep -q "$vm.*running" "$scratch/log" || fail "status does not say that $vm runs" "$scratch/log"; done
quaylab destroy -i "$lab" --yes || fail "destroy ended with $?" "$scratch/log"
for on in on_first on_second; do
    [ -z "$(vms $on)" ] || fail "after destroy there is still: $(vms $on)" "$scratch/log"
    [ -z "$($on find /srv /var/lib/quaylab -mindepth 1 2>/dev/null)" ] || fail "after destroy there are files: $($on find /srv /var/lib/quaylab -mindepth 1)" "$scratch/log"
done
[ -z "$(ls -A "$scratch/passing")" ] || fail "what was to pass is left: $(ls -A "$scratch/passing")" "$scratch/log"
say 'a guest behind its hypervisor: worked on, gone back to a snapshot, removed'
