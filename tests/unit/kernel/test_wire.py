from hypothesis import given
from hypothesis import strategies as st

from cloudnet.kernel import wire

payloads = st.binary(max_size=40)


@given(wanted=st.dictionaries(st.integers(1, wire.NLA_TYPE_MASK), payloads))
def test_attributes_are_read_as_they_were_written(wanted):
    data = b"head" + b"".join(wire.attribute(kind, payload) for kind, payload in wanted.items())

    assert wire.attributes(data, 4) == wanted


@given(payload=payloads)
def test_attributes_begin_at_multiples_of_four(payload):
    assert len(wire.attribute(1, payload)) % 4 == 0


def test_the_flag_of_nested_attributes_is_taken_off():
    assert wire.attributes(wire.attribute(5 | wire.NLA_F_NESTED, b"x"), 0) == {5: b"x"}


@given(data=st.binary(max_size=200))
def test_rubbish_is_read_without_harm(data):
    assert all(len(payload) < len(data) for payload in wire.attributes(data, 0).values())
    assert sum(len(body) + 16 for *_, body in wire.messages(data)) <= len(data)


@given(bodies=st.lists(payloads, max_size=5))
def test_messages_of_one_datagram_are_told_apart(bodies):
    padding = [bytes(-len(body) % 4) for body in bodies]
    data = b"".join(
        wire.HEADER.pack(16 + len(body), 24, 2, number, 0) + body + pad
        for number, (body, pad) in enumerate(zip(bodies, padding, strict=True))
    )

    assert list(wire.messages(data)) == [(24, 2, number, body) for number, body in enumerate(bodies)]


def test_tables_beyond_a_byte_leave_it_to_the_attribute():
    assert [wire.table_byte(table) for table in (254, 255, 256, 4793)] == [254, 255, 0, 0]
