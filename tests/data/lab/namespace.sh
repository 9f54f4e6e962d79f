#!/bin/sh
# namespace.sh WORK: a libvirtd of its own, in namespaces for network, mounts and processes.
# Lives until its standard input ends; then everything that it started ends with it.
set -eu
if [ "${2:-}" != inside ]; then
    exec unshare --net --mount --pid --fork --kill-child --mount-proc sh "$0" "$1" inside
fi
work=$1
mount --make-rprivate /
mount -t sysfs sysfs /sys
ip link set lo up
echo 1 > /proc/sys/net/ipv4/ip_forward
mkdir -p "$work/run" "$work/lib" "$work/cache" "$work/log/qemu" "$work/etc" "$work/sock"
cp -r /etc/libvirt/. "$work/etc/"
rm -rf "$work/etc/qemu" "$work/etc/storage"
cp "$(dirname -- "$0")/qemu.conf" "$work/etc/"
cat > "$work/libvirtd.conf" <<X
unix_sock_dir = "$work/sock"
auth_unix_rw = "none"
log_outputs = "2:file:$work/libvirtd.log"
X
mkdir -p /run/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt
mount --bind "$work/etc" /etc/libvirt
mount --bind "$work/run" /run/libvirt
mount --bind "$work/lib" /var/lib/libvirt
mount --bind "$work/cache" /var/cache/libvirt
mount --bind "$work/log" /var/log/libvirt
mkdir -p /var/lib/libvirt/qemu /var/lib/libvirt/dnsmasq
libvirtd --config "$work/libvirtd.conf" --pid-file "$work/libvirtd.pid" < /dev/null &
cat > /dev/null
