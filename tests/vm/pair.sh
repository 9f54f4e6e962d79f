#!/bin/sh
# pair.sh: two VMs come up side by side; `run --replace` makes one anew.
set -eu
me=pair.sh
. "$(dirname -- "$0")/lib.sh"
[ "$(nproc)" -ge 2 ] || { say 'skipped: two VMs side by side, one made anew: this machine has one core'; exit 0; }
lab=$scratch/pair.inv
cat >"$lab" <<X
[hypervisor]
127.0.0.1 ansible_connection=local
[hypervisor:vars]
libvirt_private=auto
libvirt_bridges=[{'name': 'pair', 'bridge': 'virbr-pair', 'ip_address': '192.168.232.254', 'ip_netmask': '255.255.255.0', 'dhcp_start': '192.168.232.1', 'dhcp_end': '192.168.232.99'}]
libvirt_pools=[{'pair': {'type': 'dir', 'path': '/var/lib/quaylab/pair'}}]
[lab]
one.pair.lan ip=192.168.232.150
two.pair.lan
[lab:vars]
quaylab_lab=pair
ansible_user=debian
image_uri=file:///var/cache/quaylab/images/debian-12.qcow2
vm_pool=pair
resources={'vcpus': 1, 'ram': 768, 'network': 'pair'}
X
destroy_at_end
# took ARGUMENT...: the milliseconds of a run.
took() {
    took_start=$(date +%s%N)
    "$program" run -i "$lab" -y tests/vm/provision.yml "$@" >"$scratch/log" 2>&1 </dev/null || fail "the run ended with $?" "$scratch/log"
    echo $((($(date +%s%N) - took_start) / 1000000))
}
# age NAME: for how many seconds a VM's process has run.
age() {
    age_pid=$(pgrep -f -- "-name guest=$1," | head -n 1)
    [ -n "$age_pid" ] || fail "no process runs the VM $1"
    ps -o etimes= -p "$age_pid" | tr -d ' '
}
both=$(took)
# One after the other, the second would begin when the first has come up: in the middle of the run, however slow the machine is.
first=$(age one)
second=$(age two)
apart=$((first - second))
apart=${apart#-}
say "two VMs side by side: begun $apart s apart, up after $((both / 1000)) s"
[ $((apart * 4000)) -lt "$both" ] || fail "the second VM began $apart s after the first, in a run of $((both / 1000)) s"
[ "$(virsh_inside domifaddr one --source lease | awk '{ sub("/.*", "", $4); print $4; exit }')" = 192.168.232.150 ] ||
    fail "the VM does not have the address that was reserved for it"
before=$(virsh_inside domuuid one)
took --replace one.pair.lan --limit 'hypervisor:one.pair.lan' >/dev/null
[ "$(virsh_inside domuuid one)" != "$before" ] || fail "--replace did not make the VM anew"
