"""The JSON shapes of GitHub's REST API."""

from dataclasses import dataclass
from typing import Any
from zlib import crc32

from smoldebug.lab.forge.repository import ME, Bare, Changed
from smoldebug.lab.forge.state import Check, Comment, Project, Pull, Status

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Documents:
    """Documents with addresses below `url`, that of the forge."""

    url: str

    @property
    def api(self) -> str:
        return f"{self.url}/api/v3"

    def _at(self, project: Project) -> str:
        return f"{self.api}/repos/{project.full_name}"

    def _page(self, project: Project) -> str:
        return f"{self.url}/{project.full_name}"

    def user(self, login: str) -> Document:
        return {
            "login": login,
            "id": 1 if login == ME else crc32(login.encode()),
            "node_id": f"U_{login}",
            "url": f"{self.api}/users/{login}",
            "html_url": f"{self.url}/{login}",
            "avatar_url": "",
            "type": "User",
            "site_admin": False,
        }

    def team(self, slug: str, owner: str) -> Document:
        url = f"{self.api}/orgs/{owner}/teams/{slug}"
        return {"id": 1, "node_id": f"T_{slug}", "slug": slug, "name": slug, "url": url}

    def repository(self, project: Project) -> Document:
        url, page = self._at(project), self._page(project)
        return {
            "id": project.id,
            "node_id": f"R_{project.id}",
            "name": project.name,
            "full_name": project.full_name,
            "owner": self.user(project.owner),
            "private": True,
            "fork": False,
            "archived": False,
            "url": url,
            "html_url": page,
            "clone_url": f"{page}.git",
            "default_branch": project.default_branch,
            "created_at": project.created,
            "allow_merge_commit": True,
            "allow_squash_merge": True,
            "allow_rebase_merge": False,
            "permissions": {"admin": True, "push": True, "pull": True},
        }

    def branch(self, project: Project, name: str, sha: str) -> Document:
        at = self._at(project)
        protected = name in project.protected
        return {
            "name": name,
            "commit": {"sha": sha, "url": f"{at}/commits/{sha}"},
            "protected": protected,
            "protection": {"enabled": protected},
            "protection_url": f"{at}/branches/{name}/protection",
        }

    def ref(self, project: Project, ref: str, sha: str) -> Document:
        at = self._at(project)
        commit = {"type": "commit", "sha": sha, "url": f"{at}/git/commits/{sha}"}
        return {"ref": ref, "node_id": ref, "url": f"{at}/git/{ref}", "object": commit}

    def commit(self, project: Project, sha: str, bare: Bare) -> Document:
        told, at = bare.describe(sha), self._at(project)
        author = {"name": told["name"], "email": told["email"], "date": told["date"]}
        return {
            "sha": sha,
            "node_id": f"C_{sha}",
            "url": f"{at}/commits/{sha}",
            "html_url": f"{self._page(project)}/commit/{sha}",
            "commit": {
                "message": told["message"].strip(),
                "author": author,
                "committer": author,
                "tree": {"sha": told["tree"], "url": f"{at}/git/trees/{told['tree']}"},
            },
            "parents": [
                {"sha": parent, "url": f"{at}/commits/{parent}"}
                for parent in told["parents"].split()
            ],
        }

    def label(self, project: Project, name: str) -> Document:
        url = f"{self._at(project)}/labels/{name}"
        return {"id": 1, "node_id": f"L_{name}", "name": name, "color": "ededed", "url": url}

    def issue(self, project: Project, pull: Pull) -> Document:
        """What a pull request and its issue have in common."""
        at = self._at(project)
        people = [self.user(login) for login in pull.assignees]
        return {
            "id": pull.id,
            "node_id": f"PR_{pull.id}",
            "number": pull.number,
            "url": f"{at}/issues/{pull.number}",
            "html_url": f"{self._page(project)}/pull/{pull.number}",
            "comments_url": f"{at}/issues/{pull.number}/comments",
            "state": "open" if pull.open else "closed",
            "locked": False,
            "title": pull.title,
            "body": pull.body or None,
            "user": self.user(ME),
            "labels": [self.label(project, name) for name in pull.labels],
            "assignees": people,
            "assignee": people[0] if people else None,
            "milestone": None,
            "created_at": pull.created,
            "updated_at": pull.updated,
            "closed_at": pull.closed or None,
            "draft": pull.draft,
            "pull_request": {"url": f"{at}/pulls/{pull.number}"},
        }

    def pull(self, project: Project, pull: Pull) -> Document:
        """As it stands in lists."""
        at = self._at(project)
        document = self.issue(project, pull)
        del document["pull_request"]
        url = f"{at}/pulls/{pull.number}"
        return document | {
            "url": url,
            "issue_url": f"{at}/issues/{pull.number}",
            "diff_url": f"{document['html_url']}.diff",
            "commits_url": f"{url}/commits",
            "review_comments_url": f"{url}/comments",
            "statuses_url": f"{at}/statuses/{pull.head_sha}",
            "head": self._side(project, pull.head, pull.head_sha),
            "base": self._side(project, pull.base, pull.base_sha),
            "merged_at": pull.merged or None,
            "merge_commit_sha": pull.merge_sha or None,
            "requested_reviewers": [self.user(login) for login in pull.reviewers],
            "requested_teams": [self.team(slug, project.owner) for slug in pull.teams],
            "author_association": "COLLABORATOR",
        }

    def pull_in_full(self, project: Project, pull: Pull, bare: Bare) -> Document:
        files = bare.changed(pull.base_sha, pull.head_sha)
        mergeable = bool(pull.open and bare.merged_tree(pull.base_sha, pull.head_sha))
        state = "draft" if pull.draft else "clean" if mergeable else "dirty"
        return self.pull(project, pull) | {
            "merged": bool(pull.merged),
            "merged_by": self.user(ME) if pull.merged else None,
            "mergeable": mergeable if pull.open else None,
            "mergeable_state": state if pull.open else "unknown",
            "comments": sum(comment.number == pull.number for comment in project.comments),
            "review_comments": 0,
            "commits": len(bare.commits(pull.base_sha, pull.head_sha)),
            "additions": sum(file.additions for file in files),
            "deletions": sum(file.deletions for file in files),
            "changed_files": len(files),
        }

    def _side(self, project: Project, branch: str, sha: str) -> Document:
        owner = self.user(project.owner)
        label = f"{project.owner}:{branch}"
        repository = self.repository(project)
        return {"label": label, "ref": branch, "sha": sha, "user": owner, "repo": repository}

    def file(self, project: Project, changed: Changed, patch: str) -> Document:
        return {
            "filename": changed.path,
            "status": changed.status,
            "additions": changed.additions,
            "deletions": changed.deletions,
            "changes": changed.additions + changed.deletions,
            "patch": patch[patch.find("@@") :] if "@@" in patch else "",
        }

    def comment(self, project: Project, comment: Comment) -> Document:
        at = self._at(project)
        page = f"{self._page(project)}/pull/{comment.number}"
        return {
            "id": comment.id,
            "node_id": f"IC_{comment.id}",
            "url": f"{at}/issues/comments/{comment.id}",
            "html_url": f"{page}#issuecomment-{comment.id}",
            "issue_url": f"{at}/issues/{comment.number}",
            "body": comment.body,
            "user": self.user(comment.author or ME),
            "created_at": comment.created,
            "updated_at": comment.updated,
        }

    def check(self, project: Project, check: Check) -> Document:
        done = check.status == "completed"
        output = {"title": check.title, "summary": check.summary, "text": check.text}
        page = f"{self._page(project)}/runs/{check.id}"
        return {
            "id": check.id,
            "node_id": f"CR_{check.id}",
            "name": check.name,
            "head_sha": check.sha,
            "url": f"{self._at(project)}/check-runs/{check.id}",
            "html_url": page,
            "details_url": page,
            "status": check.status,
            "conclusion": check.conclusion if done else None,
            "started_at": check.started or None,
            "completed_at": check.completed or None,
            "output": {
                **(output if done else dict.fromkeys(output)),
                "annotations_count": 0,
                "annotations_url": f"{self._at(project)}/check-runs/{check.id}/annotations",
            },
            "pull_requests": [],
        }

    def status(self, project: Project, status: Status) -> Document:
        return {
            "id": status.id,
            "node_id": f"S_{status.id}",
            "url": f"{self._at(project)}/statuses/{status.sha}",
            "state": status.state,
            "context": status.context,
            "description": status.description,
            "target_url": status.target_url or None,
            "created_at": status.created,
            "updated_at": status.created,
            "creator": self.user(ME),
        }

    def combined_status(self, project: Project, sha: str) -> Document:
        newest = {status.context: status for status in project.statuses if status.sha == sha}
        states = {status.state for status in newest.values()}
        bad, open_ = states & {"error", "failure"}, not states or "pending" in states
        return {
            "sha": sha,
            "state": "failure" if bad else "pending" if open_ else "success",
            "statuses": [self.status(project, status) for status in newest.values()],
            "total_count": len(newest),
            "repository": self.repository(project),
            "commit_url": f"{self._at(project)}/commits/{sha}",
            "url": f"{self._at(project)}/commits/{sha}/status",
        }
