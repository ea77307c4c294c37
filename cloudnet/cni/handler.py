"""One request in, one answer out: reads what the runtime says, has it done, and gives every failure CNI's code."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from cloudnet.cni import events, netconf, wire
from cloudnet.cni.add import add
from cloudnet.cni.check import check
from cloudnet.cni.delete import delete
from cloudnet.cni.gc import collect
from cloudnet.cni.site import Request, Site
from cloudnet.cni.status import status
from cloudnet.cni.wire import CniError, Code, Command
from cloudnet.errors import BadInput, CloudnetError
from cloudnet.ipam.errors import AddressTaken, IpamError, NoPool
from cloudnet.kernel.api import HostNamespace, KernelError, NotANamespace
from cloudnet.store.api import StoreError

log = logging.getLogger(__name__)

_CODES: tuple[tuple[type[CloudnetError], Code], ...] = (
    (NotANamespace, Code.INVALID_ENVIRONMENT),
    (HostNamespace, Code.INVALID_ENVIRONMENT),
    (NoPool, Code.INVALID_CONFIGURATION),
    (AddressTaken, Code.NO_ADDRESS),
    (IpamError, Code.NO_ADDRESS),
    (KernelError, Code.IO_FAILURE),
    (StoreError, Code.IO_FAILURE),
    (BadInput, Code.INVALID_CONFIGURATION),
)
"""What an error of ours is to a runtime; the first that fits. Errors worth trying again are that before all else."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the shim prints, and the status that it exits with; ``code`` is 0 when all went well."""

    output: bytes
    code: int = 0

    @property
    def status(self) -> int:
        return 1 if self.code else 0


class Handler:
    """Answers requests; from many threads."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def answer(self, command: str, variables: Mapping[str, str], data: bytes, namespace: int | None) -> Answer:
        """Return the answer to one request; every failure is one.

        ``namespace`` is an open file of CNI_NETNS, if that could be opened.
        """
        try:
            return Answer(self._do(command, variables, data, namespace))
        except CloudnetError as e:
            problem = as_cni(e, netns=variables.get("CNI_NETNS", ""))
        except Exception:
            log.exception("a request failed command=%s container=%s", command, variables.get("CNI_CONTAINERID", ""))
            problem = CniError(Code.INTERNAL, "a defect in cloudnet's agent, whose log has the traceback: report it")
        if (event := events.of_failure(command, variables, problem)) is not None:
            self._site.record(event)
        return Answer(wire.error(problem, netconf.version_of(data)), problem.code)

    def _do(self, word: str, variables: Mapping[str, str], data: bytes, namespace: int | None) -> bytes:
        try:
            command = Command(word)
        except ValueError:
            known = wire.words(one.value for one in Command)
            raise CniError(
                Code.INVALID_ENVIRONMENT, f"CNI_COMMAND is {wire.short(word)}: expected one of {known}"
            ) from None
        if command is Command.VERSION:
            return wire.versions(netconf.version_of(data))
        environment = wire.environment(variables, command)
        request = Request(environment, netconf.parse(data, command), namespace)
        match command:
            case Command.ADD:
                return add(self._site, request)
            case Command.DEL:
                return delete(self._site, request, data)
            case Command.CHECK:
                return check(self._site, request)
            case Command.GC:
                return collect(self._site, request)
            case _:
                return status(self._site, request)


def as_cni(error: CloudnetError, *, netns: str = "") -> CniError:
    """Return an error of ours as the runtime knows it."""
    if isinstance(error, CniError):
        return error
    if error.retry:
        return CniError(Code.TRY_AGAIN, str(error))
    if isinstance(error, NotANamespace | HostNamespace):
        return CniError(Code.INVALID_ENVIRONMENT, f"CNI_NETNS is {wire.short(netns)}: {error}")
    code = next((code for kind, code in _CODES if isinstance(error, kind)), Code.INTERNAL)
    return CniError(code, str(error))
