#!/bin/sh
# clean-lab.sh: removes the quickstart's lab: its VM, disks, pool and network, and the private hypervisor if there is one.
set -eu
me=clean-lab.sh
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$here/lib.sh"
program=${CARGO_TARGET_DIR:-$here/../target}/release/quaylab
[ -x "$program" ] || die "$program is not built" "make build"
cd "$here/.."
as_root "$program" destroy -i inventories/quickstart.inv --yes "$@"
