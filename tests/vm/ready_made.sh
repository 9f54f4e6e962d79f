#!/bin/sh
# ready_made.sh: the VM as a machine that somebody else made, configured through an inventory without a hypervisor;
# and its storage role, which refuses a disk that holds something.
set -eu
me=ready_made.sh
. "$(dirname -- "$0")/lib.sh"
ip=$(address)
[ -n "$ip" ] || fail "the VM has no address"
key=$state/id_ed25519
ssh_in() { inside ssh -i "$key" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR "debian@$ip" "$@" </dev/null; }
# The key that the host answers with is given, as an inventory of ready-made machines does it.
host_key=$(ssh-keygen -y -f "$state/hosts/quay/ssh_host_ed25519_key" | cut -d' ' -f1,2)
[ -n "$host_key" ] || fail "there is no host key in $state/hosts/quay"
ready() {
    inside "$program" run -i tests/vm/ready.inv -e "ansible_host=$ip" -e "ansible_ssh_private_key_file=$key" \
        -e "{\"quaylab_ssh_host_key\": \"$host_key\"}" "$@" </dev/null
}
ready >"$scratch/log" 2>&1 || fail "the run on a ready-made machine ended with $?" "$scratch/log"
grep -q 'no VM is made' "$scratch/log" || fail "it does not say that no VM is made" "$scratch/log"
grep -qE '^ +registry +[^ ]+ +pull +[<0-9]+ +the same image' "$scratch/log" || fail "the registry was not verified" "$scratch/log"
expect_unchanged "$scratch/log"

# A disk with a file system on it.
device=$(ssh_in 'sudo sh -c "truncate -s 64M /root/foreign.img && losetup --find --show /root/foreign.img"')
ssh_in sudo mkfs.ext4 -q -L precious "$device"
code=0
ready --tags docker_storage -e "{\"docker_storage_devs\": [\"$device\"]}" -e docker_storage_vg=foreign-vg \
    -e docker_storage_path=/mnt/foreign >"$scratch/log" 2>&1 || code=$?
[ "$code" = 2 ] || fail "the foreign disk was not refused: exit code $code" "$scratch/log"
sed -n '/^fatal: /,/^$/p' "$scratch/log"
sed -n '/^fatal: /,/^$/p' "$scratch/log" | grep -F "$device" | grep -q ext4 || fail "the refusal does not say what holds what" "$scratch/log"
[ "$(ssh_in sudo blkid -s LABEL -o value "$device")" = precious ] || fail "the file system on the disk is gone"
ssh_in "sudo losetup --detach $device && sudo rm /root/foreign.img"
