"""Runs what a workflow's steps say, as GitHub would: by bash, with the variables that its expressions stand for.

Actions that are used are somebody else's, and left out. Of expressions there are names with dots, texts, `||` and `==`;
KeyError says which name nobody has given a meaning, and ValueError what is not understood.
"""

import os
import re
import subprocess
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.servers import ROOT

WORKFLOWS = ROOT / ".github" / "workflows"
_EXPRESSION = re.compile(r"\$\{\{ (.*?) \}\}")
_NAME = re.compile(r"[\w.-]+")
# GitHub's client: it keeps a list of what is open and of labels, as GitHub does, and writes down what it was asked for.
CLIENT = """\
#!/bin/sh
printf '%s\\n' "$*" >> "$ASKED"
case "$1 $2" in
    "pr list") grep -qx "pr create.*" "$ASKED" && echo https://github.com/postrider/postrider/pull/7 ;;
    "pr create")
        label=$(expr "$*" : '.*--label \\(.*\\)')
        if [ -n "$label" ] && ! grep -q "^label create $label" "$ASKED"; then
            echo "could not add label: '$label' not found" >&2
            exit 1
        fi
        echo https://github.com/postrider/postrider/pull/7 ;;
esac
exit 0
"""


class StepError(Exception):
    """What a step said that failed."""


def run_job(
    workflow: str,
    job: str,
    folder: Path,
    event: Mapping[str, Any],
    environment: Mapping[str, str],
    left_out: Collection[str] = (),
) -> dict[str, dict[str, str]]:
    """Runs the steps of a job in a folder, but those left out by name; returns what each put out, by its id.

    `event` holds what expressions may name: `inputs`, `github`, and in `steps` what the actions have put out.
    """
    said = yaml.safe_load((WORKFLOWS / f"{workflow}.yml").read_text())["jobs"][job]
    if unknown := set(left_out) - {step.get("name") for step in said["steps"]}:
        raise ValueError(f"{workflow} has no step {', '.join(sorted(unknown))}")
    outputs: dict[str, dict[str, str]] = {}
    actions: Mapping[str, Any] = event.get("steps", {})
    known = {**event, "env": _filled(said.get("env", {}), event)}
    for step in said["steps"]:
        if "run" not in step or step.get("name") in left_out:
            continue
        now = {**known, "steps": {**actions, **{name: {"outputs": one} for name, one in outputs.items()}}}
        if "if" in step and not _value(step["if"], now):
            continue
        variables = {**environment, **known["env"], **_filled(step.get("env", {}), now)}
        outputs[step.get("id", step["name"])] = _run(step, folder, variables)
    return outputs


def _run(step: Mapping[str, Any], folder: Path, variables: Mapping[str, str]) -> dict[str, str]:
    out = Path(variables["RUNNER_TEMP"]) / "output"
    out.write_text("")
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        cwd=folder,
        env={**os.environ, **variables, "GITHUB_OUTPUT": str(out)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise StepError(f"{step['name']}: {done.stderr or done.stdout}")
    return dict(line.split("=", 1) for line in out.read_text().splitlines())


def _filled(variables: Mapping[str, str], known: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: _EXPRESSION.sub(lambda found: _value(found.group(1), known), str(text))
        for name, text in variables.items()
    }


def _value(expression: str, known: Mapping[str, Any]) -> str:
    """What an expression stands for: the first of several that is not empty; of a comparison `true` or nothing."""
    if "==" in expression:
        one, other = (_value(part.strip(), known) for part in expression.split("=="))
        return "true" if one == other else ""
    return next(filter(None, _values(expression, known)), "")


def _values(expression: str, known: Mapping[str, Any]) -> Iterator[str]:
    for part in (one.strip() for one in expression.split("||")):
        if part.startswith("'"):
            yield part.strip("'")
        elif _NAME.fullmatch(part):
            found: Any = known
            for name in part.split("."):
                found = found[name] if found else ""
            yield str(found)
        else:
            raise ValueError(f"not understood: {expression}")
