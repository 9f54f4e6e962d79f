#!/bin/sh
# destroyed.sh SNAPSHOT: destroying removes what the lab made and nothing else; at last all is as in the snapshot.
set -eu
me=destroyed.sh
before=$(realpath "$1")
. "$(dirname -- "$0")/lib.sh"
network="<network><name>quaylab-foreign</name><bridge name='virbr-foreign'/><ip address='192.168.77.1' netmask='255.255.255.0'/></network>"
domain="<domain type='qemu'><name>quaylab-foreign</name><memory>65536</memory><os><type>hvm</type></os></domain>"
remove_foreign() {
    virsh_inside undefine quaylab-foreign || true
    virsh_inside net-destroy quaylab-foreign || true
    virsh_inside net-undefine quaylab-foreign || true
}
# Of somebody else, in the same libvirt.
echo "$network" >"$scratch/network.xml"
echo "$domain" >"$scratch/domain.xml"
virsh_inside net-define "$scratch/network.xml"
virsh_inside net-start quaylab-foreign
virsh_inside define "$scratch/domain.xml"
# A stand-in for a registered subscription-manager: it knows the two commands, and only root may use it.
"$program" ssh -i "$lab" quay.quaylab.lan 'sudo tee /usr/sbin/subscription-manager >/dev/null && sudo chmod 755 /usr/sbin/subscription-manager' <<'EOF'
#!/bin/sh
[ "$(id -u)" = 0 ] || exit 77
case $1 in
identity) [ -e /etc/registered ] ;;
unregister) rm /etc/registered && echo 'System has been unregistered.' ;;
*) exit 64 ;;
esac
EOF
"$program" ssh -i "$lab" quay.quaylab.lan sudo touch /etc/registered </dev/null
"$program" destroy -i "$lab" --yes </dev/null >"$scratch/log" || { code=$?; remove_foreign; fail "destroy ended with $code" "$scratch/log"; }
cat "$scratch/log"
grep -qx 'quay.quaylab.lan: unregistered from its subscription' "$scratch/log" || { remove_foreign; fail "the guest was not unregistered"; }
for list in 'list --all --name' 'net-list --name' 'pool-list --all --name'; do
    # shellcheck disable=SC2086 # words are wanted
    virsh_inside $list | grep . | sed "s/^/$list: /"
done | tee "$scratch/left"
remove_foreign
grep -qx 'list --all --name: quaylab-foreign' "$scratch/left" || fail "a foreign VM went with the lab"
grep -qx 'net-list --name: quaylab-foreign' "$scratch/left" || fail "a foreign network went with the lab"
if grep -E ': (quay|quaylab)$' "$scratch/left"; then fail "something of the lab is left in libvirt"; fi
"$program" destroy -i "$lab" --yes </dev/null || fail "the second destroy ended with $?"
tests/vm/snapshot.sh >"$scratch/after"
diff "$before" "$scratch/after" || fail "the machine is not as it was"
