#!/bin/sh
# far_dhcp.sh FOLDER: a bridge br0 without an address, and DHCP on it by a machine of its own behind: as on a network that is somebody
# else's. Ends with the namespaces that it is started in.
set -eu
unshare --net sh -c "
    while ! ip link show far; do sleep 0.1; done
    ip address add 10.88.0.1/24 dev far
    ip link set far up
    exec dnsmasq -k -C /dev/null --port=0 --interface=far --bind-interfaces --dhcp-range=10.88.0.10,10.88.0.99,255.255.255.0 \
        --dhcp-leasefile=$1/far.leases --pid-file=$1/far.pid --log-facility=$1/far.log
" </dev/null >/dev/null 2>&1 &
far=$!
ip link add br0 type bridge
ip link set br0 up
ip link add near type veth peer name far
ip link set near master br0
ip link set near up
# Until it is a machine of its own, it takes the link back to here.
while ip link show far >/dev/null 2>&1; do
    ip link set far netns "$far"
    sleep 0.1
done
