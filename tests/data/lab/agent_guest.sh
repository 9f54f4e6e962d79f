#!/bin/sh
# agent_guest.sh FOLDER: makes FOLDER/kernel and FOLDER/initrd, a Linux that takes an address from DHCP and runs qemu's guest agent, and
# nothing else. Of Debian's kernel and agent; the rest is this machine's.
set -eu
folder=$1
for tool in busybox apt-get dpkg-deb cpio ldd; do
    command -v "$tool" >/dev/null || { echo "$tool is not installed"; exit 1; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
kernel=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends:/ { print $2; exit }')
apt-get -q download "$kernel" >log 2>&1 || { cat log; exit 1; }
# The newest that the mirror has: its lists may name one that is on its way in or out.
for version in $(apt-cache madison qemu-guest-agent | awk -F '|' '{ gsub(/ /, "", $2); print $2 }'); do
    apt-get -q download "qemu-guest-agent=$version" >>log 2>&1 && break
done
[ -n "$(find . -name 'qemu-guest-agent*.deb')" ] || { cat log; exit 1; }
mkdir packages root
for package in *.deb; do dpkg-deb -x "$package" packages; done
cd root
mkdir -p bin dev proc sys var/run lib/modules
cp "$(command -v busybox)" bin/busybox
cp ../packages/usr/sbin/qemu-ga bin/
for library in $(ldd bin/qemu-ga bin/busybox 2>/dev/null | grep -o '/[^ ]*[.]so[^ ]*'); do
    mkdir -p ".$(dirname "$library")"
    cp -L "$library" ".$library"
done
# In the order in which they need each other.
modules='virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci failover net_failover virtio_net virtio_console'
for module in $modules; do
    found=$(find ../packages/lib/modules -name "$module.ko")
    # What is not there is built in.
    [ -z "$found" ] || cp "$found" lib/modules/
done
cat >init <<X
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in $modules; do
    [ ! -e /lib/modules/\$module.ko ] || insmod /lib/modules/\$module.ko
done
ip link set lo up
card=\$(ls /sys/class/net | grep -v lo | head -1)
cat >/lease <<'Y'
#!/bin/busybox sh
[ "\$1" != bound ] || ip address add "\$ip/\$mask" dev "\$interface"
Y
chmod +x /lease
ip link set "\$card" up
udhcpc -f -q -i "\$card" -s /lease
echo ready >/dev/ttyS0
while :; do
    qemu-ga -m virtio-serial -p "/dev/\$(ls /sys/class/virtio-ports | head -1)"
    sleep 1
done
X
chmod +x init
find . | cpio -o -H newc 2>/dev/null | gzip -1 >"$work/initrd"
cp ../packages/boot/vmlinuz-* "$folder/kernel"
mv "$work/initrd" "$folder/initrd"
