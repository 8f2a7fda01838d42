"""`smoldebug playbooks plan`: what a playbook may do, in words, before anybody runs it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoldebug.playbook.find import find
from smoldebug.playbook.load import draft, planned
from smoldebug.playbook.models import Freeze, Window
from smoldebug.playbook.policy import Policy, read_policy
from smoldebug.playbook.windows import closed
from smoldebug.preview.plan import Calendar, Circumstances, Plan, as_text, plan, turning_point
from smoldebug.shipped import shipped

FRIDAY = datetime(2026, 11, 20, 17, 30, tzinfo=UTC)
CHANGING = """
goal: {all: [{rollout: {}}]}
scope: {namespaces: [shop]}
tools: {change: {allow: [scale, restart, set-resources], targets: ["Deployment/shop/*"]}}
"""


def told(
    name: str,
    *policies: Policy,
    models: tuple[str, ...] = ("expert",),
    now: datetime = FRIDAY,
    **given: str,
) -> Plan:
    read = draft(find(name), given)
    return plan(planned(read), read.missing, Circumstances(policies, models, now))


@pytest.fixture
def mine(tmp_path: Path) -> Any:
    def write(text: str, *policies: Policy, **more: Any) -> Plan:
        path = tmp_path / "mine.yaml"
        path.write_text(f"apiVersion: smoldebug.dev/v1\nname: mine\n{text}", encoding="utf-8")
        return told(str(path), *policies, **more)

    return write


@pytest.fixture
def policy(tmp_path: Path) -> Any:
    def write(text: str) -> Policy:
        path = tmp_path / "policy.yaml"
        head = "apiVersion: smoldebug.dev/v1\nkind: Policy\n"
        path.write_text(f"{head}{text}", encoding="utf-8")
        return read_policy(path)

    return write


# --- every part -----------------------------------------------------------------------------


def test_triage_502_is_told_on_one_screen():
    text = as_text(told("triage-502", service="checkout"), 100)
    shown = [line for line in text.splitlines() if not line.startswith(str(shipped("playbooks")))]
    assert len(shown) <= 30
    assert max(map(len, shown)) <= 100
    for words in (
        "- http /health = 200: http://checkout.shop.svc:8080/health",
        "measured by code every 5s; it must hold 3 times in a row, within 10m of the start",
        "CHANGES     scale, rollback: Deployment/shop/checkout, Deployment/shop/auth",
        "set-replicas-bounds: HorizontalPodAutoscaler/shop/*",
        "at most 2 objects in a run",
        "replicas: at most 20, at most 3 times as many, never 0",
        "metrics of http://prometheus.monitoring.svc:9090",
        "GET and HEAD of http://*.shop.svc:*/*",
        "AT MOST     25 turns · 10m, waiting for answers not counted · 2 objects changed",
        "SENT AWAY   nothing: the built-in expert decides, on this machine",
    ):
        assert words in text


def test_what_models_may_use_is_told_where_some_are_asked(mine: Any, policy: Any):
    plain = f"{CHANGING}limits: {{cost: $0.015, calls: 40}}\n"
    assert "model" not in " ".join(mine(plain).sections["AT MOST"])
    expert = "$0.015, 40 calls for models; after that the built-in expert goes on"
    assert mine(plain, models=("openai/x", "expert")).sections["AT MOST"][1] == expert
    stop = plain.replace("40", "40, over_budget: stop")
    found = mine(stop, policy("limits: {cost: $0.01}"), models=("openai/x",))
    assert (
        found.sections["AT MOST"][1]
        == "$0.01, 40 calls for models; after that the run ends (exit 6)"
    )
    assert found.worst_case.cost == 0.01


@pytest.mark.parametrize("path", sorted(shipped("playbooks").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_playbook_has_a_plan(path: Path):
    found = told(str(path))
    assert found.sections["GOAL"]
    assert as_text(found, 80)


def test_what_has_no_value_yet_is_said():
    found = told("triage-502")
    assert found.missing == ("service",)
    assert "needs --set service=..., shown as if it were: service" in as_text(found, 100)


def test_parts_of_later_versions_are_named(mine: Any):
    found = mine("goal: {all: [{rollout: {}}, {sql: {query: select 1}}]}")
    (line,) = found.sections["NOT YET"]
    assert line == "this version does not run it, for these parts: goal.all[1].sql"


def test_auto_may_be_pinned_to_a_cluster_that_nobody_can_rename(mine: Any):
    pins = "approval: auto\nallow_auto_when: {uid: [u-1], server: ['10.0.0.1:6443']}\n"
    nobody, *_ = mine(CHANGING + pins).sections["ASKS"]
    assert nobody == "nobody in clusters with the id u-1 and at 10.0.0.1:6443; elsewhere you"


def test_commands_are_told_with_where_they_run(mine: Any):
    found = mine(
        """
goal: {any: [{command: {run: [pg_isready, -h, db]}}, {tcp: {host: db, port: 5432}}]}
tools:
  shell:
    allow:
      disks: {run: [df, -h], effect: read, in_pod: true}
      top: {run: [top, -b], effect: read, extra_arguments: true}
      flush: {run: [flush]}
  change: {allow: [run-command], targets: [Command/local/flush]}
"""
    )
    assert found.sections["GOAL"][0].startswith("- any of: ")
    assert found.sections["READS"] == (
        "runs on this machine, to measure the goal: pg_isready -h db",
        "runs in pods, unasked: disks (df -h)",
        "runs on this machine, unasked: top (top -b ...)",
    )
    assert found.sections["CHANGES"][0] == "run-command: Command/local/flush"


def test_a_read_only_playbook_changes_nothing(mine: Any):
    assert mine(CHANGING).worst_case.changes == 3
    closed_off = CHANGING.replace("[shop]}", "[shop], cluster: read-only}")
    nothing = CHANGING + "limits: {changes: 0}"
    for text in ("goal: {all: [{rollout: {}}]}", closed_off, nothing):
        quiet = mine(text)
        assert quiet.sections["CHANGES"] == ("nothing: it is read-only",)
        assert (quiet.changes_now, quiet.worst_case.changes) == (False, 0)


# --- patches --------------------------------------------------------------------------------

PATCHING = """
goal: {all: [{edited: {}}]}
scope: {paths: ["**"]}
tools: {git: {branch: fix}}
edits: [{select: {kind: Deployment, name: web, namespace: shop}, set_replicas: {replicas: 4}}]
"""
REQUEST = PATCHING.replace("}}\nedits", "}, pull_request: {}}\nedits")


def test_a_patch_is_told_with_its_edits_branch_and_pull_request():
    found = told("add-env-var")
    edit = "Set FEATURE_FLAG=true in each Deployment of namespace staging (deploy/**)"
    assert found.sections["CHANGES"] == (
        f"{edit}; where another value stands, the approval card warns of it",
        "only in deploy/**; at most 50 files, 3 changed lines per container",
        "pushed to branch smoldebug/FEATURE_FLAG, from main; a commit per file",
        (
            "draft pull request at the remote's forge; labels: post-mortem; "
            "reviewers: the files' owners"
        ),
        "nothing in the cluster: it is read-only",
    )
    assert found.sections["READS"] == (
        "the repository of the current folder, deploy/**, in the run's own clone",
        "in staging: deployments, horizontalpodautoscalers; nothing else",
    )
    assert "50 files changed" in found.sections["AT MOST"][0]
    assert found.sections["SENT AWAY"][0] == (
        "to the repository's remote and its forge: commits, pull request"
    )
    assert (found.changes_now, found.worst_case.changes, found.worst_case.files) == (True, 0, 50)


def test_one_answer_is_for_the_branch_and_its_pull_request(mine: Any):
    you, _ = mine(REQUEST).sections["ASKS"]
    assert you.startswith("you, once for branch and pull request, with the whole diff, before")
    assert mine(PATCHING).sections["ASKS"][0].startswith("you, once for the branch, with")
    assert mine(REQUEST + "approval: never").sections["ASKS"] == (
        "nothing: every change is refused",
    )
    assert not mine(REQUEST + "approval: never").changes_now


def test_auto_asks_for_a_patch_only_where_another_value_stands(mine: Any):
    auto = REQUEST + "approval: auto\n"
    assert mine(auto).sections["ASKS"][0] == "nobody, for branch and pull request"
    asking = auto.replace("replicas: 4", "replicas: 4, if_different: stop-and-ask")
    assert mine(asking).sections["ASKS"][1].startswith("you, where another value stands than")


def test_what_becomes_of_a_patch_whose_checks_fail(mine: Any):
    (stays,) = mine(REQUEST + "on_failure: keep-branch").sections["ON FAILURE"]
    assert stays.startswith("the branch and the pull request stay; a comment on it says which")
    assert mine(REQUEST).sections["ON FAILURE"] == (
        "the pull request is closed and its branch taken back",
    )
    assert mine(PATCHING).sections["ON FAILURE"] == ("the branch is taken back",)


def test_where_a_patch_goes_and_who_is_asked_to_review_it(mine: Any):
    given = (
        PATCHING.replace("branch: fix", "branch: fix, hooks: skip, sign_off: true, remote: up")
        .replace("}}\nedits", "}, pull_request: {FORGE}}\nedits")
        .replace("FORGE", "forge: gitlab, host: git.corp.example, draft: false, reviewers: [ana]")
    )
    found = mine(given).sections["CHANGES"]
    assert found[2:4] == (
        (
            "pushed to branch fix of up, from the default branch; one commit, signed off, "
            "your hooks are skipped"
        ),
        "pull request on GitLab at git.corp.example; reviewers: ana",
    )
    assert mine(PATCHING).sections["CHANGES"][3] == (
        "no pull request: you get the link to open one"
    )


@pytest.mark.parametrize(
    ("action", "says"),
    [
        (
            "set_env: {name: A, value: b, containers: [app], include: [init]}",
            (
                "Set A=b in Deployment web of namespace shop (**), containers app, init containers "
                "too; where another value stands, the approval card warns of it"
            ),
        ),
        (
            "set_image: {image: 'shop/web:2', if_different: skip}",
            (
                "Set the image to shop/web:2 in Deployment web of namespace shop (**); not where "
                "another value stands"
            ),
        ),
        (
            "set_resources: {limits: {memory: 1Gi}}",
            (
                "Set limits memory=1Gi in Deployment web of namespace shop (**); also where "
                "another value stands"
            ),
        ),
        (
            "remove_env: {name: A, include: [sidecars]}",
            "Remove A in Deployment web of namespace shop (**), sidecars too",
        ),
    ],
)
def test_an_edit_is_told_with_whom_it_is_about(mine: Any, action: str, says: str):
    text = PATCHING.replace("set_replicas: {replicas: 4}", action)
    assert mine(text).sections["CHANGES"][0] == says


def test_a_patch_that_may_change_no_file_says_so(mine: Any):
    found = mine(PATCHING.replace('scope: {paths: ["**"]}', "")).sections["CHANGES"]
    assert "no file may be changed: scope.paths names none" in found


def test_windows_do_not_hold_a_patch_back_and_rates_do(mine: Any, policy: Any):
    found = policy(
        """
deny: {contexts: [prod-*], changes: [pull-request]}
limits: {changes: 0, rate: {changes: 5, per: 1h}, windows: [{days: [mon]}]}
"""
    )
    told = mine(REQUEST, found)
    assert told.sections["CHANGES"][-2:] == (
        f"but not pull-request: {found.source}",
        f"at most 5 changes in 1h, over all runs: {found.source}",
    )
    assert told.sections["NOW"] == (
        "windows and freezes hold no pull request back: whoever merges decides when",
    )
    assert (told.changes_now, told.turns) == (True, None)


def test_a_playbook_may_change_a_cluster_and_a_repository(mine: Any):
    both = """
tools:
  git: {branch: fix}
  change: {allow: [scale], targets: [Deployment/shop/web]}
"""
    found = mine(PATCHING.replace("tools: {git: {branch: fix}}", both)).sections
    assert "scale: Deployment/shop/web" in found["CHANGES"]
    assert "at most 3 objects in a run" in found["CHANGES"]
    assert [line.partition(",")[0] for line in found["ASKS"][:2]] == ["you", "you"]
    assert "3 objects, 50 files changed" in found["AT MOST"][0]


# --- upgrades -------------------------------------------------------------------------------

STEPS = """
goal: {all: [{rollout: {}}], for: 1m, within: 10m}
scope: {namespaces: [shop]}
tools:
  change: {allow: [helm-upgrade, helm-rollback, set-image], targets: [HelmRelease/shop/web]}
approval: auto
steps:
  - helm_upgrade: {release: web, chart: ./web, values: [eu.yaml], set: {a.b: 1}, timeout: 2m}
"""
MATRIX = "matrix: {cluster: [eu, us, ap], parallel: 2, stop_after_failures: 0}\n"


@pytest.fixture
def upgrading(mine: Any, tmp_path: Path) -> Any:
    (tmp_path / "eu.yaml").write_text("{}")
    (tmp_path / "new").mkdir()
    return lambda text="", **more: mine(STEPS + text, **more)


def test_the_shipped_upgrade_is_told_from_its_clusters_to_its_rollback():
    found = told("helm-upgrade", version="2.5.0")
    assert found.sections == {
        "CLUSTERS": (
            "eu-staging, us-staging, ap-staging; one at a time, in this order",
            "once one has not ended as met, no other is begun; those under way go on",
            "none is begun after 1h30m; those under way go on",
        ),
        "BEFORE": (
            "releases, charts and files are looked up; if one is missing, nothing is touched",
            "the goal must hold for 30s, within 2m; else nothing is touched (exit 3)",
            "noted as normal, right before the first step: kinds of error lines and restarts",
        ),
        "STEPS": (
            (
                "1. helm-upgrade HelmRelease/platform/platform to "
                "oci://registry.example.com/charts/platform 2.5.0, with the values it has, at most "
                "5m; undo: helm-rollback, but for what hooks and CRDs did"
            ),
            "what is so already is not changed; each step begins when the one before it has ended",
        ),
        "GOAL": (
            "All services of the release roll out and stay healthy",
            "for each service of release platform:",
            "- rollout, complete within 10m",
            ("- http /health = 200 on the port of a ready pod; services without one are left out"),
            "- no new errors",
            "- restarts ≤ 0",
            "measured by code every 15s, and when an object of a service changes",
            (
                "after the steps it must hold once and for 5m, within 25m of the start; what "
                "waiting does not mend ends it"
            ),
        ),
        "READS": found.sections["READS"],
        "CHANGES": (
            "helm-upgrade, helm-rollback: HelmRelease/platform/platform",
            "by the steps alone: a model changes nothing",
            "a release with objects in other namespaces than platform is refused",
            "at most 3 objects in a run, a release counting as one",
        ),
        "ASKS": found.sections["ASKS"],
        "ON FAILURE": (
            (
                "pods, warnings and logs are read first; the service that broke it is named, or "
                "none is"
            ),
            (
                "then that cluster's steps are taken back unasked, newest first, and each is "
                "verified"
            ),
            ("the goal must hold again for 30s, within 5m30s (exit 4); else exit 5: page somebody"),
            "Ctrl-C or SIGTERM: the step under way is ended, then all are taken back (exit 130)",
            "clusters that were upgraded before stay upgraded",
        ),
        "AT MOST": (
            (
                "25m to a verdict, then 10m30s to take it back, in each cluster; waiting for "
                "answers not counted"
            ),
            "1h25m30s for all clusters",
            "3 objects changed in each cluster",
        ),
        "SENT AWAY": ("nothing: code decides, on this machine",),
    }
    assert found.sections["READS"][1:3] == (
        (
            "HelmRelease/platform/platform, which Helm keeps in Secrets of platform, and all "
            "objects it has"
        ),
        (
            "to explain a failure, in platform: pods, deployments, statefulsets, daemonsets, "
            "replicasets, events, services, endpointslices; nothing else, and no Secrets"
        ),
    )


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (
            "helm_upgrade: {release: web, chart: ./web, values: [eu.yaml], set: {a.b: 1}}",
            (
                "1. helm-upgrade HelmRelease/shop/web to ./web, with the values it has, over them "
                "eu.yaml, a.b, at most 5m; undo: helm-rollback, but for what hooks and CRDs did"
            ),
        ),
        (
            "helm_rollback: {release: web, timeout: 1m}",
            (
                "1. helm-rollback HelmRelease/shop/web to what was deployed before, at most 1m; "
                "undo: helm-rollback to where it was"
            ),
        ),
        (
            "kubectl_apply: {path: new}",
            (
                "1. apply-object or create-object, each manifest of new; undo: the fields as they "
                "were, what is new deleted"
            ),
        ),
        (
            "set_image: {target: deployment/web, container: app, image: 'shop/web:2'}",
            (
                "1. set-image Deployment/shop/web, container app, to shop/web:2; undo: the image "
                "it had"
            ),
        ),
        (
            "wait_for_rollout: {within: 1m}",
            "1. wait until the rollout of every workload in scope is complete, at most 1m",
        ),
    ],
)
def test_each_kind_of_step_is_a_sentence_with_its_undo(
    upgrading: Any, mine: Any, step: str, says: str
):
    head = STEPS.partition("steps:")[0].replace("set-image]", "set-image, apply-object]")
    assert mine(f"{head}steps: [{{{step}}}]").sections["STEPS"][0] == says


def test_without_a_matrix_or_a_baseline_that_is_said(upgrading: Any):
    found = upgrading().sections
    assert found["CLUSTERS"] == ("one: that of --context, else the kubeconfig's current one",)
    assert "no baseline: the steps begin even where the goal does not hold" in found["BEFORE"]
    assert found["AT MOST"][0].startswith("10m to a verdict, then 7m to take it back; waiting")
    assert found["ON FAILURE"][-1].startswith("Ctrl-C")


def test_several_clusters_at_a_time_and_what_becomes_of_the_others(upgrading: Any):
    found = upgrading(f"{MATRIX}on_failure_others: rollback\n").sections
    assert found["CLUSTERS"] == (
        "eu, us, ap; 2 at a time, in this order",
        "all are tried, whatever becomes of one",
    )
    assert found["ON FAILURE"][-1].endswith("before are taken back, too, one by one")
    kept = upgrading(f"{MATRIX}on_failure: report\non_failure_others: rollback\n").sections
    assert kept["ON FAILURE"][1:] == (
        "what was changed stays (exit 1); smoldebug undo RUN takes it back",
        "clusters that were upgraded before stay upgraded",
    )


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("", 10 + 7),
        (MATRIX, 2 * (10 + 7)),
        (f"{MATRIX}on_failure_others: rollback\n", 2 * (10 + 7) + 2 * 7),
        (MATRIX.replace("0}", "1}"), 2 * 10 + 7),
        (MATRIX.replace("0}", "0, wall: 5m}"), 5 + 10 + 7),
        ("on_failure: report\n", 10),
        ("baseline: {for: 30s, within: 15m}\n", 17 + 7.5),  # longer than the goal's deadline
    ],
)
def test_the_worst_case_counts_what_the_limits_allow(upgrading: Any, text: str, minutes: float):
    assert upgrading(text).worst_case.seconds == 60 * minutes


def test_without_a_deadline_there_is_no_worst_case(mine: Any, upgrading: Any):
    found = mine(STEPS.replace(", within: 10m", "") + MATRIX)
    assert found.worst_case.seconds is None
    assert found.sections["AT MOST"][0].startswith("no deadline to a verdict, then 7m")


def test_whom_auto_asks_is_told_cluster_by_cluster(upgrading: Any):
    free, asked, *_ = upgrading(f"{MATRIX}allow_auto_when: {{cluster: [e*, ap]}}\n").sections[
        "ASKS"
    ]
    assert free == "nobody in eu, ap"
    assert asked.startswith("you in us, for every step; 5m without an answer is a no")
    pinned = upgrading(f"{MATRIX}allow_auto_when: {{uid: [u-1]}}\n").sections["ASKS"][0]
    assert pinned == "nobody in clusters with the id u-1; elsewhere you"
    assert upgrading().sections["ASKS"][0] == "nobody"


def test_a_model_is_only_told_what_broke(upgrading: Any):
    (sent,) = upgrading(models=("openai/gpt-oss-20b",)).sections["SENT AWAY"]
    assert sent == (
        "to openai/gpt-oss-20b, to explain a failure and nothing else: what broke, and its "
        "evidence; masked in it: secrets, email, card, iban"
    )


# --- who answers, and what cannot be taken back ---------------------------------------------


def test_auto_still_asks_for_what_cannot_be_undone(mine: Any):
    auto = CHANGING + "approval: auto\nallow_auto_when: {cluster: ['*-staging', lab]}\n"
    nobody, you, *_ = mine(auto).sections["ASKS"]
    assert nobody == "nobody in clusters called *-staging or lab; elsewhere you"
    assert you.startswith("you, for what cannot be undone: restart;")
    free = mine(auto + "allow_without_undo: [restart]\n").sections["ASKS"]
    assert not any("cannot be undone" in line for line in free)


def test_never_asks_nobody_and_changes_nothing(mine: Any):
    found = mine(CHANGING + "approval: never\n")
    assert found.sections["ASKS"] == ("nothing: every change is refused",)
    assert not found.changes_now


def test_what_has_no_undo_is_named(mine: Any):
    assert (
        "has no undo: restart; after one of these it ends with exit 5"
        in (mine(CHANGING).sections["ON FAILURE"])
    )
    kept, none = mine(CHANGING + "on_failure: report\n").sections["ON FAILURE"]
    assert (kept[:12], none) == ("changes stay", "has no undo: restart")


def test_what_a_model_is_sent_is_named_with_what_is_masked(mine: Any):
    text = "secrets: {token: {from_env: TOKEN}}\nredact: [email]\n" + CHANGING
    sent, kept = mine(text, models=("openai/gpt-oss-20b", "expert")).sections["SENT AWAY"]
    assert sent.startswith("to openai/gpt-oss-20b: ")
    assert sent.endswith("masked in it: secrets, email")
    assert kept == "for tools, never sent to a model: token"


# --- policy files ---------------------------------------------------------------------------


def test_each_line_that_a_policy_narrows_says_whose_it_is(mine: Any, policy: Any):
    found = policy(
        """
allow: {namespaces: [shop], changes: [scale, set-resources]}
deny: {contexts: [prod-*]}
limits: {changes: 1, replicas: {max: 10}, max_factor: 2, rate: {changes: 5, per: 1h}}
on_managed: pr
approval: ask
break_glass: false
redact: [phone]
"""
    )
    told = mine(CHANGING + "approval: auto\n", found, models=("hf/x",))
    by = found.source
    for line in (
        f"but not restart: {by}",
        f"only in namespaces shop: {by}",
        f"never in clusters prod-*: {by}",
        f"at most 1 object in a run (not 3: {by})",
        f"replicas: at most 10 (not 20: {by}), at most 3 times as many, never 0",
        f"any other number: at most 2 times as much or as little (not 4: {by})",
        f"at most 5 changes in 1h, over all runs: {by}",
    ):
        assert line in told.sections["CHANGES"]
    first, over, managed = told.sections["ASKS"]
    assert over == f"what goes over a limit is refused, with --break-glass too ({by})"
    assert f"its undo ({by}); " in first
    assert managed.endswith(f"is not changed ({by})")
    assert "phone" in told.sections["SENT AWAY"][0]
    assert told.worst_case.changes == 1
    assert told.policies == (found.describe,)


def test_a_policy_widens_nothing(mine: Any, policy: Any):
    wide = policy("limits: {changes: 50, replicas: {max: 500, max_factor: 50}}\n")
    assert mine(CHANGING, wide).sections == mine(CHANGING).sections


# --- windows and freezes --------------------------------------------------------------------

HOURS = """
limits:
  windows: [{days: [mon, tue, wed, thu, fri], from: "09:00", to: "17:00", timezone: Europe/Berlin}]
  freezes: [{from: "2026-12-20", to: "2027-01-02", reason: year end}]
"""


def test_outside_a_window_it_says_when_the_next_one_opens(mine: Any):
    found = mine(CHANGING + HOURS)
    assert found.sections["NOW"][-1] == "they begin Mon 2026-11-23 09:00 CET, in 2d"
    assert "outside the change windows" in found.sections["NOW"][-2]
    assert not found.changes_now


def test_inside_a_window_it_says_when_that_closes(mine: Any):
    found = mine(CHANGING + HOURS, now=FRIDAY - timedelta(hours=4))
    assert found.sections["NOW"][-2:] == ("allowed now", "they end Fri 2026-11-20 17:00 CET, in 2h")
    assert found.changes_now


def test_a_freeze_ends_where_the_next_window_opens(mine: Any):
    found = mine(CHANGING + HOURS, now=datetime(2026, 12, 24, 12, tzinfo=UTC))
    assert found.sections["NOW"][-1] == "they begin Mon 2027-01-04 09:00 CET, in 10d"


def test_a_window_of_the_policy_counts_as_well(mine: Any, policy: Any):
    night = policy("limits: {windows: [{from: '22:00', to: '06:00'}]}\n")
    found = mine(CHANGING + HOURS, night)
    assert not found.changes_now
    assert found.turns is None  # the two never overlap


def test_without_windows_nothing_is_said_of_them(mine: Any):
    assert "NOW" not in mine(CHANGING).sections


@given(
    st.integers(0, 23), st.integers(1, 24), st.sampled_from(["UTC", "Europe/Berlin", "Asia/Tokyo"])
)
def test_changes_begin_or_end_at_the_turning_point_and_not_before(opens: int, long: int, zone: str):
    closes = (opens + long) % 24 or 24
    if closes == opens:
        return
    window = Window(from_=f"{opens:02}:00", to=f"{closes:02}:00", timezone=zone)
    calendars = [Calendar([window], [Freeze(from_="2026-11-21", to="2026-11-21")])]
    when = turning_point(calendars, FRIDAY)
    if when is None:
        return
    assert FRIDAY < when <= FRIDAY + timedelta(days=3)
    state = [_open(calendars, FRIDAY + timedelta(minutes=n)) for n in (0, 1)]
    assert state[0] == _open(calendars, when - timedelta(seconds=1))
    assert state[0] != _open(calendars, when)


def _open(calendars: list[Calendar], at: datetime) -> bool:
    return not any(closed(each.windows, each.freezes, at) for each in calendars)


# --- as data ----------------------------------------------------------------------


def test_json_holds_the_same_and_the_worst_case_as_numbers():
    found = told("triage", namespace="shop")
    data = found.json()
    assert [*data["sections"]["CHANGES"]] == [*found.sections["CHANGES"]]
    assert data["worst_case"] == {
        "turns": 25,
        "seconds": 600.0,
        "cost": 1.0,
        "changes": 2,
        "files": 0,
    }


def test_zones_are_those_of_the_window():
    window = Window(from_="09:00", to="10:00", timezone="Asia/Tokyo")
    when = turning_point([Calendar([window], [])], FRIDAY)
    assert when is not None
    assert when.tzinfo == ZoneInfo("Asia/Tokyo")
