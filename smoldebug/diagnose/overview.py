"""What every other rule starts from: the objects of the namespace, read once and after a change."""

from collections.abc import Iterator

from smoldebug.diagnose.picture import Assessment, Picture

KINDS = ("Deployment", "Service", "Pod", "ConfigMap", "HorizontalPodAutoscaler")


def assess(picture: Picture) -> Iterator[Assessment]:
    """No claim, only the reads, until there are Deployments and Pods to reason about."""
    if not (picture.objects("Deployment") and picture.objects("Pod")):
        yield Assessment("something in the namespace fails", needs=picture.read(*KINDS))
