#!/usr/bin/env bash
# Twelve Deployments get an environment variable in one pull request, whose checks pass; once more,
# and there is nothing to do. Offline; exit 0 when all of that came about. SMOLDEBUG names the
# command if it is not on the PATH.
set -euo pipefail
smoldebug=${SMOLDEBUG:-smoldebug}
here=$(cd "$(dirname "$0")" && pwd)
export SMOLDEBUG_HOME
SMOLDEBUG_HOME=$(mktemp -d)

clean_up() {
  "$smoldebug" lab forge down
  "$smoldebug" lab down
  rm -rf "$SMOLDEBUG_HOME"
}
trap clean_up EXIT

# What runs in staging, and a forge that has the repository
"$smoldebug" lab up --manifests "$here/repo/deploy/staging" --manifests "$here/cluster"
read -r _ _ url < <("$smoldebug" lab forge up --repo shop/manifests="$here/repo")
export KUBECONFIG="$SMOLDEBUG_HOME/lab/kubeconfig"
export GITHUB_TOKEN
GITHUB_TOKEN=$(cat "$SMOLDEBUG_HOME/lab/forge/token")

# Somebody's clone, with the token as the password and in no file
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=credential.helper
export GIT_CONFIG_VALUE_0='!f() { echo username=x; echo "password=$GITHUB_TOKEN"; }; f'
git clone --quiet -c user.name="On Call" -c user.email=on-call@example.org "$url" \
  "$SMOLDEBUG_HOME/manifests"
cd "$SMOLDEBUG_HOME/manifests"

patch() {
  "$smoldebug" patch -p add-env-var --set name=FEATURE_FLAG --set value=true -y --output plain
}
patch
git fetch --quiet
branch=origin/smoldebug/FEATURE_FLAG
git --no-pager diff --stat=100 "main...$branch"
hunks=$(git diff --unified=0 "main...$branch" | grep -c '^@@')
echo "$hunks hunks"
[ "$hunks" -eq 12 ]
"$smoldebug" lab forge status
patch | tee "$SMOLDEBUG_HOME/second"
grep -q "nothing to do: 12 already so" "$SMOLDEBUG_HOME/second"
