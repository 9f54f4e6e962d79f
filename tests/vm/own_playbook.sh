#!/bin/sh
# own_playbook.sh: a playbook that does not bring the lab up, and a single task, reach its guests by the inventory's names.
set -eu
me=own_playbook.sh
. "$(dirname -- "$0")/lib.sh"
cat >"$scratch/own.yml" <<'EOF'
- hosts: lab
  gather_facts: false
  tasks:
    - command: hostname
      changed_when: false
      register: said
    - assert: {that: said.stdout == inventory_hostname_short}
EOF
start "$scratch/log" "$scratch/own.yml"
wait "$run_pid" || fail "a playbook of one's own ended with $?" "$scratch/log"
expect_unchanged "$scratch/log"
ln -s "$(realpath "$program")" "$scratch/ansible"
"$scratch/ansible" lab -i "$lab" -m ping >"$scratch/log" 2>&1 || fail "a single task ended with $?" "$scratch/log"
grep -qF ' | SUCCESS' "$scratch/log" || fail 'no host answered' "$scratch/log"
say "$hosts host reached by its name"
