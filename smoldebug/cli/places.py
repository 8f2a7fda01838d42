"""Namespaces and targets that do not exist are mistakes, told before anything runs."""

from collections.abc import Iterable

from smoldebug.errors import AccessDenied, NotFound, UsageError
from smoldebug.records import ObjectRef
from smoldebug.sources import targets
from smoldebug.sources.world import World


def must_exist(
    world: World, namespaces: Iterable[str], target: str = "", namespace: str = ""
) -> None:
    """Ask the cluster for each namespace, and for a target such as `deployment/web`.

    Raises UsageError for what is not there, UnreachableError when the cluster does not answer.
    What may not be looked at passes: the run will say what it could not see.
    """
    places = [ObjectRef("Namespace", "", name) for name in namespaces]
    if target:
        places.append(targets.parse(target, namespace))
    for place in places:
        try:
            world.cluster.get(place)
        except NotFound as error:
            raise UsageError(str(error), error.hint) from None
        except AccessDenied as error:
            if not error.needs:  # not a missing permission: the credentials are wrong
                raise
