"""Programs that run inside the kernel (eBPF): read an object file, load what is in it, hang it on devices.

It knows ELF and one system call, not what a program is for. An object file of ours has one map, whose shape stands in
the section ``maps``, and one program in each section ``ingress/NAME`` or ``egress/NAME``. Sources: elf(5),
linux/bpf.h. Nothing is pinned: everything goes with the process that loaded it.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from cloudnet.kernel.api import KernelError

_C_LIBRARY = ctypes.CDLL(None, use_errno=True)
_NUMBERS = {"x86_64": 321, "aarch64": 280}  # of bpf(2): asm/unistd_64.h, asm-generic/unistd.h
_MAP_CREATE, _PROG_LOAD, _LINK_CREATE = 0, 5, 28
_LRU_HASH, _SCHED_CLS = 9, 3
_ATTACH = {"ingress": 46, "egress": 47}  # BPF_TCX_*
_MOST_LOG = 1 << 16  # bytes of what the verifier says

# Elf64_Shdr: name, type, flags, addr, offset, size, link, info, addralign, entsize
_SECTION = struct.Struct("<IIQQQQIIQQ")
_RELOCATION = struct.Struct("<QQ")  # Elf64_Rel
_INSTRUCTION = struct.Struct("<BBhi")  # struct bpf_insn: code, registers, offset, immediate
_MAP_BY_DESCRIPTOR = 1 << 4  # BPF_PSEUDO_MAP_FD, as the source register of a 64-bit load


@dataclass(frozen=True, slots=True)
class Program:
    """A program that is not loaded yet; ``uses_map``: where its code loads the address of the map, in bytes."""

    name: str
    way: str  # ingress, egress
    code: bytes
    uses_map: tuple[int, ...]

    def bound(self, shared: int) -> bytes:
        """Return the code with the map's descriptor in it."""
        code = bytearray(self.code)
        for at in self.uses_map:
            kind, registers, offset, _ = _INSTRUCTION.unpack_from(code, at)
            _INSTRUCTION.pack_into(code, at, kind, registers & 0xF | _MAP_BY_DESCRIPTOR, offset, shared)
        return bytes(code)


@dataclass(frozen=True, slots=True)
class Object:
    """What is in an object file: the sizes of the map in bytes and entries, and ``{name: program}``."""

    key: int
    value: int
    entries: int
    programs: Mapping[str, Program]


def read(elf: bytes) -> Object:
    """Read an object file.

    Raises:
        KernelError: it is none of ours.
    """
    try:
        sections = _sections(elf)
        key, value, entries = struct.unpack_from("<III", sections["maps"])
    except (struct.error, KeyError, ValueError, IndexError) as e:
        raise KernelError(f"this is no object file with programs for the kernel ({e}): install cloudnet anew") from e
    programs = {}
    for section, code in sections.items():
        way, _, name = section.partition("/")
        if way in _ATTACH and name:
            uses = tuple(at for at, _ in _RELOCATION.iter_unpack(sections.get(f".rel{section}", b"")))
            programs[name] = Program(name, way, code, uses)
    return Object(key, value, entries, programs)


def _sections(elf: bytes) -> Mapping[str, bytes]:
    if elf[:4] != b"\x7fELF":
        raise ValueError("it is not ELF")
    (start,) = struct.unpack_from("<Q", elf, 40)  # e_shoff
    number, names_at = struct.unpack_from("<HH", elf, 60)  # e_shnum, e_shstrndx
    headers = [_SECTION.unpack_from(elf, start + _SECTION.size * position) for position in range(number)]
    names = elf[headers[names_at][4] :]
    return {names[h[0] : names.index(b"\0", h[0])].decode(): elf[h[4] : h[4] + h[5]] for h in headers}


class Loaded:
    """The programs of an object file inside the kernel, with their map. Use it from one thread at a time."""

    def __init__(self, what: Object) -> None:
        """Load them.

        Raises:
            KernelError: the kernel has no such machine, or refuses a program; the message has its reason.
        """
        self._ways = {program.name: _ATTACH[program.way] for program in what.programs.values()}
        self._descriptors: dict[str, int] = {}
        shape = struct.pack("<IIII", _LRU_HASH, what.key, what.value, what.entries)
        self._map = _call(_MAP_CREATE, shape, "cannot make a map in the kernel")
        try:
            for program in what.programs.values():
                self._descriptors[program.name] = _load(program, self._map)
        except KernelError:
            self.close()
            raise

    def attach(self, name: str, device: int) -> int:
        """Hang a program on a device of the calling thread's namespace, behind others.

        Returns a descriptor; closing it takes the program away. So does the kernel when the device goes.

        Raises:
            KernelError: the kernel refused.
        """
        # struct { __u32 prog_fd; __u32 target_ifindex; __u32 attach_type; __u32 flags; ... } link_create
        wanted = struct.pack("<IIII16x", self._descriptors[name], device, self._ways[name], 0)
        return _call(_LINK_CREATE, wanted, f"cannot hang program {name!r} on device {device}")

    def close(self) -> None:
        """Forget everything; what is attached stays until its own descriptor is closed."""
        for descriptor in (self._map, *self._descriptors.values()):
            os.close(descriptor)
        self._descriptors.clear()


def _load(program: Program, shared: int) -> int:
    bound = program.bound(shared)
    code = ctypes.create_string_buffer(bound, len(bound))
    license_ = ctypes.create_string_buffer(b"GPL")
    log = ctypes.create_string_buffer(_MOST_LOG)

    # struct { __u32 prog_type, insn_cnt; __aligned_u64 insns, license; __u32 log_level, log_size;
    #          __aligned_u64 log_buf; __u32 kern_version, prog_flags; char prog_name[16];
    #          __u32 prog_ifindex, expected_attach_type; ... }
    def wanted(level: int) -> bytes:
        texts = ctypes.addressof(code), ctypes.addressof(license_)
        size, at = (len(log), ctypes.addressof(log)) if level else (0, 0)
        name = program.name.encode()[:15]
        head = (_SCHED_CLS, len(bound) // _INSTRUCTION.size, *texts, level, size, at, 0, 0, name, 0)
        return struct.pack("<IIQQIIQII16sII", *head, _ATTACH[program.way])

    try:
        return _call(_PROG_LOAD, wanted(0), f"the kernel does not take program {program.name!r}")
    except KernelError as e:
        try:
            return _call(_PROG_LOAD, wanted(1), "")  # once more, to be told why
        except KernelError:
            said = log.value.decode(errors="replace").strip().splitlines()
            raise KernelError(f"{e}: {'; '.join(said[-2:])}", errno=e.errno) from e


def _call(command: int, attributes: bytes, failed: str) -> int:
    number = _NUMBERS.get(platform.machine())
    if number is None:
        raise KernelError(f"{failed}: nobody told us the system call of {platform.machine()}")
    given = ctypes.create_string_buffer(attributes, len(attributes))
    descriptor: int = _C_LIBRARY.syscall(number, command, given, len(attributes))
    if descriptor < 0:
        why = ctypes.get_errno()
        raise KernelError(f"{failed}: {os.strerror(why)}", errno=why)
    os.set_inheritable(descriptor, False)  # noqa: FBT003 - the library's signature
    return descriptor
