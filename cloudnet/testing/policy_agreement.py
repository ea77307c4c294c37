"""Where kernel and evaluator disagree, and the smallest node on which they still do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from cloudnet.policy.compile import compile_state
from cloudnet.policy.evaluate import evaluate
from cloudnet.policy.options import Options
from cloudnet.policy.packets import Packet
from cloudnet.policy.rules import Policy, State
from cloudnet.policy.table import script
from cloudnet.policy.verdicts import Verdict
from cloudnet.testing.policy_judge import Judge


def disagreements(judge: Judge, state: State, options: Options, packets: Sequence[Packet]) -> list[str]:
    """Return one story for each packet that kernel and evaluator judge differently, the first one on few policies."""
    wrong = _wrong(judge, state, options, packets)
    if not wrong:
        return []
    packet = wrong[0][0]
    small = _smallest(judge, state, options, packet)
    text = script(compile_state(small, options))
    story = (
        f"{packet}: the evaluator says {evaluate(small, packet, options)}, the kernel the opposite\n{small}\n{text}"
    )
    return [story, *(f"{packet}: {verdict}" for packet, verdict in wrong[1:])]


def _wrong(judge: Judge, state: State, options: Options, packets: Sequence[Packet]) -> list[tuple[Packet, Verdict]]:
    text = script(compile_state(state, options))
    outcomes = judge.outcomes(packets, lambda: judge.nft.run(text))
    verdicts = [evaluate(state, packet, options) for packet in packets]
    return [
        (packet, verdict)
        for packet, verdict, outcome in zip(packets, verdicts, outcomes, strict=True)
        if verdict.allowed is not outcome
    ]


def _smallest(judge: Judge, state: State, options: Options, packet: Packet) -> State:
    """Leave out policies, then rules, as long as they still disagree."""
    smaller: State | None = state
    while smaller is not None:
        state = smaller
        smaller = next((one for one in _simpler(state) if _wrong(judge, one, options, [packet])), None)
    return state


def _simpler(state: State) -> Iterator[State]:
    for key in state.policies:
        yield replace(state, policies={other: policy for other, policy in state.policies.items() if other != key})
    for key, policy in state.policies.items():
        for shorter in _shorter(policy):
            yield replace(state, policies={**state.policies, key: shorter})


def _shorter(policy: Policy) -> Iterator[Policy]:
    for number in range(len(policy.ingress)):
        yield replace(policy, ingress=(*policy.ingress[:number], *policy.ingress[number + 1 :]))
    for number in range(len(policy.egress)):
        yield replace(policy, egress=(*policy.egress[:number], *policy.egress[number + 1 :]))
