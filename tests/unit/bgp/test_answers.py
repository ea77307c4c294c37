"""What BIRD 2.0.12 answered, word for word, as values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudnet.bgp import answers
from cloudnet.bgp.answers import Line
from cloudnet.bgp.api import Status

SHOWN = """\
2002-Name       Proto      Table      State  Since         Info
1002-device1    Device     ---        up     2026-01-02 03:04:05  
1006-
1002-own4       Static     master4    up     2026-01-02 03:04:05  
1006-  Channel ipv4
     State:          UP
     Routes:         1 imported, 0 exported, 1 preferred
 
1002-Mesh_10_0_1_12 BGP        ---        up     2026-01-02 03:04:09  Established   
1006-  Description:    node 'n2'
   BGP state:          Established
     Neighbor address: 10.0.1.12
   Channel ipv4
     State:          UP
     Routes:         3 imported, 1 filtered, 2 exported, 3 preferred
1006-
1002-Global_10_0_1_1 BGP        ---        down   2026-01-02 03:04:06  Error: No listening socket
1006-  BGP state:          Down
     Last error:       Error: No listening socket
   Channel ipv4
     State:          DOWN
1006-
1002-Node_fd00_1__1 BGP        ---        start  2026-01-02 03:04:07  Active        Socket: Connection refused
1006-  BGP state:          Active
     Last error:       Socket: Connection refused
0000 
"""  # noqa: W291, W293 - as it comes


def read(text):
    code, lines = 0, []
    for one in text.splitlines():
        lines.append(answers.line(one, code))
        code = lines[-1].code
    return lines


def test_every_bgp_session_is_found_with_its_state_and_no_other_protocol():
    assert answers.sessions(read(SHOWN)) == (
        Status("Global_10_0_1_1", "Down", "2026-01-02 03:04:06", "Error: No listening socket"),
        Status("Mesh_10_0_1_12", "Established", "2026-01-02 03:04:09", imported=3, exported=2),
        Status("Node_fd00_1__1", "Active", "2026-01-02 03:04:07", "Socket: Connection refused"),
    )


def test_what_a_state_means():
    down, _, active = answers.sessions(read(SHOWN))

    assert (down.is_down, down.established) == (True, False)
    assert (active.is_down, active.established) == (False, False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0001 BIRD 2.0.12 ready.", Line(1, "BIRD 2.0.12 ready.", last=True)),
        ("1002-a b", Line(1002, "a b")),
        (" goes on", Line(7, "goes on")),
        ("9001 There is no such protocol", Line(9001, "There is no such protocol", last=True)),
    ],
    ids=["greeting", "more", "continued", "error"],
)
def test_a_line_has_a_code_or_that_of_the_line_before(text, expected):
    assert answers.line(text, 7) == expected
    assert answers.line(text, 7).failed is (expected.code >= 8000)


@given(st.lists(st.text(st.characters(exclude_characters="\n"), max_size=60)))
def test_no_answer_can_break_it(lines):
    answers.sessions(read("\n".join(lines)))
