"""What a server holds of some kinds, kept current by watching it, as controllers do."""

import http.client
import json
import logging
import threading
from collections.abc import Sequence

from tests.cluster.kube import Kube, RefusedError
from tests.deploy.manifests import Manifest

Kind = tuple[str, str]
RETRY_SECONDS = 1.0
# Whatever goes wrong between a client and a server: that it is down, that it was cut off, that it says no.
_UNREACHED = (OSError, http.client.HTTPException, json.JSONDecodeError, RefusedError)
_log = logging.getLogger(__name__)


class Mirror:
    """Objects of some kinds of a namespace; a thread for each kind lists them and watches for more.

    While the server is out of reach, what was known last is what there is.
    """

    def __init__(self, kube: Kube, kinds: Sequence[Kind], namespace: str) -> None:
        self._kube, self._namespace = kube, namespace
        self._objects: dict[Kind, dict[str, Manifest]] = {}
        self._changed = threading.Condition()
        self._is_new = False
        self._failure: BaseException | None = None
        self._threads = [threading.Thread(target=self._follow, args=(one,), daemon=True) for one in kinds]
        for thread in self._threads:
            thread.start()

    def wait(self, seconds: float) -> bool:
        """Returns when something changed since the last call, at most after so many seconds: whether all is known."""
        with self._changed:
            self._changed.wait_for(lambda: self._failure or (self._is_new and self._is_whole()), seconds)
            if self._failure:
                raise self._failure
            self._is_new = False
            return self._is_whole()

    def manifests(self) -> list[Manifest]:
        """What there is, by kind and name."""
        with self._changed:
            return [one[name] for _, one in sorted(self._objects.items()) for name in sorted(one)]

    def _is_whole(self) -> bool:
        return len(self._objects) == len(self._threads)

    def _follow(self, kind: Kind) -> None:
        said = ""
        while True:
            try:
                self._list_and_watch(kind)
                said = ""
            except _UNREACHED as error:
                if str(error) != said:
                    _log.warning("%s: %s", kind[1], error)
                said = str(error)
                threading.Event().wait(RETRY_SECONDS)
            except BaseException as error:  # noqa: BLE001  # whoever waits is told
                with self._changed:
                    self._failure = error
                    self._changed.notify_all()
                return

    def _list_and_watch(self, kind: Kind) -> None:
        listing = self._kube.listing(*kind, self._namespace)
        self._set(kind, {one["metadata"]["name"]: one for one in listing.items})
        for change in self._kube.watch(*kind, self._namespace, since=listing.version):
            known = dict(self._objects[kind])
            name = change.manifest["metadata"]["name"]
            if change.event == "DELETED":
                known.pop(name, None)
            else:
                known[name] = change.manifest
            self._set(kind, known)

    def _set(self, kind: Kind, known: dict[str, Manifest]) -> None:
        with self._changed:
            if self._objects.get(kind) != known:
                self._objects[kind] = known
                self._is_new = True
                self._changed.notify_all()
