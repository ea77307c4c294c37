"""Addresses from an IPAM plugin that the runtime has, such as host-local: run as the specification says.

The plugin gets the whole configuration and the runtime's own environment, finds itself in CNI_PATH, and is given a
while. CNI specification 1.1.0, section 4. ``usePodCidr`` in host-local's configuration stands for the node's range.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import msgspec

from cloudnet.cni.addresses import Given, Wish
from cloudnet.cni.identity import Identity
from cloudnet.cni.netconf import NetConf, address
from cloudnet.cni.wire import CniError, Code, Environment, Json, short
from cloudnet.errors import BadInput
from cloudnet.ipam.leases import Extra
from cloudnet.model.addresses import Family, Network
from cloudnet.store.api import Store, Write

_PATIENCE = 30.0  # seconds for another's plugin
_LONGEST = 1 << 20  # bytes of its answer
_SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_POD_CIDR: Mapping[str, Family] = {"usepodcidr": Family.IPV4, "usepodcidripv6": Family.IPV6}
_ANYTHING: Mapping[Family, str] = {Family.IPV4: "0.0.0.0/0", Family.IPV6: "::/0"}

PodCidrs = Callable[[], Sequence[Network]]


class Delegate:
    """One request's IPAM plugin."""

    def __init__(self, conf: NetConf, environment: Environment, store: Store, pod_cidrs: PodCidrs) -> None:
        self._conf = conf
        self._environment = environment
        self._store = store
        self._pod_cidrs = pod_cidrs

    def give(self, wish: Wish, extra: Extra) -> Given:  # noqa: ARG002 - the plugin reads all it needs from its input
        given = _given(self._run("ADD"), self._conf.ipam.type)
        try:
            self._store.write(extra(given.addresses))
        except BaseException:
            self._run("DEL")
            raise
        return given

    def take_back(self, identity: Identity, writes: Sequence[Write]) -> None:  # noqa: ARG002 - the same
        if writes:
            self._store.write(writes)
        self._run("DEL")

    def check(self) -> None:
        """Ask the plugin whether the addresses are still the container's.

        Raises:
            CniError: they are not, or the plugin failed.
        """
        self._run("CHECK")

    def _run(self, command: str) -> Json:
        kind, program = self._conf.ipam.type, self._program()
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": self._environment.container,
            "CNI_NETNS": self._environment.netns,
            "CNI_IFNAME": self._environment.interface,
            "CNI_ARGS": ";".join(f"{key}={value}" for key, value in self._environment.args.items()),
            "CNI_PATH": ":".join(self._environment.path),
            "PATH": _SEARCH,
        }
        try:
            done = subprocess.run(
                [str(program)],
                input=msgspec.json.encode(self._document(command)),
                env=environment,
                capture_output=True,
                timeout=_PATIENCE,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as e:
            raise CniError(Code.OTHER_PLUGIN, f"cannot run the IPAM plugin {str(program)!r}: {e}") from e
        answer = _decoded(done.stdout[:_LONGEST])
        if done.returncode != 0:
            said = (
                answer.get("msg") or done.stderr.decode(errors="replace").strip() or f"exit status {done.returncode}"
            )
            code = Code.TRY_AGAIN if answer.get("code") == Code.TRY_AGAIN else Code.OTHER_PLUGIN
            raise CniError(code, f"IPAM plugin {kind!r} failed at {command}: {said}")
        return answer

    def _program(self) -> Path:
        for folder in self._environment.path:
            if (found := Path(folder) / self._conf.ipam.type).is_file():
                return found
        raise CniError(
            Code.INVALID_CONFIGURATION,
            f"ipam.type: there is no plugin {self._conf.ipam.type!r} in CNI_PATH "
            f"({':'.join(self._environment.path)}): install it, or use 'calico-ipam'",
        )

    def _document(self, command: str) -> Json:
        document: Json = dict(self._conf.document)
        document["ipam"] = self._ranges(document.get("ipam"), command)
        return document

    def _ranges(self, found: Any, command: str) -> Any:  # Any: JSON of the plugin's own, of which we know one word
        """Put the node's range in the place of ``usePodCidr``, wherever it stands."""
        if isinstance(found, dict):
            return {key: self._ranges(value, command) for key, value in found.items()}
        if isinstance(found, list):
            return [self._ranges(value, command) for value in found]
        of = _POD_CIDR.get(found.lower()) if isinstance(found, str) else None
        return found if of is None else self._pod_cidr(of, command)

    def _pod_cidr(self, of: Family, command: str) -> str:
        for cidr in self._pod_cidrs():
            if cidr.version == of:
                return str(cidr)
        if command == "DEL":  # what was given is found without: a node that lost its range can still be cleaned
            return _ANYTHING[of]
        raise CniError(
            Code.INVALID_CONFIGURATION,
            f"ipam: 'usePodCidr' needs a range, and the node has no IPv{of:d} pod CIDR: give it one, or a subnet",
        )


def _decoded(output: bytes) -> Json:
    try:
        answer = msgspec.json.decode(output)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _given(answer: Json, kind: str) -> Given:
    try:
        return Given(
            tuple(address(ip["address"], f"ips[{i}].address") for i, ip in enumerate(answer["ips"])),
            tuple(ip_network(route["dst"]) for route in answer.get("routes") or ()),
            answer.get("dns") or {},
        )
    except (BadInput, KeyError, TypeError, ValueError, AttributeError) as e:
        raise CniError(
            Code.OTHER_PLUGIN, f"IPAM plugin {kind!r} answered with no usable result: {short(str(answer))}"
        ) from e
