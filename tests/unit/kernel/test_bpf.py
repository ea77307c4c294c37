from __future__ import annotations

import os
import struct
from contextlib import closing

import pytest

from cloudnet.kernel import bpf, netns
from cloudnet.kernel.api import KernelError
from cloudnet.kernel.fastpath import OBJECT, Part, Role

EXIT = struct.pack("<BBhi", 0x95, 0, 0, 0)
LOAD_MAP = struct.pack("<BBhiBBhi", 0x18, 0x01, 0, 0, 0, 0, 0, 0)


def test_the_object_file_has_a_map_and_every_program_that_a_device_may_need():
    found = bpf.read(OBJECT.read_bytes())

    assert (found.key, found.value, found.entries) == (44, 16, 65536)
    needed = {name for role in Role for rules in (False, True) for name in Part(role, rules).programs}
    assert needed <= found.programs.keys()
    assert {program.way for program in found.programs.values()} == {"ingress", "egress"}
    assert all(program.uses_map for program in found.programs.values())


def test_a_program_gets_the_map_where_it_asks_for_it_and_is_the_same_otherwise():
    program = bpf.Program("one", "ingress", EXIT + LOAD_MAP + EXIT, (8,))

    bound = program.bound(77)

    assert bound[:8] == EXIT
    assert struct.unpack_from("<BBhi", bound, 8) == (0x18, 0x11, 0, 77)
    assert bound[16:] == program.code[16:]


@pytest.mark.parametrize("elf", [b"", b"\x7fELF", b"#!/bin/sh\n" * 20, b"\x7fELF" + bytes(100)])
def test_what_is_no_object_file_of_ours_is_refused(elf):
    with pytest.raises(KernelError, match="no object file with programs for the kernel"):
        bpf.read(elf)


@pytest.mark.kernel
def test_the_kernel_says_what_is_wrong_with_a_program():
    falls_off = bpf.Program("endless", "ingress", LOAD_MAP, (0,))

    with pytest.raises(KernelError, match=r"does not take program 'endless': .*: .*last insn is not an exit"):
        bpf.Loaded(bpf.Object(4, 4, 4, {"endless": falls_off}))


@pytest.mark.kernel
def test_what_hangs_on_a_device_goes_with_its_descriptor():
    def work():
        with closing(bpf.Loaded(bpf.read(OBJECT.read_bytes()))) as loaded:
            os.close(loaded.attach("forward", 1))
            os.close(loaded.attach("lease", 1))
            with pytest.raises(KernelError, match="cannot hang program 'lease' on device 99: No such device"):
                loaded.attach("lease", 99)

    netns.run_in_a_new_one(work)
