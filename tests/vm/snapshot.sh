#!/bin/sh
# snapshot.sh: what of this machine a lab could have changed, one thing a line.
set -eu
me=snapshot.sh
. "$(dirname -- "$0")/lib.sh"
ip -o link | awk -F': ' '{ print "interface", $2 }'
find /etc/libvirt -printf 'file %p %s %T@\n' 2>/dev/null | sort
find /var/lib/quaylab /run/quaylab "$state" "$HOME/.ssh" -printf 'file %p\n' 2>/dev/null | sort
for folder in /run/libvirt "$(dirname "$state")"; do [ ! -d "$folder" ] || echo "folder $folder"; done
if [ -S /run/libvirt/libvirt-sock ] || [ -S /run/libvirt/virtqemud-sock ]; then
    for what in list net-list pool-list; do virsh -q -c qemu:///system "$what" --all --name | sed "s/^/$what /"; done
fi
# Processes that were told to end may take a moment.
for _ in 1 2 3 4 5 6 7 8 9 10; do
    running=$(cat /proc/[0-9]*/comm 2>/dev/null | grep -E '^(libvirtd|virtlogd|dnsmasq|slirp4netns|qemu-system.*)$' | sort || true)
    [ -n "$running" ] || break
    sleep 0.5
done
[ -z "$running" ] || echo "$running" | sed 's/^/process /'
