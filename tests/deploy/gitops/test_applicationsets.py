"""The evaluator does as Argo CD does, and refuses what it would get wrong."""

from pathlib import Path

import pytest

from tests.deploy.gitops.applicationsets import OURS, applications

HEAD = f"""
spec:
  goTemplate: true
  goTemplateOptions: [missingkey=error]
  generators:
    - git: &git {{repoURL: {OURS}, revision: main, files: [{{path: envs/*/config.yaml}}]}}
"""
TEMPLATE = """
  template:
    metadata: {name: 'app-{{.name}}', labels: {where: '{{.path.basename}}', first: '{{index .path.segments 0}}'}}
    spec: {project: '{{.name | upper}}'}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("one", "two"):
        folder = tmp_path / "envs" / name
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(f"name: {name}\nprune: {str(name == 'one').lower()}\n")
        (folder / "image.yaml").write_text(f"image: {{digest: of-{name}}}\n")
    return tmp_path


def test_each_file_that_is_found_makes_an_application(root: Path) -> None:
    made = applications(HEAD + TEMPLATE, root)
    assert [one["metadata"]["name"] for one in made] == ["app-one", "app-two"]
    assert made[0]["metadata"]["labels"] == {"where": "one", "first": "envs"}
    assert made[1]["spec"] == {"project": "TWO"}


def test_a_patch_brings_what_is_no_text(root: Path) -> None:
    patch = "  templatePatch: |\n    spec: {sync: {prune: {{.prune}}}, project: mine}\n"
    assert [one["spec"] for one in applications(HEAD + TEMPLATE + patch, root)] == [
        {"project": "mine", "sync": {"prune": True}},
        {"project": "mine", "sync": {"prune": False}},
    ]


def test_the_second_of_a_matrix_reads_what_the_first_found(root: Path) -> None:
    second = "{<<: *git, pathParamPrefix: image, files: [{path: 'envs/{{.name}}/image.yaml'}]}"
    matrix = HEAD.replace("- git: &git", "- matrix:\n        generators:\n          - git: &git")
    matrix = f"{matrix}          - git: {second}\n"
    template = "\n  template: {metadata: {name: '{{.name}}'}, spec: {image: '{{.image.digest}}'}}\n"
    with pytest.raises(ValueError, match="two generators say different things of image"):
        applications(matrix + template, root)
    for name in ("one", "two"):
        (root / "envs" / name / "image.yaml").write_text(f"release: {{digest: of-{name}}}\n")
    found = applications(matrix + template.replace(".image.digest", ".release.digest"), root)
    assert [one["spec"]["image"] for one in found] == ["of-one", "of-two"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD + TEMPLATE.replace("{{.name | upper}}", "{{.nobody}}"), 'map has no entry for key "nobody"'),
        (HEAD + TEMPLATE.replace("{{.name | upper}}", '{{env "HOME"}}'), 'function "env" not defined'),
        (HEAD + TEMPLATE.replace("{{.name | upper}}", "{{.name"), "unclosed action"),
        (HEAD.replace("config.yaml", "konfig.yaml") + TEMPLATE, "no file is envs/*/konfig.yaml"),
        (HEAD.replace("goTemplate: true", "goTemplate: false") + TEMPLATE, "goTemplate is not on"),
        (HEAD.replace(OURS, "https://elsewhere.example.com/x.git") + TEMPLATE, "and nothing else"),
        (HEAD.replace("- git: &git", "- clusters:") + TEMPLATE, "a generator of kind clusters is not understood here"),
        (HEAD + TEMPLATE + "  strategy: {type: RollingSync}\n", "not understood here: strategy"),
    ],
)
def test_what_is_wrong_or_not_understood_is_said(root: Path, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("*", r"\*")):
        applications(text, root)
