"""The door to nftables on Linux: libnftables for text, netlink for elements.

The library is called in this process: a child ``nft`` costs twenty times as much before it has done anything. Three
of its habits are held down here.

* It opens its netlink socket wherever the calling thread is, and before version 0.9.9 once more when a read was
  interrupted. So this door is made and used on threads in one and the same network namespace, which is checked before
  every call, and the first socket is proven to be there.
* It ends the process when it cannot open that socket. So we open one of the same kind first.
* It keeps state that all its contexts share (``iface.c``, ``mark_table_init``). So its calls go one at a time.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cloudnet.errors import MissingTool
from cloudnet.kernel import features, netns, nft_elements, nft_json
from cloudnet.kernel.api import HostNamespace
from cloudnet.kernel.nfnetlink import NETLINK_NETFILTER, BatchSocket
from cloudnet.kernel.nft import ElementChange, Exclude, Include, NftError, Standing, Traffic
from cloudnet.kernel.rtnetlink import Refusal
from cloudnet.kernel.ruleset import Table
from cloudnet.kernel.wire import Request

_SO_PROTOCOL = 38  # asm-generic/socket.h
# nftables/libnftables.h: JSON, numbers for protocols, priorities, symbols and times
_JSON, _NUMERIC, _TERSE = 1 << 4, 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10, 1 << 11
_WHERE = re.compile(r"^/\S+?:(?P<line>\d+):[\d-]+: Error: (?P<why>.*)")
_ERRNOS = {
    os.strerror(number): number
    for number in (
        errno.ENOENT,
        errno.EEXIST,
        errno.EBUSY,
        errno.EPERM,
        errno.EINVAL,
        errno.EOPNOTSUPP,
        errno.ENOSPC,
        errno.ENOMEM,
        errno.EMFILE,
        errno.ERANGE,
    )
}


class NftLibrary:
    """nftables of the network namespace of the thread that made this object."""

    def __init__(self, *, allow_host_network: bool = False) -> None:
        """Open the door.

        Raises:
            HostNamespace: this is the machine's own network namespace and nobody allowed it.
            KernelError: there is no access to nf_tables.
            MissingTool: there is no libnftables.
        """
        self._library = _load()
        self._namespace = netns.require_own_namespace(allow_host=allow_host_network)
        self._sockets = BatchSocket()
        try:
            self._context: ctypes.c_void_p | None = self._open_context()
        except BaseException:
            self._sockets.close()
            raise

    def _open_context(self) -> ctypes.c_void_p:
        if self._sockets.namespace != self._namespace:
            raise HostNamespace("the netlink socket is in another network namespace than its thread: nothing done")
        with _one_at_a_time:
            before = _netfilter_sockets()
            context = ctypes.c_void_p(self._library.nft_ctx_new(0))
            opened = {where for inode, where in _netfilter_sockets().items() if inode not in before}
            if self._namespace not in opened:
                self._library.nft_ctx_free(context)
                raise HostNamespace("libnftables opened its socket in another network namespace: nothing done")
            self._library.nft_ctx_buffer_output(context)
            self._library.nft_ctx_buffer_error(context)
            return context

    def close(self) -> None:
        with _one_at_a_time:
            if self._context is not None:
                self._library.nft_ctx_free(self._context)
            self._context = None
        self._sockets.close()

    # --- writing ------------------------------------------------------------------------------------------

    def run(self, script: str) -> None:
        if "\0" in script:
            raise NftError("a script cannot hold a NUL byte", errno=errno.EINVAL)
        with self._call():
            if self._library.nft_run_cmd_from_buffer(self._context, script.encode()) == 0:
                return
            raise self._explain(script, self._library.nft_ctx_get_error_buffer(self._context).decode())

    def _explain(self, script: str, complaint: str) -> NftError:
        """Find the line at fault: of a buffer the library names the wrong one, so check the same text as a file."""
        source = os.memfd_create("nft", os.MFD_CLOEXEC)
        try:
            with open(source, "w", closefd=False) as file:
                file.write(script + "\n")
            self._library.nft_ctx_set_dry_run(self._context, True)  # noqa: FBT003 - the library's signature
            try:
                self._library.nft_run_cmd_from_filename(self._context, f"/proc/self/fd/{source}".encode())
                located = self._library.nft_ctx_get_error_buffer(self._context).decode()
            finally:
                self._library.nft_ctx_set_dry_run(self._context, False)  # noqa: FBT003 - the same
        finally:
            os.close(source)
        return _error(script, located or complaint)

    def change(self, changes: Sequence[ElementChange]) -> None:
        self._require_our_namespace()
        batch = list(nft_elements.requests(changes))
        refused = self._carry_out(batch)
        if any(_is_absent(batch[position][1], why) for position, why in refused.items() if position >= 0):
            batch = list(nft_elements.requests(changes, one_each=True))
            refused = self._carry_out(batch)
        while leave := {p for p, why in refused.items() if p >= 0 and _is_absent(batch[p][1], why)}:
            batch = [one for position, one in enumerate(batch) if position not in leave]
            refused = self._carry_out(batch)
        for position, why in refused.items():
            raise _refusal_of(batch[position][1] if position >= 0 else None, why)

    def _carry_out(self, batch: Sequence[tuple[Request, ElementChange]]) -> Mapping[int, Refusal]:
        return self._sockets.carry_out(nft_elements.NFNL_SUBSYS_NFTABLES, [request for request, _ in batch])

    # --- reading ------------------------------------------------------------------------------------------

    def tables(self) -> frozenset[Table]:
        return nft_json.read_tables(self._read("list tables", 0))

    def list(self, table: Table, *, elements: bool = True) -> Standing | None:
        try:
            return nft_json.read_table(self._read(f"list table {table}", 0 if elements else _TERSE), table)
        except NftError as e:
            if e.errno == errno.ENOENT:
                return None
            raise

    def counters(self, table: Table) -> Mapping[str, Traffic]:
        try:
            return nft_json.read_counters(self._read(f"list counters table {table}", 0))
        except NftError as e:
            if e.errno == errno.ENOENT:
                return {}
            raise

    def _read(self, command: str, flags: int) -> str:
        with self._call():
            self._library.nft_ctx_output_set_flags(self._context, _JSON | _NUMERIC | flags)
            try:
                failed = self._library.nft_run_cmd_from_buffer(self._context, command.encode())
                read: str = self._library.nft_ctx_get_output_buffer(self._context).decode()
                complaint = self._library.nft_ctx_get_error_buffer(self._context).decode()
            finally:
                self._library.nft_ctx_output_set_flags(self._context, 0)
        if failed:
            raise _error(command, complaint)
        return read

    @contextlib.contextmanager
    def _call(self) -> Iterator[None]:
        self._require_our_namespace()
        with _one_at_a_time:
            yield

    def _require_our_namespace(self) -> None:
        if netns.current() != self._namespace:
            raise HostNamespace("this thread is in another network namespace than the one opened: nothing done")


_one_at_a_time = threading.Lock()  # the library is one for the whole process, and so is this


def _load() -> ctypes.CDLL:
    """Load the library; ctypes lets other threads run during its calls."""
    try:
        library = ctypes.CDLL(features.NFT_LIBRARY)
    except OSError as e:
        raise MissingTool(features.REMEDIES["nft_library"]) from e
    context = ctypes.c_void_p
    for name, result, arguments in (
        ("nft_ctx_new", context, [ctypes.c_uint32]),
        ("nft_ctx_free", None, [context]),
        ("nft_ctx_buffer_output", ctypes.c_int, [context]),
        ("nft_ctx_buffer_error", ctypes.c_int, [context]),
        ("nft_ctx_get_output_buffer", ctypes.c_char_p, [context]),
        ("nft_ctx_get_error_buffer", ctypes.c_char_p, [context]),
        ("nft_ctx_output_set_flags", None, [context, ctypes.c_uint]),
        ("nft_ctx_set_dry_run", None, [context, ctypes.c_bool]),
        ("nft_run_cmd_from_buffer", ctypes.c_int, [context, ctypes.c_char_p]),
        ("nft_run_cmd_from_filename", ctypes.c_int, [context, ctypes.c_char_p]),
    ):
        function = getattr(library, name)  # an attribute is kept, an item would be made anew each time
        function.restype = result
        function.argtypes = arguments
    return library


def _netfilter_sockets() -> Mapping[str, netns.Namespace]:
    """Return this process's sockets of NETLINK_NETFILTER by inode, each with the namespace it is in."""
    found: dict[str, netns.Namespace] = {}
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile, or no socket
            inode = str(entry.readlink())
            if inode.startswith("socket:"):
                with socket.socket(fileno=os.dup(int(entry.name))) as one:
                    protocol = one.getsockopt(socket.SOL_SOCKET, _SO_PROTOCOL)
                    if one.family == socket.AF_NETLINK and protocol == NETLINK_NETFILTER:
                        found[inode] = netns.of_socket(one)
    return found


def _error(script: str, complaint: str) -> NftError:
    """Turn the library's words into an error: ``/path:LINE:COLUMNS: Error: WHY`` and the line, underlined."""
    first = complaint.splitlines()[0] if complaint else "no reason given"
    found = _WHERE.match(first)
    why = found["why"] if found else first.rpartition("Error: ")[2]
    number = next((number for text, number in _ERRNOS.items() if text in why), 0)
    if not found:
        lines = script.splitlines()
        which = f"{lines[0]!r}" if len(lines) == 1 else "an element of a set, which none of its lines is named for"
        return NftError(f"nftables refused {which}: {why}", errno=number)
    line = int(found["line"])
    text = (script.splitlines() + [""] * line)[line - 1]
    return NftError(f"nftables refused line {line}, {text.strip()!r}: {why}", errno=number, line=line)


def _is_absent(change: ElementChange, why: Refusal) -> bool:
    return isinstance(change, Exclude) and why.errno == errno.ENOENT


def _refusal_of(change: ElementChange | None, why: Refusal) -> NftError:
    if change is None:
        return NftError(f"nftables refused a change of elements: {why}", errno=why.errno)
    members, verb = (change.into, "put into") if isinstance(change, Include) else (change.out_of, "taken out of")
    shown = ", ".join(str(field) for element in change.elements[:3] for field in element.key)
    more = f" and {len(change.elements) - 3} more" if len(change.elements) > 3 else ""  # noqa: PLR2004 - the same 3
    return NftError(f"{shown}{more} cannot be {verb} set {members}: {why}", errno=why.errno)
