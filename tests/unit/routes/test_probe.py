from collections import Counter
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudnet.routes.probe import SIZE, Packet, PacketKind, Prober, Settings, Verdict, decode, encode

BLOCK = ip_network("10.65.1.0/26")
OTHER = ip_network("fd00:65::/122")
SETTINGS = Settings()


def yes(_block, _at):
    return True


def no(_block, _at):
    return False


def drive(prober, *, until, now=0.0, answers=yes, present=yes, step=0.02, rtt=0.001):
    """Step a prober; return (seconds, verdict) of each change for BLOCK and the probes sent."""
    changes, sent = [], []
    while now < until:
        for probe in prober.due(now):
            sent.append((now, probe))
            if answers(probe.block, now):
                prober.answered(probe.block, probe.sequence, now + rtt)
            if probe.call and present(probe.block, now):
                prober.present(probe.block, now + rtt)
        changes += [(now, prober.verdict(block)) for block in prober.changed() if block == BLOCK]
        now += step
    return changes, sent


def watching(*blocks, settings=SETTINGS):
    prober = Prober(settings)
    for block in blocks or (BLOCK,):
        prober.watch(block, 0.0)
    return prober


def test_answers_for_a_second_prove_a_path():
    changes, _ = drive(watching(), until=3.0)

    assert [verdict for _, verdict in changes] == [Verdict.PROVEN]
    assert 1.0 <= changes[0][0] < 1.3


def test_a_black_hole_is_found_in_less_than_a_second():
    prober = watching()
    drive(prober, until=2.0)

    changes, _ = drive(prober, now=2.0, until=4.0, answers=no)

    assert changes[0][1] is Verdict.LOST
    assert changes[0][0] - 2.0 <= 0.75


def test_three_lost_probes_are_forgiven():
    prober = watching()
    drive(prober, until=2.0)

    changes, _ = drive(prober, now=2.0, until=4.0, answers=lambda _, at: not 2.0 <= at < 2.3)

    assert changes == []


def test_a_path_that_loses_every_other_probe_is_never_proven():
    prober = watching()
    flip = iter(range(10**6))

    changes, _ = drive(prober, until=6.0, answers=lambda *_: next(flip) % 2 == 0)

    assert changes == []


def test_a_dead_agent_is_not_a_dead_path():
    prober = watching()
    drive(prober, until=2.0)

    changes, _ = drive(prober, now=2.0, until=6.5, answers=no, present=no)

    assert changes == []


def test_long_silence_of_an_agent_is_told():
    prober = watching()
    drive(prober, until=2.0)

    changes, _ = drive(prober, now=2.0, until=9.0, answers=no, present=no)

    assert [verdict for _, verdict in changes] == [Verdict.SILENT]
    assert SETTINGS.silent_after <= changes[0][0] - 2.0 < SETTINGS.silent_after + 0.3


def test_a_silence_that_ends_is_forgotten_and_proven_again():
    prober = watching()
    drive(prober, until=2.0)
    drive(prober, now=2.0, until=9.0, answers=no, present=no)

    changes, _ = drive(prober, now=9.0, until=11.0)

    assert [verdict for _, verdict in changes] == [Verdict.UNKNOWN, Verdict.PROVEN]


def test_a_path_that_died_while_its_agent_was_away_is_lost_once_the_agent_is_back():
    prober = watching()
    drive(prober, until=2.0)
    drive(prober, now=2.0, until=9.0, answers=no, present=no)

    changes, _ = drive(prober, now=9.0, until=11.0, answers=no)

    assert [verdict for _, verdict in changes] == [Verdict.LOST]
    assert changes[0][0] - 9.0 < 0.4


def test_an_agent_that_comes_back_answers_before_it_can_be_held_against_its_path():
    prober = watching()
    drive(prober, until=2.0)
    drive(prober, now=2.0, until=4.0, answers=no, present=no)

    changes, _ = drive(prober, now=4.0, until=6.0, rtt=0.05)

    assert changes == []


def test_a_reply_to_a_call_that_overtakes_the_answer_blames_nobody():
    prober = watching()
    drive(prober, until=2.0)
    drive(prober, now=2.0, until=4.0, answers=no, present=no)

    back = next(at / 50 for at in range(200, 300) if (probes := prober.due(at / 50)))
    prober.present(BLOCK, back + 0.01)
    prober.due(back + 0.1)
    prober.answered(BLOCK, probes[0].sequence, back + 0.12)

    assert prober.changed() == ()


def test_agents_are_called_only_where_probes_go_unanswered():
    prober = watching()

    _, sent = drive(prober, until=2.0)
    _, silent = drive(prober, now=2.0, until=2.5, answers=no)

    assert not any(probe.call for _, probe in sent)
    assert [probe.call for _, probe in silent[:3]] == [False, False, True]


def test_a_reply_to_a_call_of_an_unknown_block_tells_nothing():
    prober = watching()

    prober.present(OTHER, 0.1)

    assert prober.verdict(OTHER) is Verdict.UNKNOWN


def test_a_lost_path_must_be_proven_anew():
    prober = watching()
    drive(prober, until=2.0)
    drive(prober, now=2.0, until=3.0, answers=no)

    changes, _ = drive(prober, now=3.0, until=5.0)

    assert [verdict for _, verdict in changes] == [Verdict.PROVEN]
    assert changes[0][0] >= 4.0


def test_an_answer_later_than_the_next_probe_still_counts():
    prober = watching()
    _, sent = drive(prober, until=2.0, rtt=0.15)

    assert prober.verdict(BLOCK) is Verdict.PROVEN
    assert len(sent) > 10


def test_an_answer_tells_something_only_once():
    prober = watching()
    probe = next(p for at in range(10) for p in prober.due(at / 50))

    assert prober.answered(BLOCK, probe.sequence, 0.5) is not None
    assert prober.answered(BLOCK, probe.sequence, 0.6) is None


def test_an_answer_to_a_probe_never_sent_tells_nothing():
    prober = watching()

    assert prober.answered(BLOCK, 7, 0.1) is None
    assert prober.answered(OTHER, 0, 0.1) is None


def test_standing_still_ourselves_blames_nobody():
    prober = watching()
    drive(prober, until=2.0)
    _, sent = drive(prober, now=2.0, until=2.44, answers=no)

    resumed = 60.0
    list(prober.due(resumed))
    for _, probe in sent:
        prober.answered(BLOCK, probe.sequence, resumed + 0.01)
    changes, _ = drive(prober, now=resumed + 0.02, until=resumed + 2.0)

    assert changes == []


def test_a_black_hole_behind_a_stall_is_still_found():
    prober = watching()
    drive(prober, until=2.0)

    changes, _ = drive(prober, now=60.0, until=62.0, answers=no)

    assert changes[0][1] is Verdict.LOST
    assert changes[0][0] <= 60.9


def test_a_loop_that_is_always_late_still_finds_a_black_hole():
    prober = watching()
    drive(prober, until=4.0, step=0.4)

    changes, _ = drive(prober, now=4.0, until=12.0, step=0.4, answers=no)

    assert [verdict for _, verdict in changes] == [Verdict.LOST]


def test_probes_are_spread_evenly_over_the_interval():
    blocks = list(ip_network("10.65.0.0/18").subnets(new_prefix=26))
    _, sent = drive(watching(*blocks), until=0.14, step=0.01)

    in_each_tick = Counter(round(at, 3) for at, _ in sent)

    assert len(sent) >= len(blocks)
    assert len({probe.block for _, probe in sent}) == len(blocks)
    assert max(in_each_tick.values()) <= 3 * len(blocks) / 10


def test_the_interval_grows_so_that_the_budget_holds():
    blocks = list(ip_network("10.0.0.0/15").subnets(new_prefix=26))[:1000]
    prober = watching(*blocks, settings=Settings(budget=500.0))

    _, sent = drive(prober, until=10.0, step=0.05)

    assert prober.interval == 2.0
    assert len(sent) == pytest.approx(5000, rel=0.05)


@pytest.fixture(scope="module")
def crowd():
    """A thousand proven destinations, each probed every two seconds."""
    blocks = list(ip_network("10.0.0.0/15").subnets(new_prefix=26))[:1000]
    prober = watching(*blocks, settings=Settings(budget=500.0))
    drive(prober, until=20.0, step=0.05)
    assert all(prober.verdict(block) is Verdict.PROVEN for block in blocks)
    return blocks, prober


def test_in_a_crowd_a_black_hole_is_found_soon_after_its_turn(crowd):
    blocks, prober = crowd
    dead, found, now = blocks[7], None, 20.0

    while found is None and now < 30.0:
        drive(prober, now=now, until=now + 0.05, step=0.05, answers=lambda block, _: block != dead)
        found = now if prober.verdict(dead) is Verdict.LOST else None
        now += 0.05

    assert found - 20.0 <= prober.interval + 0.7
    drive(prober, now=now, until=now + 30.0, step=0.05)  # the next test finds all of them well


def test_in_a_crowd_a_suspect_that_answers_falls_back_into_step(crowd):
    blocks, prober = crowd
    shaky = blocks[11]
    losses = iter([False])
    drive(prober, now=61.0, until=63.2, step=0.05, answers=lambda block, _: block != shaky or next(losses, True))

    _, sent = drive(prober, now=63.2, until=83.2, step=0.05)

    assert sum(probe.block == shaky for _, probe in sent) <= 13


def test_with_long_intervals_the_silence_between_turns_is_no_evidence():
    others = list(ip_network("10.0.0.0/16").subnets(new_prefix=26))[:19]
    prober = watching(BLOCK, *others, settings=Settings(budget=10.0, lost_after=2.0))
    drive(prober, until=20.0)
    now, unanswered_at = 20.0, None

    while prober.verdict(BLOCK) is not Verdict.LOST and now < 40.0:
        _, sent = drive(prober, now=now, until=now + 0.02, answers=lambda block, _: block != BLOCK)
        unanswered_at = unanswered_at or next((at for at, probe in sent if probe.block == BLOCK), None)
        now += 0.02

    assert 1.9 <= now - unanswered_at <= 2.3


def test_when_a_whole_crowd_dies_probes_stay_within_twice_the_budget(crowd):
    _, prober = crowd

    _, sent = drive(prober, now=90.0, until=95.0, step=0.05, answers=no, present=no)

    assert len(sent) <= 5 * 2 * 500 * 1.05


def test_a_destination_watched_again_begins_anew():
    prober = watching()
    drive(prober, until=2.0)

    prober.forget(BLOCK)
    prober.watch(BLOCK, 2.0)

    assert prober.verdict(BLOCK) is Verdict.UNKNOWN
    _, sent = drive(prober, now=2.0, until=3.0)
    assert len(sent) == pytest.approx(10, abs=1)


def test_a_forgotten_destination_gets_no_probe():
    prober = watching()

    prober.forget(BLOCK)

    assert prober.next_due is None
    assert list(prober.due(100.0)) == []


def test_sequence_numbers_wrap():
    prober = watching()
    prober._destinations[BLOCK].sequence = 2**32 - 1

    _, sent = drive(prober, until=2.0)

    assert [probe.sequence for _, probe in sent[:2]] == [2**32 - 1, 0]
    assert prober.verdict(BLOCK) is Verdict.PROVEN


@given(
    st.lists(st.tuples(st.floats(0.01, 0.6), st.booleans(), st.floats(0, 0.3)), min_size=5, max_size=80),
)
def test_lost_means_silence_and_proven_means_answers(steps):
    prober, now, heard = watching(), 0.0, []
    for pause, answered, rtt in steps:
        now += pause
        probes = prober.due(now)
        if BLOCK in prober.changed() and prober.verdict(BLOCK) is Verdict.LOST:
            assert now - max(heard, default=0.0) >= SETTINGS.lost_after - 1e-3
        for probe in probes:
            if probe.call:
                prober.present(BLOCK, now + rtt)
            if answered:
                prober.answered(BLOCK, probe.sequence, now + rtt)
                heard.append(now + rtt)
        if BLOCK in prober.changed():
            assert len(heard) >= SETTINGS.prove_answers


blocks = st.one_of(
    st.builds(lambda a, n: ip_network((a, n), strict=False), st.integers(0, 2**32 - 1), st.integers(0, 32)),
    st.builds(
        lambda a, n: ip_network((a.to_bytes(16, "big"), n), strict=False),
        st.integers(0, 2**128 - 1),
        st.integers(0, 128),
    ),
)
words = st.integers(0, 2**32 - 1)


@given(st.builds(Packet, st.sampled_from(PacketKind), blocks, words, words))
def test_a_packet_survives_the_wire(packet):
    assert decode(encode(packet)) == packet


def test_a_packet_has_this_form():
    packet = Packet(PacketKind.ANSWER, BLOCK, 0x01020304, 5)

    assert encode(packet).hex(" ", 4) == "636e7062 0102041a 01020304 00000005 0a410100 00000000 00000000 00000000"
    assert SIZE == 32


@given(st.binary(max_size=64))
def test_noise_is_no_packet_and_no_crash(noise):
    packet = decode(noise)

    assert packet is None or encode(packet) == noise


@pytest.mark.parametrize(
    ("offset", "value"),
    [(0, b"X"), (4, b"\2"), (5, b"\5"), (6, b"\5"), (7, b"\x21"), (31, b"\1"), (19, b"\1")],
    ids=["magic", "version", "kind", "family", "prefix", "padding", "host bits"],
)
def test_a_packet_with_one_wrong_field_is_dropped(offset, value):
    good = encode(Packet(PacketKind.PROBE, BLOCK, 1, 2))

    assert decode(good[:offset] + value + good[offset + 1 :]) is None


def test_an_overtaken_probe_tells_nothing():
    prober = watching()
    sent = [(at / 50, p) for at in range(20) for p in prober.due(at / 50)]
    (first_at, first), (second_at, second) = sent[:2]

    assert prober.answered(BLOCK, second.sequence, first_at + 0.3) == pytest.approx(first_at + 0.3 - second_at)
    assert prober.answered(BLOCK, first.sequence, first_at + 0.3) is None
