"""Every file parses without a key twice, and no container gets a variable twice or not as text."""

import sys
from pathlib import Path

import yaml


class Loader(yaml.SafeLoader):
    """PyYAML lets the last of two equal keys win."""

    def construct_mapping(self, node, deep=False):
        keys = [str(key.value) for key, _ in node.value]
        if len(set(keys)) < len(keys):
            raise yaml.constructor.ConstructorError(None, None, "a key twice", node.start_mark)
        return super().construct_mapping(node, deep)


def mappings(node):
    """This one and all inside: manifests, patches and values of charts alike."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    for child in node if isinstance(node, list) else ():
        yield from mappings(child)


def problems(path):
    try:
        documents = list(yaml.load_all(path.read_text(encoding="utf-8"), Loader))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        yield f"no YAML: {error}"
        return
    for mapping in mappings(documents):
        variables = mapping.get("env")
        if not isinstance(variables, list):
            continue
        names = [each.get("name") for each in variables]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield f"{mapping.get('name', 'env')} sets {name} twice"
        for each in variables:
            if not isinstance(each.get("value", ""), str):
                yield f"{mapping.get('name', 'env')}: {each['name']} must be text"


files = [path for path in sorted(Path("deploy").rglob("*")) if path.suffix in (".yaml", ".json")]
files = [path for path in files if "templates" not in path.parts]
found = [f"{path}: {problem}" for path in files for problem in problems(path)]
print("\n".join([*found, f"{len(files)} files, {len(found)} problems"]))
sys.exit(bool(found))
