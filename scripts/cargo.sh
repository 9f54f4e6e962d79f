#!/bin/sh
# cargo.sh ARGUMENT...: cargo, also right after setup.sh installed it in a home that this shell's PATH does not know.
set -eu
me=cargo.sh
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$here/lib.sh"
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
have cargo || die "there is no cargo" "scripts/setup.sh build installs a Rust toolchain"
cd "$here/.."
exec cargo "$@"
