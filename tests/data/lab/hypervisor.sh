#!/bin/sh
# hypervisor.sh WORK ADDRESS KEY: a machine of its own, as far as SSH and libvirt see one: namespaces with a libvirtd and an sshd
# at ADDRESS on the interface up0, which the caller puts there. Lives until its standard input ends.
set -eu
if [ "${4:-}" != inside ]; then
    exec unshare --net --mount --pid --fork --kill-child --mount-proc sh "$0" "$1" "$2" "$3" inside
fi
work=$1 address=$2 key=$3
mount --make-rprivate /
mount -t sysfs sysfs /sys
ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_forward
mkdir -p "$work/etc" "$work/srv"
cp -r /etc/libvirt/. "$work/etc/"
rm -rf "$work/etc/qemu" "$work/etc/storage"
cp "$(dirname -- "$0")/qemu.conf" "$work/etc/"
printf 'auth_unix_rw = "none"\nlog_outputs = "2:file:%s"\n' "$work/libvirtd.log" >"$work/libvirtd.conf"
# What is written below these is this machine's alone.
for folder in /run /var/lib /var/log /var/cache; do mount -t tmpfs tmpfs "$folder"; done
mkdir -p /run/sshd /run/libvirt /run/lock /var/lib/libvirt/qemu /var/lib/libvirt/dnsmasq /var/cache/libvirt /var/log/libvirt/qemu
mount --bind "$work/etc" /etc/libvirt
mount --bind "$work/srv" /srv
# A login shell that starts at once.
sed 's,^\(root:.*:\)[^:]*$,\1/bin/sh,' /etc/passwd >"$work/passwd"
mount --bind "$work/passwd" /etc/passwd
tries=0
until ip link set up0 up 2>/dev/null; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || exit 1
    sleep 0.1
done
ip address add "$address/24" dev up0
cp "$key.pub" "$work/authorized_keys"
chmod 600 "$work/authorized_keys"
cat >"$work/sshd_config" <<X
ListenAddress $address
HostKey $work/host_key
AuthorizedKeysFile $work/authorized_keys
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
UseDNS no
PidFile none
Subsystem sftp internal-sftp
X
ssh-keygen -q -t ed25519 -N '' -f "$work/host_key"
/usr/sbin/sshd -D -f "$work/sshd_config" -E "$work/sshd.log" </dev/null &
libvirtd --config "$work/libvirtd.conf" --pid-file /run/libvirtd.pid </dev/null &
cat >/dev/null
