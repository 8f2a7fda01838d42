"""A local server of the playbook that does not answer: restart it."""

from collections.abc import Iterator

from smoldebug.diagnose.picture import Assessment, Call, Picture
from smoldebug.records import ChangeKind, ObjectRef, Quote


def assess(picture: Picture) -> Iterator[Assessment]:
    """One assessment per server that the playbook declares."""
    for name in picture.brief.servers:
        check = Call("check_server", {"name": name})
        seen = picture.fresh("check_server", name=name)
        data = seen.observation.data if seen else None
        down = isinstance(data, dict) and not data.get("ok")
        quotes = (Quote(seen.id, seen.observation.text.splitlines()[0]),) if seen else ()
        restart = Call("restart_server", {"name": name, "why": f"{name} does not answer"})
        yield Assessment(
            claim=f"the local server {name} is down",
            subject=ObjectRef("Process", "local", name),
            supports=quotes if down else (),
            contradicts=() if down else quotes,
            confirmed=down,
            ruled_out=bool(seen) and not down,
            needs=(check,),
            remedy=restart
            if down and ChangeKind.PROCESS_RESTART in picture.brief.allowed
            else None,
            because=f"{name} does not answer",
        )
