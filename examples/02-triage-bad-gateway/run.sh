#!/usr/bin/env bash
# A shop on a practice cluster answers 502 now and then; smoldebug finds out why and repairs it.
# Offline; exit 0 when the goal was met. SMOLDEBUG names the command if it is not on the PATH.
set -euo pipefail
smoldebug=${SMOLDEBUG:-smoldebug}
export SMOLDEBUG_HOME
SMOLDEBUG_HOME=$(mktemp -d)
lab=$SMOLDEBUG_HOME/lab

clean_up() {
  "$smoldebug" lab down --dir "$lab"
  rm -rf "$SMOLDEBUG_HOME"
}
trap clean_up EXIT

"$smoldebug" lab up --dir "$lab"
sleep 8 # normal traffic first, so that "slower than before" can be seen
"$smoldebug" lab break traffic-surge --dir "$lab"
sleep 6 # the incident goes on for a while before anybody looks
"$smoldebug" triage -p triage-502 --set service=checkout --set window=10s \
  --kubeconfig "$lab/kubeconfig" --yes --output plain
