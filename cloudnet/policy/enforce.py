"""Carry policy out: what the compiler wants goes into the kernel, whole or not at all.

A change that is refused leaves the old rules in force. If a policy is to blame, it is found by halves and left
as it was before, everything else goes in, and ``refused`` names it until another version of it comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from cloudnet.kernel.nft import ElementChange, Exclude, Include, Nft, NftError, Standing, StandingChain
from cloudnet.policy import elements, table
from cloudnet.policy.compile import Compiler
from cloudnet.policy.elements import TABLE
from cloudnet.policy.options import Options
from cloudnet.policy.rules import Change, Policy, PolicyChanged, PolicyGone, PolicyKey
from cloudnet.policy.table import Chain, Counter, rule_mark
from cloudnet.policy.transaction import Transaction, pending

_SMALL: Final = 2000  # elements that go by themselves; more go by text, which is one transaction whatever its size


class Enforcer:
    """The policy of one node, in force. One thread uses it: the one that opened the door."""

    def __init__(self, nft: Nft, options: Options | None = None) -> None:
        self._nft = nft
        self.compiler = Compiler(options)
        self._refused: dict[PolicyKey, str] = {}
        self._last_good: dict[PolicyKey, Policy | None] = {}  # of policies changed since the last success

    @property
    def refused(self) -> Mapping[PolicyKey, str]:
        """Return the policies that the kernel does not take as they are now, each with what it said."""
        return MappingProxyType(self._refused)

    def take(self, changes: Iterable[Change]) -> bool:
        """Take changes in and bring the kernel there; tell whether it had to change.

        Raises:
            KernelError: nothing changed, and no policy is to blame; ``settle`` tries again.
        """
        changes = tuple(changes)
        for change in changes:
            self._remember(change)
        self.compiler.take(changes)
        return self.settle()

    def _remember(self, change: Change) -> None:
        key = _policy_of(change)
        if key is not None:
            self._last_good.setdefault(key, self.compiler.policies.get(key))
            self._refused.pop(key, None)

    def settle(self) -> bool:
        """Bring the kernel to what is wanted; tell whether it had to change. Raises as ``take``."""
        try:
            changed = self._commit()
        except NftError:
            suspects = [key for key in self._last_good if key in self.compiler.policies]
            if not suspects:
                raise
            wanted = [self.compiler.policies[key] for key in suspects]
            self._revert(suspects)
            try:
                changed = self._commit()
            except NftError:  # no policy is to blame
                self.compiler.take(map(PolicyChanged, wanted))
                raise
            self._last_good.clear()
            changed = self._introduce(wanted) or changed
        self._last_good.clear()
        return changed

    def _introduce(self, policies: Sequence[Policy]) -> bool:
        """Let policies in, all at once if the kernel takes them, else by halves."""
        before = {policy.key: self.compiler.policies.get(policy.key) for policy in policies}
        self.compiler.take(map(PolicyChanged, policies))
        try:
            return self._commit()
        except NftError as e:
            self._last_good |= before
            self._revert(list(before))
            if len(policies) == 1:
                self._refused[policies[0].key] = str(e)
                return self._commit()
        half = len(policies) // 2
        first = self._introduce(policies[:half])
        return self._introduce(policies[half:]) or first

    def _revert(self, keys: Sequence[PolicyKey]) -> None:
        for key in keys:
            good = self._last_good[key]
            self.compiler.take([PolicyChanged(good) if good else PolicyGone(key)])

    def _commit(self) -> bool:
        """Carry out what is pending; what the first step made stays, unused, if a later one is refused."""
        transaction = pending(self.compiler)
        if not transaction:
            return False
        if _is_small(transaction):
            self._nft.change(_element_changes(transaction))
            transaction.switched(self.compiler)
            return True
        for step in transaction.steps():
            if step.text:
                self._nft.run(step.text)
            step.record(self.compiler)
        return True

    # --- repair ------------------------------------------------------------------------------------------------

    def resync(self) -> bool:
        """Read the table and mend what others changed; tell whether anything had to be.

        What stands is taken over where it is what we want, so that counters live on. A table that somebody turned
        into something else is made anew, in one transaction.

        Raises:
            KernelError: it cannot be read, or cannot be mended.
        """
        standing = self._nft.list(TABLE)
        if standing is None:
            self._begin()
            return True
        if not self._adopt(standing, self._nft.counters(TABLE)):
            self._make()
            return True
        return self.settle()

    def _begin(self) -> None:
        """Make the table where none was; a policy that the kernel refuses stays out, and nothing else.

        In steps as any change: of a table made in one, rules would ask sets that are empty yet, and drop.
        """
        self._nothing_stands()
        policies = tuple(self.compiler.policies.values())
        try:
            self._commit()
        except NftError:
            if not policies:
                raise
            self._last_good = dict.fromkeys((policy.key for policy in policies), None)
            self._revert(list(self._last_good))
            try:
                self._commit()
            except NftError:  # no policy is to blame
                self.compiler.take(map(PolicyChanged, policies))
                raise
            self._introduce(policies)
            self._last_good.clear()

    def _nothing_stands(self) -> None:
        self.compiler.chains.resync({})
        self.compiler.sets.resync({})
        self.compiler.counters.resync({})
        self.compiler.elements.resync({})

    def _make(self) -> None:
        self._nft.run(table.script(self.compiler.part()))
        _adopt_all(self.compiler)

    def _adopt(self, standing: Standing, counters: Mapping[str, object]) -> bool:
        """Believe what was read; tell whether it can be mended piece by piece."""
        wanted = self.compiler
        for name, chain in wanted.chains.desired.items():
            there = standing.chains.get(name)
            if there is not None and not _has_hook(chain, there):
                return False
        for name, one in wanted.sets.desired.items():
            found = standing.sets.get(name)
            if found is not None and (found.set != elements.to_door(one) or found.strange):
                return False
        wanted.chains.resync({name: _seen(wanted, name, chain) for name, chain in standing.chains.items()})
        wanted.sets.resync({name: wanted.sets.desired.get(name, table.Set(name, "")) for name in standing.sets})
        wanted.counters.resync({name: wanted.counters.desired.get(name, Counter(name)) for name in counters})
        wanted.elements.resync(
            {
                (name, key): verdict
                for name, found in standing.sets.items()
                for key, verdict in map(elements.spell, found.elements)
            }
        )
        return True


def _adopt_all(compiler: Compiler) -> None:
    """Record that everything wanted is there and nothing else."""
    compiler.chains.resync(compiler.chains.desired)
    compiler.sets.resync(compiler.sets.desired)
    compiler.counters.resync(compiler.counters.desired)
    compiler.elements.resync(compiler.elements.desired)


def _seen(compiler: Compiler, name: str, there: StandingChain) -> Chain:
    """Return the wanted chain if what stands is it, by the marks of its rules; else something that is none."""
    wanted = compiler.chains.desired.get(name)
    if wanted is not None and [rule.comment for rule in there.rules] == list(map(rule_mark, wanted.rules)):
        return wanted
    return Chain(name, ("not ours",))


def _has_hook(chain: Chain, there: StandingChain) -> bool:
    hook = there.hook
    if hook is None:
        return not chain.hook
    return chain.hook == f"type {hook.type} hook {hook.point} priority {hook.priority}; policy {hook.policy}"


def _policy_of(change: Change) -> PolicyKey | None:
    match change:
        case PolicyChanged(policy):
            return policy.key
        case PolicyGone(key):
            return key
        case _:
            return None


def _is_small(transaction: Transaction) -> bool:
    """Tell whether a transaction is nothing but a few elements."""
    if not transaction.only_elements:
        return False
    count = sum(map(len, transaction.elements.values())) + sum(map(len, transaction.no_elements.values()))
    return count <= _SMALL


def _element_changes(transaction: Transaction) -> list[ElementChange]:
    changes: list[ElementChange] = []
    for name, keys in transaction.no_elements.items():
        into = elements.to_door(transaction.declarations[name])
        changes.append(Exclude(into, tuple(elements.parse(into, key, "") for key in keys)))
    for name, added in transaction.elements.items():
        into = elements.to_door(transaction.declarations[name])
        changes.append(Include(into, tuple(elements.parse(into, key, verdict) for key, verdict in added.items())))
    return changes
