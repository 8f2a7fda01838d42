#!/usr/bin/env bash
# A playbook is tested over a recorded incident; one that may change less fails the same test.
# Offline, without a model or a cluster; exit 0 when both came out like that. SMOLDEBUG names the
# command if it is not on the PATH.
set -euo pipefail
smoldebug=${SMOLDEBUG:-smoldebug}
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$smoldebug" runs replay tests/auth-is-too-small/run/journal.jsonl --output plain
"$smoldebug" playbooks test --junit "$work/junit.xml"

echo "the same test, with a playbook that may change nothing:"
cp -R tests/auth-is-too-small "$work/stricter"
sed 's/^  changes: 2 .*/  changes: 0/' ../../playbooks/triage-502.yaml >"$work/stricter/playbook.yaml"
status=0
"$smoldebug" playbooks test "$work/stricter" || status=$?
[ "$status" = 1 ]
