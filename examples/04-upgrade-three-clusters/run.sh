#!/usr/bin/env bash
# A chart of five services is upgraded in three clusters at a time: once well, three times not, and
# each time another service is at fault. Offline; exit 0 when every verdict and every name was right.
# SMOLDEBUG names the command if it is not on the PATH. Clusters of your own: see README.md.
set -euo pipefail
smoldebug=${SMOLDEBUG:-smoldebug}
here=$(cd "$(dirname "$0")" && pwd)
export SMOLDEBUG_HOME
SMOLDEBUG_HOME=$(mktemp -d)
helm=(helm) wait=(--wait)
command -v helm >/dev/null || helm=(python3 -m smoldebug.sources.helmsdk) wait=()

if [ -n "${EXAMPLE_CONTEXTS:-}" ]; then
  read -ra clusters <<<"${EXAMPLE_CONTEXTS//,/ }"
  load=$EXAMPLE_LOAD_IMAGE ask=(-y)
else
  clusters=(eu-staging us-staging ap-staging)
  load="$smoldebug lab load-image" ask=()
fi

clean_up() {
  if [ -n "${EXAMPLE_CONTEXTS:-}" ]; then
    for cluster in "${clusters[@]}"; do
      "${helm[@]}" uninstall platform --namespace platform --kube-context "$cluster" || true
    done
  else
    "$smoldebug" lab down
  fi
  rm -rf "$SMOLDEBUG_HOME"
}
trap clean_up EXIT

# Chart and image of a version: what it changes, over the versions before it.
build() {
  local layer out=$SMOLDEBUG_HOME/versions/$1
  mkdir -p "$out"
  for layer in 2.4.0 2.5.0 "$1"; do
    cp -r "$here/versions/$layer/." "$out"
    if [ "$layer" = "$1" ]; then break; fi
  done
  sed -i "s/2\.4\.0/$1/" "$out/chart/Chart.yaml"
  $load "platform/services:$1" "$out/image" -- python3 /app/service.py
}

# validate VERSION EXIT-STATUS [OFFENDER]
validate() {
  local version=$1 expected=$2 offender=${3:-} status=0 said=$SMOLDEBUG_HOME/said cluster
  printf '\n=== %s\n' "$version"
  build "$version"
  "$smoldebug" validate -p "$here/upgrade.yaml" --set version="$version" \
    --set chart="$SMOLDEBUG_HOME/versions/$version/chart" \
    --set clusters="$(IFS=,; echo "${clusters[*]}")" "${ask[@]}" --output plain | tee -i "$said" ||
    status=$?
  [ "$status" -eq "$expected" ] || fail "$version: exit status $status, not $expected"
  for cluster in ${offender:+"${clusters[@]}"}; do
    grep -Eq "^[O ].* $cluster(, .*)?: Deployment/platform/$offender\$" "$said" ||
      fail "$version: $offender was not found to have broken $cluster"
  done
}

fail() {
  echo "$1" >&2
  exit 1
}

if [ -z "${EXAMPLE_CONTEXTS:-}" ]; then
  "$smoldebug" lab up --clusters 3
  export KUBECONFIG="$SMOLDEBUG_HOME/lab/kubeconfig"
fi
build 2.4.0
for cluster in "${clusters[@]}"; do
  "${helm[@]}" upgrade --install platform "$SMOLDEBUG_HOME/versions/2.4.0/chart" \
    --namespace platform --create-namespace --kube-context "$cluster" "${wait[@]}"
done
validate 2.5.0 0
validate 2.5.1 4 payments
validate 2.5.2 4 auth
validate 2.5.3 4 catalog
