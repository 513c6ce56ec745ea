"""ApplicationSets made Applications as Argo CD makes them: generators of Git files, matrices, Go templates, patches.

What an ApplicationSet asks for beyond that is refused, rather than passed over.
"""

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from tests.deploy.tools import program
from tests.servers import ROOT

Tree = dict[str, Any]

OURS = "https://github.com/postrider/postrider.git"
UNDERSTOOD = {"goTemplate", "goTemplateOptions", "generators", "syncPolicy", "template", "templatePatch"}


def applications(text: str, root: Path = ROOT) -> list[Tree]:
    """The Applications of an ApplicationSet, whose generators read files below a folder.

    ValueError says what is wrong with it, or not understood.
    """
    spec = yaml.safe_load(text)["spec"]
    if unknown := set(spec) - UNDERSTOOD:
        raise ValueError(f"not understood here: {', '.join(sorted(unknown))}")
    if spec.get("goTemplate") is not True:
        raise ValueError("goTemplate is not on: the other templates leave what they do not know as it stands")
    options = spec.get("goTemplateOptions", [])
    return [
        application
        for generator in spec["generators"]
        for values in generated(generator, {}, options, root)
        for application in [made(spec, values, options)]
    ]


def generated(generator: Tree, known: Tree, options: Sequence[str], root: Path) -> Iterator[Tree]:
    """The values that a generator finds; where it is the second of a matrix, by those of the first."""
    (kind, said), *others = generator.items()
    if others:
        raise ValueError(f"a generator is of one kind, not of {', '.join(generator)}")
    if kind == "matrix":
        first, second = said["generators"]
        for values in generated(first, known, options, root):
            (filled,) = filled_in([(second, values)], options)
            for more in generated(filled, values, options, root):
                yield merged(values, more)
    elif kind == "git":
        yield from found(said, root)
    else:
        raise ValueError(f"a generator of kind {kind} is not understood here")


def found(said: Tree, root: Path) -> Iterator[Tree]:
    """What stands in the files that a generator of Git files names, and where they are."""
    if (said["repoURL"], set(said) - {"repoURL", "revision", "files", "pathParamPrefix"}) != (OURS, set()):
        raise ValueError(f"a generator reads files of {OURS}, and nothing else: {said}")
    for wanted in said["files"]:
        files = sorted(root.glob(wanted["path"]))
        if not files:
            raise ValueError(f"no file is {wanted['path']}")
        for file in files:
            place = where(file.relative_to(root).as_posix())
            prefix = said.get("pathParamPrefix")
            yield merged(yaml.safe_load(file.read_text()), {prefix: {"path": place}} if prefix else {"path": place})


def where(name: str) -> Tree:
    """What a template may know of the place of a file."""
    folder = PurePosixPath(name).parent
    return {
        "path": str(folder),
        "basename": folder.name,
        "filename": PurePosixPath(name).name,
        "segments": list(folder.parts),
    }


def merged(one: Tree, other: Tree) -> Tree:
    """Both; ValueError where they say different things of one name."""
    if both := sorted(key for key in one.keys() & other.keys() if one[key] != other[key]):
        raise ValueError(f"two generators say different things of {', '.join(both)}")
    return {**one, **other}


def made(spec: Tree, values: Tree, options: Sequence[str]) -> Tree:
    """The Application that the template and its patch make of values."""
    template, patch = filled_in([(spec["template"], values), (spec.get("templatePatch", ""), values)], options)
    whole = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", **template}
    whole["metadata"] = {"namespace": "argocd", **whole["metadata"]}
    patched: Tree = patched_with(whole, yaml.safe_load(patch) or {})
    return patched


def patched_with(tree: Any, patch: Any) -> Any:  # noqa: ANN401 any part of a manifest
    """A tree with a merge patch on it."""
    if not isinstance(tree, dict) or not isinstance(patch, dict):
        return patch
    return {**tree, **{key: patched_with(tree.get(key), value) for key, value in patch.items()}}


def filled_in(wanted: Sequence[tuple[Any, Mapping[str, Any]]], options: Sequence[str]) -> list[Any]:
    """Trees whose templates are filled in; ValueError with what Go says of one that cannot be."""
    jobs = [{"tree": tree, "values": values, "options": list(options)} for tree, values in wanted]
    done = subprocess.run([program("gotemplate")], input=json.dumps(jobs), capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(done.stderr.strip())
    trees: list[Any] = json.loads(done.stdout)
    return trees
