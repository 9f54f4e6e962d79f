#!/bin/sh
# other_shells.sh: the files modules and random playbooks with ksh, bash and busybox as /bin/sh, each in a mount namespace of its own.
set -eu
cd "$(dirname -- "$0")/.."
sh=$(readlink -f /bin/sh)
for shell in ksh bash busybox; do
    if ! program=$(command -v "$shell"); then
        echo "skipped: $shell as /bin/sh: it is not installed"
        continue
    fi
    if [ "$(readlink -f "$program")" = "$sh" ]; then
        echo "skipped: $shell as /bin/sh: it is that already"
        continue
    fi
    unshare --mount sh -c 'mount --bind "$1" "$2" && exec scripts/cargo.sh test --locked --test modules_files --test speculation' sh \
        "$(readlink -f "$program")" "$sh"
done
