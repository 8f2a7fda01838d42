"""Where the shipped playbooks/, tools/ and examples/ live: wheel, editable install or checkout."""

from pathlib import Path

PACKAGE = Path(__file__).parent


def shipped(kind: str) -> Path:
    """The folder of the shipped `playbooks`, `tools` or `examples`."""
    installed = PACKAGE / "_shipped" / kind
    return installed if installed.is_dir() else PACKAGE.parent / kind
