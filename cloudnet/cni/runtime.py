"""Do what a container runtime does with a configuration list: for `cloudnet cni call`, and for tests.

CNI specification 1.1.0, section 3: ADD, CHECK and STATUS go through the plugins in order, DEL through all of them
backwards, GC through all of them with one error in the end. Each plugin gets the list's version and name, its own
keys without ``capabilities``, what the runtime knows of its capabilities as ``runtimeConfig``, and the result of the
plugin before it (or, for CHECK and DEL, of the whole ADD) as ``prevResult``.

It makes no namespaces and keeps no results: who calls it does.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from cloudnet.errors import CloudnetError, MissingTool

Result = dict[str, Any]  # Any: a CNI result, as the plugins made it

_TRY_AGAIN = 11  # section 5, "Error"
_PATIENCE = 120.0  # seconds; longer than our own program waits for the agent


@dataclass(frozen=True, slots=True)
class Attachment:
    """One container's interface. ``capabilities`` are the runtime's, e.g. ``{"portMappings": [...]}``."""

    container_id: str
    netns: str = ""
    ifname: str = "eth0"
    args: Mapping[str, str] = field(default_factory=dict)
    capabilities: Mapping[str, object] = field(default_factory=dict)


class PluginFailed(CloudnetError):
    """A plugin answered with an error: ``code`` is the specification's, 0 if it printed none."""

    def __init__(self, plugin: str, command: str, *, code: int, message: str) -> None:
        super().__init__(f"{plugin} {command} failed with error {code}: {message}")
        self.plugin = plugin
        self.code = code
        self.message = message
        self.retry = code == _TRY_AGAIN


class Runtime:
    """Runs the plugins of one list, found in ``folders``; ``prefix`` goes before each command line (nsenter)."""

    def __init__(self, conflist: Mapping[str, Any], folders: Sequence[Path], *, prefix: Sequence[str] = ()) -> None:
        self._list = conflist
        self._folders = folders
        self._prefix = prefix

    def add(self, attachment: Attachment) -> Result:
        """Attach a container; return the last plugin's result."""
        result: Result | None = None
        for plugin in self._plugins():
            result = self._run("ADD", plugin, attachment, previous=result)
        return result or {}

    def check(self, attachment: Attachment, result: Result) -> None:
        """Ask every plugin whether the attachment is still as ADD left it."""
        if not self._list.get("disableCheck"):
            for plugin in self._plugins():
                self._run("CHECK", plugin, attachment, previous=result)

    def delete(self, attachment: Attachment, result: Result | None = None) -> None:
        """Detach a container, the last plugin first; ``result`` is that of ADD, when it is known."""
        for plugin in reversed(self._plugins()):
            self._run("DEL", plugin, attachment, previous=result)

    def gc(self, valid: Iterable[Attachment]) -> None:
        """Let every plugin remove what belongs to no valid attachment; raise the first error when all were asked."""
        known = [{"containerID": one.container_id, "ifname": one.ifname} for one in valid]
        errors: list[PluginFailed] = []
        for plugin in self._plugins():
            try:
                self._run("GC", {**plugin, "cni.dev/valid-attachments": known})
            except PluginFailed as e:
                errors.append(e)
        if errors:
            raise errors[0]

    def status(self) -> None:
        """Ask every plugin whether it could serve an ADD now."""
        for plugin in self._plugins():
            self._run("STATUS", plugin)

    def versions(self) -> Mapping[str, Sequence[str]]:
        """Return what each plugin supports: ``{type: versions}``."""
        return {p["type"]: tuple(self._run("VERSION", p).get("supportedVersions", ())) for p in self._plugins()}

    def _plugins(self) -> Sequence[Mapping[str, Any]]:
        return tuple(self._list["plugins"])

    def _run(
        self,
        command: str,
        plugin: Mapping[str, Any],
        attachment: Attachment | None = None,
        *,
        previous: Result | None = None,
    ) -> Result:
        kind = plugin["type"]
        environment = {"CNI_COMMAND": command, "CNI_PATH": ":".join(map(str, self._folders)), "PATH": _PATH}
        if attachment is not None:
            environment |= _environment(attachment)
        configuration = self._configuration(plugin, attachment, previous)
        done = subprocess.run(
            [*self._prefix, str(self._find(kind))],
            input=msgspec.json.encode(configuration),
            env=environment,
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
        )
        answer = _decode(done.stdout)
        if done.returncode != 0:
            message = answer.get("msg", "") + (f": {answer['details']}" if answer.get("details") else "")
            message = message or done.stderr.decode(errors="replace").strip() or f"exit status {done.returncode}"
            raise PluginFailed(kind, command, code=answer.get("code", 0), message=message)
        return answer

    def _configuration(
        self, plugin: Mapping[str, Any], attachment: Attachment | None, previous: Result | None
    ) -> dict[str, Any]:
        configuration = {"cniVersion": self._list["cniVersion"], "name": self._list["name"], **plugin}
        wanted = configuration.pop("capabilities", {})
        known = attachment.capabilities if attachment is not None else {}
        if given := {name: known[name] for name, on in wanted.items() if on and name in known}:
            configuration["runtimeConfig"] = given
        if previous is not None:
            configuration["prevResult"] = previous
        return configuration

    def _find(self, kind: str) -> Path:
        for folder in self._folders:
            if (found := folder / kind).is_file():
                return found
        raise MissingTool(f"there is no plugin {kind!r} in {', '.join(map(str, self._folders))}: install it there")


_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # portmap executes iptables


def _environment(attachment: Attachment) -> dict[str, str]:
    environment = {"CNI_CONTAINERID": attachment.container_id, "CNI_IFNAME": attachment.ifname}
    if attachment.netns:
        environment["CNI_NETNS"] = attachment.netns
    if attachment.args:
        environment["CNI_ARGS"] = ";".join(f"{key}={value}" for key, value in attachment.args.items())
    return environment


def _decode(output: bytes) -> Result:
    """Return what a plugin printed; nothing when that is no object, as after a successful DEL."""
    try:
        answer = msgspec.json.decode(output)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return answer if isinstance(answer, dict) else {}
