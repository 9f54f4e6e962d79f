#!/bin/sh
# predicted.sh: a check where nothing exists yet says what would be made, ends well, and leaves nothing.
set -eu
me=predicted.sh
. "$(dirname -- "$0")/lib.sh"
tests/vm/snapshot.sh >"$scratch/before"
"$program" run -i "$lab" --check >"$scratch/log" 2>&1 </dev/null || fail "the check ended with $?" "$scratch/log"
grep -qE '^127\.0\.0\.1 .* changed=2 .*unreachable=0 +failed=0' "$scratch/log" || fail "network and pool are not predicted" "$scratch/log"
# The image, the root disk, the extra disk and the VM; the image's digest may be known from before.
grep -qE '^quay\.quaylab\.lan .* changed=[34] .*unreachable=0 +failed=0' "$scratch/log" || fail "the VM is not predicted" "$scratch/log"
grep -q 'VM quay does not run yet' "$scratch/log" || fail "it does not say where the prediction ends" "$scratch/log"
tests/vm/snapshot.sh >"$scratch/after"
diff "$scratch/before" "$scratch/after" || fail "the check left something behind"
