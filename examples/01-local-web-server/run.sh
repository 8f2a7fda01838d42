#!/usr/bin/env bash
# A local web server is down; smoldebug notices, restarts it and proves that it answers.
# Offline; exit 0 when the goal was met. SMOLDEBUG names the command if it is not on the PATH.
set -euo pipefail
smoldebug=${SMOLDEBUG:-smoldebug}
export SMOLDEBUG_HOME
SMOLDEBUG_HOME=$(mktemp -d)
record=$SMOLDEBUG_HOME/servers/web.json

clean_up() {
  if [ -f "$record" ]; then # the server is a repaired server: it outlived the run
    kill "$(sed 's/.*"pid": *\([0-9]*\).*/\1/' "$record")" 2>/dev/null || true
  fi
  rm -rf "$SMOLDEBUG_HOME"
}
trap clean_up EXIT

port=${PORT:-$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')}
"$smoldebug" triage -p local-server --set port="$port" --output plain
