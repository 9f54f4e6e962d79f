#!/bin/sh
# nested.sh: a guest that is a hypervisor itself, driven by SSH: networks, a folder pool, an LVM pool, an image converted
# into a logical volume, growth, refusals, kill -9, and destruction from the marks alone. This machine's own kernel may
# have no device-mapper; the guest's has.
set -eu
me=nested.sh
. "$(dirname -- "$0")/lib.sh"
images=/var/cache/quaylab/images
states=${XDG_STATE_HOME:-$HOME/.local/state}/quaylab
key=$states/nested-outer/id_ed25519
started=$(date +%s)
# told WHAT: how far it is and when.
told() { say "$(($(date +%s) - started)) s: $1"; }

cat >"$scratch/outer.inv" <<X
[hypervisor]
127.0.0.1 ansible_connection=local
[hypervisor:vars]
libvirt_private=auto
libvirt_bridges=[{'name': 'nested-outer', 'bridge': 'virbr-outer', 'domain': 'outer.lan', 'ip_address': '192.168.231.254', 'ip_netmask': '255.255.255.0', 'dhcp_start': '192.168.231.1', 'dhcp_end': '192.168.231.99'}]
libvirt_pools=[{'nested-outer': {'type': 'dir', 'path': '/var/lib/quaylab/nested-outer'}}]
[lab]
hv.outer.lan
[lab:vars]
quaylab_lab=nested-outer
ansible_user=root
image_uri=file://$images/debian-12-hypervisor.qcow2
resources={'vcpus': 2, 'ram': 1536, 'disks': [{'size': 1, 'pool': 'nested-outer'}], 'network': 'nested-outer'}
X

# Whatever happens, the outer lab goes; the inner one lives in it.
finish() {
    code=$?
    trap - EXIT
    [ -z "${run_pid:-}" ] || kill -KILL "$run_pid" 2>/dev/null || true
    "$program" destroy -i "$scratch/outer.inv" --yes >"$scratch/outer-destroy.log" 2>&1 </dev/null ||
        { cat "$scratch/outer-destroy.log" >&2; code=1; }
    rm -rf -- "$states/nested-inner" "$scratch"
    exit "$code"
}
trap finish EXIT

"$program" run -i "$scratch/outer.inv" tests/vm/provision.yml >"$scratch/outer.log" 2>&1 </dev/null ||
    fail "the hypervisor did not come up" "$scratch/outer.log"
address=$(virsh_inside domifaddr hv --source lease | awk '{ sub("/.*", "", $4); print $4; exit }')
[ -n "$address" ] || fail "the hypervisor has no address"
told "a guest that is a hypervisor runs at $address"
host_key=$(ssh-keygen -y -f "$states/nested-outer/hosts/hv/ssh_host_ed25519_key" | cut -d' ' -f1,2)
echo "hv $host_key" >"$scratch/known_hosts"
# on_hv COMMAND...: one command line on the guest, as root.
on_hv() {
    inside timeout 120 ssh -i "$key" -o UserKnownHostsFile="$scratch/known_hosts" -o HostKeyAlias=hv -o StrictHostKeyChecking=yes \
        -o LogLevel=ERROR -o ConnectTimeout=20 -o ServerAliveInterval=5 -o ControlMaster=auto -o ControlPath="$scratch/ssh" -o ControlPersist=600 "root@$address" "$@" </dev/null
}

# A disk that says on the serial console that it was booted, and stops: 16-bit code in a boot sector, then noise.
speaking_disk "$scratch/inner.raw"
head -c 3000000 /dev/urandom >>"$scratch/inner.raw"
truncate -s 32M "$scratch/inner.raw"
digest=$(sha256sum <"$scratch/inner.raw" | cut -d' ' -f1)
qemu-img convert -f raw -O qcow2 "$scratch/inner.raw" "$scratch/inner.qcow2"

# inner_inventory FILE SIZE HOST...: the inner lab, its first extra disk so large.
inner_inventory() {
    inner_file=$1 inner_size=$2
    shift 2
    cat >"$inner_file" <<X
[hypervisor]
hv ansible_host=$address ansible_user=root ansible_ssh_private_key_file=$key
[hypervisor:vars]
libvirt_private=auto
quaylab_ssh_host_key=$host_key
libvirt_bridges=[{'name': 'inner', 'bridge': 'virbr-inner', 'ip_address': '192.168.241.254', 'ip_netmask': '255.255.255.0', 'dhcp_start': '192.168.241.1', 'dhcp_end': '192.168.241.99'}]
libvirt_pools=[{'inner-vg': {'type': 'lvm', 'path': '/dev/vdb'}}, {'inner-files': {'type': 'dir', 'path': '/srv/inner'}}]
[lab]
$(printf '%s.inner.lan\n' "$@")
[lab:vars]
quaylab_lab=nested-inner
image_uri=file://$scratch/inner.qcow2
convert_to_lv_on_vg=inner-vg
resources={'vcpus': 1, 'ram': 32, 'disks': [{'size': '$inner_size', 'pool': 'inner-vg'}, {'size': '16M', 'pool': 'inner-files'}], 'network': 'inner'}
vm_accelerator=qemu
vm_wait=false
X
}
inner_inventory "$scratch/inner.inv" 16M disk
# inner LOG [INVENTORY]: one run of the inner lab.
inner() { "$program" run -i "${2:-$scratch/inner.inv}" tests/vm/provision.yml >"$1" 2>&1 </dev/null; }
lv_digest() { on_hv "head -c 32M /dev/inner-vg/$1 | sha256sum" | cut -d' ' -f1; }

# Before anything is there: a run killed where the volume group is about to be made, and destroyed at once.
by_marks() {
    "$program" destroy --lab nested-inner --yes \
        --connect "qemu+ssh://root@$address/system?keyfile=$key&host_key=$(echo "$host_key" | sed 's/ /%20/; s/+/%2B/g')" </dev/null
}
lab=$scratch/inner.inv
start "$scratch/killed.log" tests/vm/provision.yml
await 'TASK [hypervisor : Storage pools]' "$scratch/killed.log"
sleep 0.3
kill -KILL "$run_pid" 2>/dev/null || fail "the run was over before it could be killed" "$scratch/killed.log"
wait "$run_pid" 2>/dev/null || true
by_marks >"$scratch/log" 2>&1 || fail "a destroy right after kill -9 ended with $?" "$scratch/log"
on_hv 'vgs --noheadings -o vg_name; virsh -q pool-list --all --name; virsh -q net-list --all --name' >"$scratch/left"
left=$(awk '$1 != "" && $1 != "default" { print $1 }' "$scratch/left")
[ -z "$left" ] || fail "after kill -9 and destroy there is still: $left" "$scratch/log"
told "killed while the pools were made, and destroyed at once: nothing is left"

inner "$scratch/log" || fail "the inner lab did not come up" "$scratch/log"
told "the inner lab is there"
on_hv lvs --noheadings -o lv_name,lv_tags inner-vg | tee "$scratch/lvs"
for want in 'disk .*quaylab:host=disk.*quaylab:image=sha256:.*quaylab:lab=nested-inner' 'disk-vdb .*quaylab:lab=nested-inner'; do
    grep -qE "^ *$want" "$scratch/lvs" || fail "no logical volume is marked as '$want'"
done
on_hv vgs --noheadings -o vg_tags inner-vg | grep -q 'quaylab:lab=nested-inner' || fail "the volume group is not marked"
[ "$(lv_digest disk)" = "$digest" ] || fail "the logical volume does not hold the image"
on_hv virsh domblklist disk | grep -q '/dev/inner-vg/disk$' || fail "the VM does not boot from its logical volume"

inner "$scratch/log" || fail "the second run failed" "$scratch/log"
expect_unchanged "$scratch/log"
told "the second run changes nothing"

# A snapshot of logical volumes: what is written after it is gone when the lab goes back, and the run that follows changes nothing.
snapshot() { "$program" snapshot "$@" >"$scratch/log" 2>&1 </dev/null || fail "snapshot $1 ended with $?" "$scratch/log"; }
snapshot create -i "$scratch/inner.inv" whole
on_hv 'dd if=/dev/urandom of=/dev/inner-vg/disk bs=1M count=2 seek=4 conv=notrunc status=none; sync'
[ "$(lv_digest disk)" != "$digest" ] || fail "nothing was written to the logical volume"
snapshot restore -i "$scratch/inner.inv" whole --yes
[ "$(lv_digest disk)" = "$digest" ] || fail "the logical volume is not as it was" "$scratch/log"
on_hv virsh domstate disk | grep -q running || fail "the VM does not go on" "$scratch/log"
snapshot rm -i "$scratch/inner.inv" whole
volumes=$(on_hv lvs --noheadings -o lv_name inner-vg | tr -d ' ' | sort | tr '\n' ' ')
[ "$volumes" = 'disk disk-seed.img disk-vdb ' ] || fail "of the snapshot there is still something: $volumes"
inner "$scratch/log" || fail "the run after going back failed" "$scratch/log"
expect_unchanged "$scratch/log"
told "gone back to a snapshot of logical volumes"

# Another image at the same place: the volume in use is a disk with a life of its own.
dd if=/dev/urandom of="$scratch/inner.raw" bs=1M count=1 seek=2 conv=notrunc status=none
qemu-img convert -f raw -O qcow2 "$scratch/inner.raw" "$scratch/inner.qcow2"
# And a larger extra disk, for the VM that runs.
inner_inventory "$scratch/inner.inv" 24M disk
inner "$scratch/log" || fail "the run with another image and a larger disk failed" "$scratch/log"
[ "$(lv_digest disk)" = "$digest" ] || fail "a logical volume in use was written again"
grown=$(on_hv virsh domblkinfo disk vdb | awk '/^Capacity/ { print $2 }')
[ "$grown" = $((24 << 20)) ] || fail "the guest was not told that its disk grew: it has $grown bytes"
told "a volume in use is not written again; its VM's extra disk has grown while it runs"

# What is somebody else's: without a tag, and with another lab's.
on_hv 'lvcreate -qq -y -L 32M -n plain inner-vg && lvcreate -qq -y -L 32M --addtag quaylab:lab=other -n other inner-vg &&
    for lv in plain other; do echo precious >/dev/inner-vg/$lv; done && virsh -q pool-refresh inner-vg' >/dev/null
inner_inventory "$scratch/foreign.inv" 24M plain other
code=0
inner "$scratch/log" "$scratch/foreign.inv" || code=$?
[ "$code" = 2 ] || fail "foreign logical volumes were not refused: exit code $code" "$scratch/log"
for lv in plain other; do
    grep -q "volume inner-vg/$lv exists and was not made by this lab" "$scratch/log" || fail "$lv was not refused" "$scratch/log"
    on_hv "head -c 8 /dev/inner-vg/$lv" | grep -q precious || fail "$lv was written over"
done
told "foreign logical volumes are refused"

# The inner guest says on its console that it runs; its log is read on the hypervisor.
for _ in $(seq 60); do
    on_hv cat /var/log/libvirt/qemu/disk-console.log | grep -q 'booted from its own volume' && break
    sleep 1
done
on_hv cat /var/log/libvirt/qemu/disk-console.log | grep -q 'booted from its own volume' || fail "the inner guest did not boot from its volume"
told "the inner guest has booted from its logical volume"

# All that the controller remembers of the inner lab is lost; a VM and a network of somebody else stand beside it.
rm -rf -- "$states/nested-inner"
on_hv "echo \"<domain type='qemu'><name>foreign</name><memory>65536</memory><os><type>hvm</type></os></domain>\" >/root/f.xml && virsh -q define /root/f.xml"
by_marks >"$scratch/log" 2>&1 || fail "the destroy from the marks alone ended with $?" "$scratch/log"
cat "$scratch/log"
on_hv 'virsh -q list --all --name; virsh -q net-list --all --name; virsh -q pool-list --all --name' | grep . | sort | tr '\n' ' ' >"$scratch/names"
[ "$(cat "$scratch/names")" = 'default foreign ' ] || fail "in libvirt there is: $(cat "$scratch/names")"
[ "$(on_hv lvs --noheadings -o lv_name | tr -d ' ' | sort | tr '\n' ' ')" = 'other plain ' ] || fail "the foreign logical volumes did not stay alone"
[ -z "$(on_hv vgs --noheadings -o vg_tags inner-vg | tr -d ' ')" ] || fail "the volume group that stays is still marked"
[ -z "$(on_hv 'find /var/lib/quaylab /srv/inner 2>/dev/null || true')" ] || fail "files of the lab are left on the hypervisor"
by_marks >"$scratch/log" 2>&1 || fail "a second destroy ended with $?" "$scratch/log"
grep -q 'nothing of the lab nested-inner is left' "$scratch/log" || fail "a second destroy finds something" "$scratch/log"
told "destroyed from the marks alone; what others made is there"
