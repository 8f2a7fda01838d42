"""The two things that GitHub's REST API cannot do: mark a draft as ready, and turn it back."""

import json
import re

from smoldebug.lab.forge.answers import Answer, ForgeError, as_json
from smoldebug.lab.forge.hub import Hub

PATH = "/api/graphql"
_MUTATIONS = {"markPullRequestReadyForReview": False, "convertPullRequestToDraft": True}


def answer(hub: Hub, body: bytes) -> Answer:
    """Raises ForgeError."""
    try:
        document = json.loads(body)
        wanted = next((name for name in _MUTATIONS if name in document["query"]), "")
        node = re.fullmatch(r"PR_(\d{1,9})", document["variables"]["input"]["pullRequestId"])
    except (ValueError, KeyError, TypeError):
        raise ForgeError(400, "Problems parsing JSON") from None
    with hub.changing():
        pulls = (pull for project in hub.state.projects.values() for pull in project.pulls)
        pull = next((pull for pull in pulls if node and pull.id == int(node[1])), None)
        if pull is None or not wanted:
            return as_json({"errors": [{"type": "NOT_FOUND", "message": "Could not resolve"}]})
        pull.draft = _MUTATIONS[wanted]
    return as_json({"data": {wanted: {"pullRequest": {"isDraft": pull.draft}}}})
