"""Manifests of Kubernetes and compose."""

from __future__ import annotations

import pytest

from devkit.audit import manifest
from devkit.errors import BadValue

GOOD = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: iris}
spec:
  template:
    spec:
      securityContext: {runAsNonRoot: true}
      containers:
      - name: scoring
        image: iris:1-release
        ports: [{containerPort: 5001}]
        env:
        - {name: DB_PASSWORD, valueFrom: {secretKeyRef: {name: db, key: password}}}
"""
BAD = """\
kind: Deployment
metadata: {name: iris}
spec:
  template:
    spec:
      containers:
      - name: scoring
        command: [python, -m, debugpy]
        args: ["--listen", "0.0.0.0:5678", "--wait-for-client"]
        ports: [{containerPort: 5678}]
        env:
        - {name: DEVKIT_DEBUG, value: "1"}
        - {name: DB_PASSWORD, value: hush}
        securityContext: {privileged: true, runAsUser: 0}
"""
POD = "containers: [{name: a, ports: [{containerPort: 5678}]}]"


def told(text: str) -> list[tuple[str, str]]:
    return [(it.id, it.where) for it in manifest.findings(text.encode(), "m.yaml")]


def ids(text: str) -> list[str]:
    return [id_ for id_, _ in told(text)]


def test_a_manifest_for_production_has_no_findings() -> None:
    assert told(GOOD) == []


def test_each_fault_is_named_with_its_place() -> None:
    place = "m.yaml: Deployment/iris, scoring"
    assert told(BAD) == [
        ("debug-command", f"{place}, args"),
        ("debug-command", f"{place}, command"),
        ("debug-port", f"{place}, port 5678"),
        ("debug-variable", f"{place}, env DEVKIT_DEBUG"),
        ("privileged", place),
        ("secret", f"{place}, env DB_PASSWORD"),
        ("root-user", place),
    ]


def test_every_document_and_every_item_of_a_list_is_read() -> None:
    listed = "kind: List\nitems:\n- {kind: Pod, metadata: {name: b}, spec: {" + POD + "}}\n"
    pod = "kind: Pod\nmetadata: {name: a}\nspec: {" + POD + "}\n"
    found = told(f"{GOOD}---\n---\n{pod}---\n{listed}")
    assert {where for id_, where in found if id_ == "debug-port"} == {
        "m.yaml: Pod/a, a, port 5678",
        "m.yaml: Pod/b, a, port 5678",
    }


@pytest.mark.parametrize(
    "spec",
    [
        "kind: Pod\nspec: {" + POD + "}",
        "kind: StatefulSet\nspec: {template: {spec: {" + POD + "}}}",
        "kind: CronJob\nspec: {jobTemplate: {spec: {template: {spec: {" + POD + "}}}}}",
        "kind: InferenceService\nspec: {predictor: {" + POD + "}}",
        "kind: Pod\nspec: {containers: [], initContainers: [{ports: [{containerPort: 5678}]}]}",
        "kind: Service\nspec: {ports: [{port: 80, targetPort: 5678}]}",
        "services: {a: {ports: ['5678:5678']}}",
        "services: {a: {ports: ['127.0.0.1:8000:5678/tcp']}}",
        "services: {a: {ports: ['5670-5680:5670-5680']}}",
        "services: {a: {ports: [{target: 5678, published: '8000'}]}}",
        "services: {a: {expose: [5678]}}",
    ],
)
def test_a_debug_port_is_found_in_every_kind(spec: str) -> None:
    assert "debug-port" in ids(spec)


@pytest.mark.parametrize(
    ("pod", "container", "is_found"),
    [
        ("{}", "{}", True),
        ("{runAsNonRoot: true}", "{}", False),
        ("{runAsUser: 1000}", "{}", False),
        ("{runAsUser: 0}", "{}", True),
        ("{runAsNonRoot: true}", "{runAsNonRoot: false}", True),
        ("{runAsUser: 0}", "{runAsUser: 1000}", False),
        ("{runAsNonRoot: true}", "{runAsUser: 0}", True),
    ],
)
def test_the_containers_own_words_stand_before_the_pods(
    pod: str, container: str, is_found: bool
) -> None:
    text = (
        f"kind: Pod\nspec:\n  securityContext: {pod}\n"
        f"  containers: [{{name: a, securityContext: {container}}}]\n"
    )
    assert ids(text) == ["root-user"] * is_found


def test_a_config_map_holds_no_secrets_and_no_debugging() -> None:
    text = "kind: ConfigMap\ndata: {DEVKIT_DEBUG: '1', API_KEY: hush, A: b}"
    assert ids(text) == ["debug-variable", "secret"]


def test_a_compose_service_is_read() -> None:
    text = """\
services:
  a: {environment: [API_TOKEN=hush, PASSED_TOKEN], user: "0:0", privileged: true}
  b: {environment: {DEVKIT_DEBUG: 1}, command: python -m debugpy 'x, user: app}
  c: {image: "iris:1-release", environment: {API_TOKEN: "${API_TOKEN}"}}
  d: broken
"""
    assert ids(text) == ["debug-command", "debug-variable", "privileged", "secret", "root-user"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "m.yaml is empty."),
        ("---\n---\n# nothing", "m.yaml is empty."),
        ("a: [1", "m.yaml:1: the file is not valid YAML"),
        ("a: b\n{{ .Values.x }}: [", "m.yaml:2: the file is not valid YAML"),
        ("a: !!python/object:os.system {}", "not valid YAML"),
        ("a: 2026-99-99", "not valid YAML"),
        ("[" * 5000, "not valid YAML"),
        ("just words", "holds no Kubernetes object"),
        ("a: b", "holds no Kubernetes object"),
    ],
)
def test_what_is_no_manifest_is_one_sentence(text: str, words: str) -> None:
    with pytest.raises(BadValue) as caught:
        manifest.findings(text.encode(), "m.yaml")
    assert words in caught.value.message
    assert caught.value.hint


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(BadValue, match="not valid YAML"):
        manifest.findings(b"\xff\xfe\x00", "m.yaml")


def test_aliases_that_multiply_or_go_round_are_read_once() -> None:
    lines = ["a0: &a0 {containers: [{ports: [{containerPort: 5678}]}]}"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 20)}]" for n in range(1, 15)]
    assert "debug-port" in ids("kind: Bomb\n" + "\n".join(lines))
    assert ids("kind: List\nitems: &i [{kind: List, items: *i}]") == []


@pytest.mark.parametrize(
    "text",
    [
        "kind: Pod\nspec: {containers: [7, {env: 3, ports: [x], command: 5, securityContext: 1}]}",
        "kind: Service\nspec: []",
        "kind: ConfigMap\ndata: 3",
        "kind: Pod\nmetadata: 3\nspec: {containers: [{env: [{name: a}, {value: b}]}]}",
        "services: {a: {ports: 3, environment: 3, command: 3, user: []}}",
    ],
)
def test_what_has_another_shape_breaks_nothing(text: str) -> None:
    manifest.findings(text.encode(), "m.yaml")
