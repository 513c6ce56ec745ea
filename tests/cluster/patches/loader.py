"""Has the image's `change` act on the one module that it names, right after that was imported."""

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _Changing(Loader):
    """Loads as another does, and changes what was loaded."""

    def __init__(self, usual: Loader, change: ModuleType) -> None:
        self._usual, self._change = usual, change

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._usual.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._usual.exec_module(module)
        self._change.act(module)


class _Finder(MetaPathFinder):
    """Finds the module that is to be changed where it would be found without us."""

    def __init__(self, change: ModuleType) -> None:
        self._change = change

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._change.MODULE:
            return None
        others = (one for one in sys.meta_path if one is not self)
        found = next(filter(None, (one.find_spec(fullname, path, target) for one in others)), None)
        if found is not None and found.loader is not None:
            found.loader = _Changing(found.loader, self._change)
        return found


if __name__ == "sitecustomize":
    sys.meta_path.insert(0, _Finder(importlib.import_module("change")))
