#!/bin/sh
# installed.sh: a VM gets its system from an ISO and a kickstart, once; a failed installation says why, one that was killed begins anew.
# The installer is a stand-in: the guest image's own kernel and initrd with a program that does of a kickstart what matters
# here (tests/standins/installer); the system that it writes says that it was booted, and stops.
set -eu
me=installed.sh
. "$(dirname -- "$0")/lib.sh"
outer=$lab
lab=$scratch/installed.inv

# The ISO: a kernel and an initrd where Fedora's and RHEL's have theirs.
mkdir -p "$scratch/iso/images/pxeboot" "$scratch/added/stand-in"
for file in vmlinuz initrd.img; do
    "$program" ssh -i "$outer" quay.quaylab.lan "sudo cat /$file" >"$scratch/iso/images/pxeboot/$file" </dev/null
done
cp tests/standins/installer "$scratch/added/installer"
cp /bin/busybox "$scratch/added/stand-in/busybox"
speaking_disk "$scratch/added/system"
mv "$scratch/iso/images/pxeboot/initrd.img" "$scratch/system.img"
(cd "$scratch/added" && find . | cpio -o -H newc --quiet) | cat - "$scratch/system.img" >"$scratch/iso/images/pxeboot/initrd.img"
genisoimage -quiet -R -J -o "$scratch/os.iso" "$scratch/iso" 2>/dev/null

cat >"$lab" <<X
[hypervisor]
127.0.0.1 ansible_connection=local
[hypervisor:vars]
libvirt_private=auto
libvirt_bridges=[{'name': 'installed', 'bridge': 'virbr-inst', 'ip_address': '192.168.233.254', 'ip_netmask': '255.255.255.0', 'dhcp_start': '192.168.233.1', 'dhcp_end': '192.168.233.99'}]
libvirt_pools=[{'installed': {'type': 'dir', 'path': '/var/lib/quaylab/installed'}}]
[lab]
sys.installed.lan
[lab:vars]
quaylab_lab=installed
ansible_user=ann
image_uri=file://$scratch/os.iso
vm_pool=installed
vm_root_size=64M
vm_install_ram=512
vm_wait=false
vm_wait_install=120
extra_cmd_args=rdinit=/installer quiet
cloud_user_passwd=s3cret-word
install_packages=['vim']
run_cmds=['echo a command of the lab ran >/dev/ttyS0']
resources={'vcpus': 1, 'ram': 64, 'network': 'installed', 'disks': [{'size': '16M', 'pool': 'installed'}]}
X
destroy_at_end
quaylab() { "$program" "$@" >"$scratch/log" 2>&1 </dev/null; }
volumes() { virsh_inside vol-list installed | awk '$1 != "" && $1 != "Name" && !/^-/ { print $1 }' | sort | tr '\n' ' '; }
console() { cat /var/log/libvirt/qemu/sys-console.log 2>/dev/null || inside cat /var/log/libvirt/qemu/sys-console.log; }

# Another kind of ISO is refused before it is uploaded.
mkdir -p "$scratch/other/casper"
echo kernel >"$scratch/other/casper/vmlinuz"
genisoimage -quiet -R -o "$scratch/other.iso" "$scratch/other"
for check in --check ''; do
    code=0
    # shellcheck disable=SC2086 # no word where it is empty
    quaylab run -i "$lab" tests/vm/provision.yml -e "image_uri=file://$scratch/other.iso" $check || code=$?
    [ "$code" = 2 ] || fail "an ISO without an installer ended with $code" "$scratch/log"
    grep -qF 'it is no installer that takes a kickstart' "$scratch/log" || fail "it does not say what is wrong with the ISO" "$scratch/log"
done
[ "$(volumes)" = 'sys-vdb sys.qcow2 ' ] || fail "after the refusal there is: $(volumes)"
quaylab destroy -i "$lab" --yes || fail "the removal ended with $?" "$scratch/log"

quaylab run -i "$lab" tests/vm/provision.yml --check || fail "the check ended with $?" "$scratch/log"
grep -q 'TASK \[vm : Operating system\]' "$scratch/log" || fail 'the check says nothing of the installation' "$scratch/log"

# A kickstart that fails: the VM ends before it is through, and that is no installation.
printf 'text\nuser --name={{ vm_user }}\nignoredisk --only-use=vda\npoweroff\n%%post --erroronfail\necho there is no such package >&2\nexit 1\n%%end\n' >"$scratch/broken.ks"
code=0
quaylab run -i "$lab" tests/vm/provision.yml -e "kickstart_template=$scratch/broken.ks" || code=$?
[ "$code" = 2 ] || fail "a kickstart that fails ended with $code" "$scratch/log"
for part in 'installing sys: the VM ended before the kickstart did' 'there is no such package' 'mend the kickstart and run again'; do
    grep -qF "$part" "$scratch/log" || fail "it does not say '$part'" "$scratch/log"
done

# Interrupted while the installer runs, killed while it runs, and run again.
for signal in INT KILL; do
    start "$scratch/broken.log" tests/vm/provision.yml
    for _ in $(seq 600); do
        grep -q 'TASK \[vm : Operating system\]' "$scratch/broken.log" && [ "$(virsh_inside domstate sys 2>/dev/null)" = running ] && break
        kill -0 "$run_pid" 2>/dev/null || fail 'the run ended before its VM ran' "$scratch/broken.log"
        sleep 0.1
    done
    sleep 1
    kill -"$signal" "$run_pid"
    code=0
    wait "$run_pid" || code=$?
    [ "$signal $code" = 'INT 130' ] || [ "$signal $code" = 'KILL 137' ] || fail "after $signal it ended with $code" "$scratch/broken.log"
done
quaylab run -i "$lab" tests/vm/provision.yml --diff || fail "the run after the kill ended with $?" "$scratch/log"
if grep -q s3cret-word "$scratch/log"; then fail 'a password is shown' "$scratch/log"; fi
console >"$scratch/console"
for part in 'stand-in: ann may log in with 1 key and by password' 'a command of the lab ran' 'quaylab: installed '; do
    grep -qF "$part" "$scratch/console" || fail "the console does not say '$part'" "$scratch/console"
done
for _ in $(seq 60); do
    console | grep -q 'booted from its own volume' && break
    sleep 1
done
console | grep -q 'booted from its own volume' || fail 'the VM does not boot what was installed' "$scratch/console"
[ "$(volumes | sed 's/quaylab-base-[0-9a-f]*/ISO/')" = 'ISO.raw sys-vdb sys.qcow2 ' ] || fail "in the pool there is: $(volumes)"
virsh_inside dumpxml sys >"$scratch/sys.xml"
if grep -qE '<kernel>|cdrom' "$scratch/sys.xml"; then fail 'the VM still boots the installer' "$scratch/sys.xml"; fi
quaylab run -i "$lab" tests/vm/provision.yml || fail "the second run ended with $?" "$scratch/log"
expect_unchanged "$scratch/log"
say 'a system installed from an ISO by a kickstart: once, also after a failure and a kill'
