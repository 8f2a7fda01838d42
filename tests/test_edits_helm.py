"""Helm charts: what would be installed, and the value behind a field."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smoldebug.edits.documents import find
from smoldebug.edits.operations import Operation
from smoldebug.edits.render import render
from smoldebug.edits.rendered import Rendered, Rendering
from smoldebug.errors import ChangeRefused
from smoldebug.pointers import lookup
from smoldebug.sources.fakes import MemoryTree

APP = "/spec/template/spec/containers/[name=search]"
ENV = f"{APP}/env"
FLAG = Operation(f"{APP}/env/[name=FEATURE_FLAG]", {"name": "FEATURE_FLAG", "value": "true"})

HELPERS = """\
{{/* The name of everything. */}}
{{- define "search.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "search.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "search.selectorLabels" . }}
{{- if .Chart.AppVersion }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "search.selectorLabels" -}}
app.kubernetes.io/name: {{ include "search.fullname" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
"""
WORKLOAD = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "search.fullname" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "search.labels" . | nindent 4 }}
spec:
  {{- if not .Values.autoscaling.enabled }}
  replicas: {{ .Values.replicaCount }}
  {{- end }}
  selector:
    matchLabels:
      {{- include "search.selectorLabels" . | nindent 6 }}
  template:
    metadata:
      annotations:
        checksum/config: {{ include (print $.Template.BasePath "/config.yaml") . | sha256sum }}
        {{- with .Values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      labels:
        {{- include "search.selectorLabels" . | nindent 8 }}
    spec:
      containers:
        - name: {{ .Chart.Name }}
          {{- $tag := .Values.image.tag | default .Chart.AppVersion }}
          image: "{{ .Values.image.repository }}:{{ $tag }}"
          env:
            - name: PORT
              value: "8080"
%s
          resources:
            {{- toYaml .Values.resources | nindent 12 }}
          {{- with .Values.livenessProbe }}
          livenessProbe:
            {{- toYaml . | nindent 12 }}
          {{- end }}
"""
AS_LIST = """\
            {{- toYaml .Values.env | nindent 12 }}"""
AS_MAP = """\
            {{- range $name, $value := .Values.env }}
            - name: {{ $name }}
              value: {{ $value | quote }}
            {{- end }}"""
EXTRA = """\
            {{- with .Values.extraEnv }}
            {{- toYaml . | nindent 12 }}
            {{- end }}"""
VALUES = """\
replicaCount: 2
autoscaling: {enabled: false}
image:
  repository: registry.example/shop/search
  tag: 1.9.0   # released on Fridays
resources:
  limits: {memory: 256Mi}
livenessProbe:
  httpGet: {path: /health, port: 8080}
env:
  - name: INDEX
    value: products
  - name: ZONE
    value: a
"""
MAP_VALUES = VALUES[: VALUES.index("env:")] + "env:\n  INDEX: products\n  ZONE: a\n"
PATH = "deploy/charts/search"


def chart(workload: str = WORKLOAD % AS_LIST, values: str = VALUES) -> dict[str, str]:
    return {
        f"{PATH}/Chart.yaml": "apiVersion: v2\nname: search\nversion: 1.0.0\nappVersion: '1.8'\n",
        f"{PATH}/values.yaml": values,
        f"{PATH}/templates/_helpers.tpl": HELPERS,
        f"{PATH}/templates/deployment.yaml": workload,
        f"{PATH}/templates/NOTES.txt": "{{ lookup 1 }}\n",
    }


def rendered(*parts: Mapping[str, str]) -> Rendering:
    files = {path: text.encode() for part in parts for path, text in part.items()}
    tree = MemoryTree(files)
    return render(tree, find(tree, ["**"]))


def only(*parts: Mapping[str, str]) -> Rendered:
    whole = rendered(*parts)
    assert whole.problems == ()
    (found,) = whole.objects
    return found


def placed(found: Rendered, *operations: Operation, wanted: frozenset[str] = frozenset()) -> Any:
    """By file, pointer to value of what is set; of what is removed, to "removed"."""
    return {
        place.path: {
            each.pointer: "removed" if each.remove else each.value for each in place.operations
        }
        for place in found.place(operations, wanted)
    }


def test_a_chart_is_read_as_helm_would_render_it() -> None:
    search = only(chart())

    container = lookup(search.object, APP)
    assert str(search.ref) == "Deployment/search"
    assert search.via == "helm deploy/charts/search"
    assert container["image"] == "registry.example/shop/search:1.9.0"
    assert [each["name"] for each in container["env"]] == ["PORT", "INDEX", "ZONE"]
    assert container["resources"] == {"limits": {"memory": "256Mi"}}
    assert search.object["spec"]["replicas"] == 2
    assert search.object["metadata"]["labels"]["helm.sh/chart"] == "search-1.0.0"
    assert (search.document.path, search.document.line) == (f"{PATH}/templates/deployment.yaml", 2)


def test_a_variable_goes_where_the_template_takes_its_variables_from() -> None:
    item = {"name": "FEATURE_FLAG", "value": "true"}
    values = f"{PATH}/values.yaml"

    as_list = only(chart())
    assert placed(as_list, FLAG) == {values: {"/env/[name=FEATURE_FLAG]": item}}

    as_map = only(chart(WORKLOAD % AS_MAP, MAP_VALUES))
    assert placed(as_map, FLAG) == {values: {"/env/FEATURE_FLAG": "true"}}

    not_there_yet = only(chart(WORKLOAD % EXTRA))
    assert placed(not_there_yet, FLAG) == {values: {"/extraEnv/[name=FEATURE_FLAG]": item}}


def test_a_variable_is_changed_and_taken_away_in_the_values() -> None:
    changed = Operation(f"{APP}/env/[name=INDEX]/value", "brands")
    gone = Operation(f"{APP}/env/[name=INDEX]", remove=True)
    values = f"{PATH}/values.yaml"

    as_list = only(chart())
    assert placed(as_list, changed) == {values: {"/env/[name=INDEX]/value": "brands"}}
    assert placed(as_list, gone) == {values: {"/env/[name=INDEX]": "removed"}}

    as_map = only(chart(WORKLOAD % AS_MAP, MAP_VALUES))
    assert placed(as_map, changed) == {values: {"/env/INDEX": "brands"}}
    assert placed(as_map, gone) == {values: {"/env/INDEX": "removed"}}


@pytest.mark.parametrize(
    ("pointer", "value", "edits"),
    [
        (f"{APP}/image", "registry.example/shop/search:2.0", {"/image/tag": "2.0"}),
        (
            f"{APP}/image",
            "mirror.example/search:2.0",
            {"/image/repository": "mirror.example/search", "/image/tag": "2.0"},
        ),
        ("/spec/replicas", 6, {"/replicaCount": 6}),
        (f"{APP}/resources/limits/memory", "1Gi", {"/resources/limits/memory": "1Gi"}),
        (f"{APP}/resources/requests/cpu", "200m", {"/resources/requests/cpu": "200m"}),
        (f"{APP}/livenessProbe/httpGet/path", "/ok", {"/livenessProbe/httpGet/path": "/ok"}),
        (
            "/spec/template/metadata/annotations/owner",
            "shop",
            {"/podAnnotations/owner": "shop"},
        ),
    ],
)
def test_a_field_is_edited_in_the_value_behind_it(
    pointer: str, value: Any, edits: dict[str, Any]
) -> None:
    assert placed(only(chart()), Operation(pointer, value)) == {f"{PATH}/values.yaml": edits}


@pytest.mark.parametrize(
    ("operation", "line"),
    [
        (Operation(f"{APP}/env/[name=PORT]/value", "9090"), 31),
        (Operation("/spec/template/spec/containers/[name=search]/image", "other"), 28),
        (Operation("/spec/paused", True), 8),
    ],
)
def test_what_the_template_sets_itself_is_left_to_a_person(operation: Operation, line: int) -> None:
    with pytest.raises(ChangeRefused, match=f"deployment.yaml:{line}: .* edit it by hand"):
        only(chart()).place([operation])


# --- releases -----------------------------------------------------------------------------------


def test_a_chart_is_in_the_namespace_that_its_values_name() -> None:
    search = only(chart(values=VALUES + "namespace: staging\n"))

    assert str(search.ref) == "Deployment/staging/search"


def test_each_environment_with_values_of_its_own_is_a_release() -> None:
    whole = rendered(
        chart(),
        {f"{PATH}/values-staging.yaml": "replicaCount: 1\n", f"{PATH}/values-eu.yaml": "x: 1\n"},
    )
    staging, eu = sorted(whole.objects, key=lambda each: each.ref, reverse=True)
    both = {"helm deploy/charts/search values-staging.yaml"} | {eu.via}
    scale = Operation("/spec/replicas", 4)

    assert [str(each.ref) for each in (staging, eu)] == [
        "Deployment/staging/search",
        "Deployment/eu/search",
    ]
    assert staging.shared == eu.shared == both
    assert placed(staging, scale) == {f"{PATH}/values-staging.yaml": {"/replicaCount": 4}}
    assert placed(eu, scale) == {f"{PATH}/values-eu.yaml": {"/replicaCount": 4}}
    assert placed(staging, FLAG) == {
        f"{PATH}/values-staging.yaml": {"/env": [*lookup(staging.object, ENV)[1:], FLAG.value]}
    }  # lists of values are not merged
    assert placed(staging, FLAG, wanted=frozenset(both)) == {
        f"{PATH}/values.yaml": {"/env/[name=FEATURE_FLAG]": FLAG.value}
    }


APPLICATION = """\
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: search, namespace: argocd}
spec:
  destination: {namespace: staging}
  source:
    repoURL: https://git.example/shop.git
    path: deploy/charts/search
    helm: {releaseName: finder, valueFiles: [../values/staging.yaml]}
"""
HELM_RELEASE = """\
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: search, namespace: flux-system}
spec:
  targetNamespace: staging
  releaseName: search
  chart: {spec: {chart: ./deploy/charts/search}}
  values:
    env: [{name: INDEX, value: brands}]
"""


def test_an_application_of_argo_cd_says_where_a_chart_is_installed() -> None:
    whole = rendered(
        chart(),
        {"apps/search.yaml": APPLICATION, "deploy/charts/values/staging.yaml": "replicaCount: 7\n"},
    )
    (search,) = (each for each in whole.objects if each.ref.kind == "Deployment")

    assert str(search.ref) == "Deployment/staging/finder-search"
    assert search.object["spec"]["replicas"] == 7
    assert placed(search, Operation("/spec/replicas", 8)) == {
        "deploy/charts/values/staging.yaml": {"/replicaCount": 8}
    }


def test_values_in_a_helm_release_of_flux_are_edited_there() -> None:
    whole = rendered(chart(), {"flux/search.yaml": HELM_RELEASE})
    (search,) = (each for each in whole.objects if each.ref.kind == "Deployment")

    assert str(search.ref) == "Deployment/staging/search"
    assert placed(search, FLAG) == {
        "flux/search.yaml": {"/spec/values/env/[name=FEATURE_FLAG]": FLAG.value}
    }


# --- what is not known ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        (chart("kind: Pod\nx: {{ lookup 1 }}\n"), "deployment.yaml:2: .* the function lookup"),
        (chart("kind: Pod\nx: {{ .Capabilities.X }}\n"), "deployment.yaml:2: .* .Capabilities.X"),
        (chart("a: {{ .Values.no.where }}\n"), r"deployment.yaml:1: .* \.Values\.no\.where"),
        (chart("a: {{ .Values.image }}\n"), "deployment.yaml:1: .* printed in more than one way"),
        (chart('a: {{ printf "%s" .Values.replicaCount }}\n'), "deployment.yaml:1: .* printf"),
        (chart("a: {{ eq .Values.replicaCount 2 }}\n"), "deployment.yaml:1: .* eq"),
        (chart("a: {{ .Values.no | toString }}\n"), "deployment.yaml:1: .* in more than one way"),
        (chart("a: [\n"), "deployment.yaml:1: not rendered, it becomes no YAML"),
        (chart(values="a: [\n"), "values.yaml:"),
        (
            chart() | {f"{PATH}/Chart.yaml": "name: search\ndependencies: [{name: redis}]\n"},
            "Chart.yaml:1: the charts it depends on are not rendered",
        ),
        (
            chart() | {"a.yaml": APPLICATION.replace("releaseName", "parameters")},
            "a.yaml:1: not rendered, some values are in parameters",
        ),
    ],
)
def test_what_cannot_be_rendered_for_sure_is_told_with_its_line(
    files: dict[str, str], problem: str
) -> None:
    with pytest.raises(AssertionError, match=problem):
        assert not "\n".join(rendered(files).problems)


def test_what_is_switched_off_need_not_be_understood() -> None:
    ingress = "{{- if .Values.ingress }}\nx: {{ semverCompare 1 }}\n{{- end }}\n"
    whole = rendered(chart() | {f"{PATH}/templates/ingress.yaml": ingress})

    assert whole.problems == ()
    assert len(whole.objects) == 1


def test_a_packed_chart_is_no_chart_of_its_own() -> None:
    packed = {f"{PATH}/charts/redis/Chart.yaml": "apiVersion: v2\nname: redis\n"}

    assert len(rendered(chart(), packed).objects) == 1


PIECES = (
    *("{{ ", "{{- ", " }}", " -}}", "if ", "with ", "range ", "$k, $v := ", "else", "else if "),
    *("end", 'define "x"', 'include "x" .', ".Values.env", ".Values", "$", ".", "|", " quote"),
    *(
        " toYaml",
        " nindent 4",
        " indent 999999999",
        "(",
        ")",
        "\n",
        "a: ",
        "- ",
        '"',
        "1",
        "$x := ",
    ),
    *("default ", 'printf "%s" ', "and ", 'replace "" "y" ', "{{ end }}", "{{ if .Values.a }}"),
)


@settings(max_examples=150)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_any_text_is_a_template_that_is_rendered_or_told(template: str) -> None:
    rendered(chart("apiVersion: v1\nkind: Pod\nmetadata: {}\n" + template))


@pytest.mark.parametrize(
    "template",
    [
        '{{ define "x" }}{{ include "x" . }}{{ end }}{{ include "x" . }}',
        "{{ range $.Values.many }}" * 9 + "{{ end }}" * 9,
        "{{ $x := .Values.image.tag }}" + "{{ $x := print $x $x }}" * 50,
        "{{ if 1 }}" * 5000 + "{{ end }}" * 5000,
        "{{ " + "(" * 5000 + " }}",
    ],
)
def test_a_template_that_would_never_end_ends(template: str) -> None:
    values = VALUES + f"many: {list(range(50))}\n"

    assert "not evaluated: " in rendered(chart(template, values)).problems[0]
