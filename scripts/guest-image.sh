#!/bin/sh
# guest-image.sh [OUT_DIR [hypervisor]]: the quickstart's guest image, made of Debian packages, without loop devices.
#
# Leaves OUT_DIR/debian-12.qcow2 (a link to debian-12-RECIPE.qcow2) and its .sha256. Where the recipe (this file) has
# not changed, nothing is done. The image boots by BIOS and GRUB with a console on ttyS0, takes a NoCloud
# seed, logs in `debian` (sudo without a password) and has the container engine installed, but not started.
# `hypervisor` makes debian-12-hypervisor.qcow2 instead: the same system with libvirt, QEMU and LVM in the engine's place.
set -eu
me=guest-image.sh
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$here/lib.sh"
out=${1:-/var/cache/quaylab/images}
variant=${2:-engine}
release=bookworm
disk_mib=4096
packages=linux-image-cloud-amd64,initramfs-tools,lz4,systemd-sysv,systemd-resolved,libpam-systemd,dbus,udev,kmod
packages=$packages,cloud-init,cloud-guest-utils,openssh-server,sudo,lvm2,xfsprogs,e2fsprogs,fdisk,gdisk
packages=$packages,iptables,iproute2,iputils-ping,netbase,ca-certificates,curl,procps,less,python3-minimal
case $variant in
engine)
    link=debian-12
    packages=$packages,docker.io
    needs='/usr/bin/dockerd'
    ;;
hypervisor)
    link=debian-12-hypervisor
    packages=$packages,libvirt-daemon-system,libvirt-daemon-driver-qemu,libvirt-clients,qemu-system-x86,qemu-utils,dnsmasq-base
    needs='/usr/sbin/libvirtd /usr/bin/qemu-system-x86_64 /usr/bin/qemu-img /usr/sbin/dnsmasq'
    ;;
*) die "unknown variant '$variant'" "use engine or hypervisor" ;;
esac

image=$link-$(recipe_hash "$here/guest-image.sh")
if [ -f "$out/$image.qcow2" ] && [ "$(readlink "$out/$link.qcow2" 2>/dev/null)" = "$image.qcow2" ]; then
    say "guest image: $out/$image.qcow2 is there already"
    exit 0
fi
become_root "$here/guest-image.sh" "$out" "$variant"
for tool in mmdebstrap mke2fs sfdisk qemu-img flock; do
    have "$tool" || die "$tool is missing" "scripts/setup.sh lab installs what this needs"
done
mkimage=$(command -v grub-mkimage || command -v grub2-mkimage) ||
    die "grub-mkimage is missing" "scripts/setup.sh lab installs what this needs"
[ -f /usr/lib/grub/i386-pc/boot.img ] ||
    die "GRUB's BIOS files are missing (/usr/lib/grub/i386-pc)" "scripts/setup.sh lab installs what this needs"
own_mounts "$here/guest-image.sh" "$out" "$variant"
open_workshop "$out"
if [ -f "$out/$image.qcow2" ]; then
    ln -sfn "$image.qcow2" "$out/$link.qcow2"
    say "guest image: $out/$image.qcow2 is there already"
    exit 0
fi
root=$work/root

# Before the packages are configured: so that the initramfs is made once, and small. A guest of a hypervisor needs
# virtio and nothing else, and unpacking it is a good part of an emulated boot.
cat >"$work/essential.sh" <<'HOOK'
set -eu
mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/usr/share/initramfs-tools/modules.d"
printf 'MODULES=list\nCOMPRESS=lz4\n' >"$1/etc/initramfs-tools/conf.d/quaylab"
printf '%s\n' virtio_pci virtio_blk virtio_scsi sd_mod ext4 crc32c_generic crc32c_intel \
    >"$1/usr/share/initramfs-tools/modules.d/quaylab"
HOOK

# After they are configured: the files that make it this image.
cat >"$work/customize.sh" <<'HOOK'
set -eu
root=$1 variant=$2 needs=$3
put() { mkdir -p "$(dirname "$root$1")"; cat >"$root$1"; }

put /etc/fstab <<X
LABEL=quaylab-root / ext4 defaults,noatime 0 1
X
put /etc/hostname <<X
quaylab-guest
X
put /boot/grub/grub.cfg <<X
set timeout=0
serial --unit=0 --speed=115200
terminal_output serial
# No security module: the container engine would need apparmor's parser, which costs ten seconds of an emulated boot.
linux /vmlinuz root=LABEL=quaylab-root ro console=tty0 console=ttyS0,115200 quiet net.ifnames=0 apparmor=0 selinux=0 mitigations=off
initrd /initrd.img
boot
X
put /etc/systemd/network/10-dhcp.network <<X
[Match]
Name=e*
[Network]
DHCP=ipv4
LinkLocalAddressing=no
IPv6AcceptRA=no
[DHCPv4]
ClientIdentifier=mac
UseDomains=yes
X
# The log is kept in memory: the lab's guests are throw-away, and flushing it costs an emulated boot two seconds.
put /etc/systemd/journald.conf.d/quaylab.conf <<X
[Journal]
Storage=volatile
X
put /etc/ssh/sshd_config.d/quaylab.conf <<X
UseDNS no
PrintMotd no
X
sed -i 's/^session.*pam_motd/#&/' "$root/etc/pam.d/sshd" "$root/etc/pam.d/login"

# cloud-init with what a lab's seed uses and no more: each module is Python to load, and four stages load them.
rm -f "$root"/etc/cloud/cloud.cfg.d/*.cfg
put /etc/cloud/cloud.cfg <<X
datasource_list: [ NoCloud ]
network: {config: disabled}
users: [default]
disable_root: true
preserve_hostname: false
manage_etc_hosts: true
apt: {preserve_sources_list: true}
ssh_genkeytypes: [ed25519]
ssh_deletekeys: false
ssh: {emit_keys_to_console: false}
no_ssh_fingerprints: true
output: {all: '>> /var/log/cloud-init-output.log'}
log_cfgs:
  - |
    [loggers]
    keys=root
    [handlers]
    keys=file
    [formatters]
    keys=plain
    [logger_root]
    level=INFO
    handlers=file
    [handler_file]
    class=FileHandler
    level=INFO
    formatter=plain
    args=('/var/log/cloud-init.log', 'a', 'UTF-8')
    [formatter_plain]
    format=%(asctime)s - %(filename)s[%(levelname)s]: %(message)s
locale: false
cloud_init_modules: [write-files, growpart, resizefs, set_hostname, update_hostname, update_etc_hosts, users-groups, ssh]
cloud_config_modules: [set-passwords, package-update-upgrade-install, runcmd]
cloud_final_modules: [scripts-user, final-message]
system_info:
  distro: debian
  default_user: {name: debian, lock_passwd: true, gecos: Debian, groups: [sudo], sudo: ["ALL=(ALL) NOPASSWD:ALL"], shell: /bin/bash}
  paths: {cloud_dir: /var/lib/cloud/, templates_dir: /etc/cloud/templates/}
  network: {renderers: ['networkd']}
X

systemctl() { chroot "$root" systemctl -q "$@"; }
systemctl enable systemd-networkd systemd-resolved ssh
case $variant in
engine)
    # The lab decides where the engine keeps its data before it starts it.
    systemctl disable docker.service docker.socket containerd.service
    ;;
hypervisor)
    # As on a hypervisor that has been set up: the daemon answers on its socket. Its guests run as they are started, by root.
    systemctl disable libvirt-guests.service
    systemctl mask machines.target virtlockd.socket virtlockd-admin.socket
    put /etc/libvirt/qemu.conf <<X
user = "root"
group = "root"
security_driver = "none"
namespaces = []
X
    ;;
esac
# Not needed in a throw-away guest, and each one costs an emulated boot.
systemctl mask systemd-networkd-wait-online.service systemd-pstore.service systemd-update-utmp.service \
    systemd-journal-flush.service systemd-firstboot.service keyboard-setup.service console-setup.service \
    getty@tty1.service cloud-init-hotplugd.socket e2scrub_reap.service e2scrub_all.timer fstrim.timer \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer man-db.timer \
    lvm2-monitor.service dm-event.socket
ln -sfn ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"

# What must differ from guest to guest, and what belonged to the machine that built it.
rm -f "$root"/etc/ssh/ssh_host_*_key* "$root"/etc/apt/apt.conf.d/99mmdebstrap "$root"/var/log/*.log "$root"/var/log/apt/*
: >"$root/etc/machine-id"
rm -f "$root/var/lib/dbus/machine-id"

# What a seed and the roles rely on; better to stop here than in a guest that does not come up.
for need in /vmlinuz /initrd.img /usr/bin/cloud-init /usr/sbin/sshd /usr/bin/growpart /usr/sbin/lvm $needs; do
    [ -e "$root$need" ] || [ -L "$root$need" ] || [ -e "$root/usr/sbin/${need##*/}" ] ||
        { echo "the tree has no $need" >&2; exit 1; }
done
for module in vfat nls_ascii nls_cp437 iso9660 xfs dm-thin-pool overlay bridge tun; do
    chroot "$root" modprobe --dry-run --set-version "$(ls "$root/lib/modules" | head -n 1)" "$module" ||
        { echo "the guest's kernel has no module $module" >&2; exit 1; }
done
HOOK

stage packages
debootstrap_into "$root" "$release" --variant=minbase --include="$packages" \
    --dpkgopt=force-unsafe-io \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --essential-hook="sh '$work/essential.sh' \"\$1\"" \
    --customize-hook="sh '$work/customize.sh' \"\$1\" $variant '$needs'"

stage disk
raw=$work/disk.raw
truncate -s "${disk_mib}M" "$raw"
echo 'start=2048, type=83, bootable' | sfdisk -q "$raw"
quiet "$work/mke2fs.log" mke2fs -q -F -t ext4 -L quaylab-root -d "$root" -E "offset=$((2048 * 512))" \
    "$raw" "$((disk_mib - 2))M" || die "mke2fs could not fill the disk"
"$mkimage" -O i386-pc -p '(hd0,msdos1)/boot/grub' -o "$work/core.img" \
    biosdisk part_msdos ext2 linux normal serial terminal boot
dd if=/usr/lib/grub/i386-pc/boot.img of="$raw" bs=440 count=1 conv=notrunc status=none
dd if="$work/core.img" of="$raw" bs=512 seek=1 conv=notrunc status=none

stage qcow2
qemu-img convert -f raw -O qcow2 "$raw" "$work/$image.qcow2"
sum=$(sha256sum <"$work/$image.qcow2" | cut -d' ' -f1)
echo "$sum  $image.qcow2" >"$work/$image.qcow2.sha256"
chmod 644 "$work/$image.qcow2" "$work/$image.qcow2.sha256"
mv -f "$work/$image.qcow2.sha256" "$work/$image.qcow2" "$out/"
# The link last: whoever sees it, sees a whole image.
ln -sfn "$image.qcow2.sha256" "$out/$link.qcow2.sha256"
ln -sfn "$image.qcow2" "$out/$link.qcow2"
stages_line "guest image: $out/$image.qcow2 ($(du -m "$out/$image.qcow2" | cut -f1) MB)"
