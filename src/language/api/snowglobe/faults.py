"""Faults of networks: what real ones do between machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self, TypeAlias

from .calls import drive
from .durations import Duration, in_seconds
from .extensions import extension

if TYPE_CHECKING:
    from .driver import VLan
    from .machine import Machine

Fraction: TypeAlias = "float"
Rate: TypeAlias = "str"
Port: TypeAlias = "int"


class Fault:
    """A fault of links or machines. It begins with a `with` block or with set(), and ends with the block, with clear(), or
    at the end of the test.
    """

    def __init__(self, request, code):
        self._request = request
        # The expression that makes the fault, for the steps that chaos() prints.
        self._code = code
        self._number = None
        self._counts = {}

    def __repr__(self):
        return f"<fault {self._code}>"

    def _pick(self, random, among):
        """The fault itself; those of chaos() are drawn."""
        return self

    def set(self) -> Self:
        """Begin the fault. It has its effect when this returns."""
        if self._number is not None:
            raise ValueError("the fault has begun already: clear() ends it")
        self._number = drive("fault", call={"begin": self._request})
        return self

    def clear(self) -> None:
        """End the fault. Packets that wait for it are delivered at once. Has no effect on a fault that has ended."""
        if self._number is not None:
            number, self._number = self._number, None
            self._counts = drive("fault", call={"end": number})

    def __enter__(self) -> Self:
        """Begin the fault."""
        return self.set()

    def __exit__(self, *_) -> None:
        """End the fault."""
        self.clear()

    def _count(self, name):
        counts = self._counts if self._number is None else drive("fault", call={"counts": self._number})
        return counts.get(name, 0)

    @property
    def matched(self) -> int:
        """The number of packets that the fault was about, with or without an effect on them."""
        return self._count("matched")

    @property
    def dropped(self) -> int:
        """The number of packets that were lost."""
        return self._count("dropped")

    @property
    def delayed(self) -> int:
        """The number of packets that had to wait."""
        return self._count("delayed")

    @property
    def duplicated(self) -> int:
        """The number of packets that were delivered twice."""
        return self._count("duplicated")

    @property
    def corrupted(self) -> int:
        """The number of packets in which a bit was inverted."""
        return self._count("corrupted")

    @property
    def reordered(self) -> int:
        """The number of packets that were sent at once, before others that wait."""
        return self._count("reordered")


class DrawnFault(Fault):
    """A fault whose machines chaos() draws."""

    def __init__(self, code, draw):
        super().__init__({"kind": "drawn"}, code)
        self._draw = draw

    def set(self) -> Self:
        """Fails: only chaos() begins such a fault."""
        raise ValueError(f"{self._code} is for chaos(), which draws its machines: name them yourself here")

    def _pick(self, random, among):
        return self._draw(random, among)


def _draw_partition(random, among):
    shuffled = random.sample(among, len(among))
    place = random.randint(1, len(shuffled) - 1)
    return partition(shuffled[:place], shuffled[place:])


class Match:
    """The packets that a fault or a capture is about: see tcp(), udp(), icmp(), arp() and ip()."""

    def __init__(self, conditions, code):
        self._conditions = conditions
        self._code = code

    def __repr__(self):
        return self._code


def _match(protocol, **conditions):
    given = {name: value for name, value in conditions.items() if value not in (None, False)}
    return Match({"protocol": protocol, **given}, f"{protocol}({arguments_code(given)})")


def arguments_code(given):
    """Returns keyword arguments as a script writes them."""
    return ", ".join(f"{name}={value!r}" for name, value in given.items())


@extension
def tcp(
    *,
    port: Port | None = None,
    source_port: Port | None = None,
    destination_port: Port | None = None,
    source: str | None = None,
    destination: str | None = None,
    syn: bool = False,
) -> Match:
    """Match packets of TCP. port is that of either side; source and destination are addresses, or ranges such as
    "192.168.1.0/24". With syn=True, match only the first packet of each connection.
    """
    return _match(
        "tcp",
        port=port,
        source_port=source_port,
        destination_port=destination_port,
        source=source,
        destination=destination,
        syn=bool(syn),
    )


@extension
def udp(
    *,
    port: Port | None = None,
    source_port: Port | None = None,
    destination_port: Port | None = None,
    source: str | None = None,
    destination: str | None = None,
) -> Match:
    """Match packets of UDP. For the arguments see tcp()."""
    return _match(
        "udp",
        port=port,
        source_port=source_port,
        destination_port=destination_port,
        source=source,
        destination=destination,
    )


@extension
def icmp(*, source: str | None = None, destination: str | None = None) -> Match:
    """Match packets of ICMP, such as those of ping: of IPv4, and of IPv6, where neighbours find each other by them. For
    the arguments see tcp().
    """
    return _match("icmp", source=source, destination=destination)


@extension
def arp() -> Match:
    """Match packets of ARP, by which machines find each other's addresses of IPv4."""
    return _match("arp")


@extension
def ip(*, source: str | None = None, destination: str | None = None) -> Match:
    """Match packets of IPv4 and IPv6. For the arguments see tcp()."""
    return _match("ip", source=source, destination=destination)


class Link:
    """The way of packets between two machines, in one direction or in both."""

    def __init__(self, label, ends, vlan, code):
        self._label = label
        self._ends = ends
        self._network = None if vlan is None else vlan.nr
        self._code = code if vlan is None else f"{code[:-1]}, vlan{vlan.nr})"

    def __repr__(self):
        return f"<link {self._label}>"

    def fault(
        self,
        *,
        delay: Duration = 0,
        jitter: Duration = 0,
        loss: Fraction | None = None,
        duplicate: Fraction | None = None,
        reorder: Fraction | None = None,
        corrupt: Fraction | None = None,
        rate: Rate | None = None,
        queue: int | None = None,
        match: Match | None = None,
    ) -> Fault:
        """Return a fault of the link, as netem of Linux makes them. Packets wait `delay` seconds, give or take `jitter`.
        `loss`, `duplicate`, `reorder` and `corrupt` are the parts of the packets, from 0 to 1, that are lost, arrive twice,
        overtake the others, or have an inverted bit. Packets leave at `rate`, such as "1mbit", and at most `queue` of
        them wait: 1000 by default. With `match`, the fault is about those packets only. Each direction has its own random
        numbers, rate and queue.
        """
        effects = {
            "delay": float(in_seconds(delay)),
            "jitter": float(in_seconds(jitter)),
            "loss": loss,
            "duplicate": duplicate,
            "reorder": reorder,
            "corrupt": corrupt,
            "rate": rate,
            "queue": queue,
        }
        given: dict[str, object] = {name: value for name, value in effects.items() if value not in (None, 0.0)}
        if match is not None:
            given["match"] = match
        return Fault(
            {
                "kind": "link",
                "label": self._label,
                "links": self._ends,
                "network": self._network,
                "effects": effects,
                "matching": {} if match is None else match._conditions,
            },
            f"{self._code}.fault({arguments_code(given)})",
        )


def link_to(sender: Machine, receiver: Machine, vlan: VLan | None) -> Link:
    """Returns the link between two machines in one direction."""
    code = f"{sender._code}.to({receiver._code})"
    return Link(f"{sender.name} → {receiver.name}", _one_way([sender], [receiver]), vlan, code)


@extension
def between(a: Machine, b: Machine, vlan: VLan | None = None) -> Link:
    """Return the link between two machines, in both directions: on all virtual networks that they share, or on one."""
    code = f"between({a._code}, {b._code})"
    return Link(f"{a.name} ↔ {b.name}", _one_way([a], [b]) + _one_way([b], [a]), vlan, code)


def _one_way(senders, receivers):
    pairs = [(sender, receiver) for sender in senders for receiver in receivers]
    for sender, receiver in pairs:
        if sender is receiver:
            raise ValueError(f"{sender.name} has no link to itself: name two machines")
    return [[sender._node, receiver._node] for sender, receiver in pairs]


@extension
def partition(*groups: list[Machine], one_way: bool = False) -> Fault:
    """Return a fault in which no packet passes between groups of machines. Machines of one group reach each other, and
    machines in no group reach all. Without groups, chaos() draws them. With one_way, the packets of a group do not reach
    the groups after it, whose packets reach it.
    """
    if not groups:
        return DrawnFault("partition()", _draw_partition)
    if len(groups) < 2:
        raise ValueError("a partition needs two groups of machines or more: partition([a, b], [c])")
    ends = []
    for place, group in enumerate(groups):
        for other in groups[place + 1 :]:
            ends += _one_way(group, other) + ([] if one_way else _one_way(other, group))
    sign = " → " if one_way else " | "
    label = sign.join(_names(group) for group in groups)
    code = ", ".join(_list_code(group) for group in groups) + (", one_way=True" if one_way else "")
    return Fault({"kind": "partition", "label": f"partition {label}", "links": ends}, f"partition({code})")


@extension
def isolate(machine: Machine) -> Fault:
    """Return a fault in which no packet passes between a machine and any other."""
    from .driver import machines

    others = [other for other in machines if other is not machine]
    ends = _one_way([machine], others) + _one_way(others, [machine])
    code = f"isolate({machine._code})"
    return Fault({"kind": "partition", "label": f"isolate {machine.name}", "links": ends}, code)


@extension
def bridge(left: list[Machine], middle: Machine, right: list[Machine]) -> Fault:
    """Return a fault in which two groups of machines do not reach each other, and one machine in the middle reaches all."""
    for group in (left, right):
        if middle in group:
            raise ValueError(f"{middle.name} is the middle of the bridge, and cannot be in a group, too")
    ends = _one_way(left, right) + _one_way(right, left)
    label = f"bridge {_names(left)} | {middle.name} | {_names(right)}"
    code = f"bridge({_list_code(left)}, {middle._code}, {_list_code(right)})"
    return Fault({"kind": "partition", "label": label, "links": ends}, code)


def _list_code(machines):
    return f"[{', '.join(machine._code for machine in machines)}]"


def _names(group):
    return ", ".join(machine.name for machine in group)


class Cable:
    """The cable of a machine's card on one virtual network."""

    def __init__(self, machine, vlan):
        self._machine = machine
        self._vlan = vlan

    def __repr__(self):
        return f"<cable of {self._machine.name} on VLAN {self._vlan.nr}>"

    def unplugged(self) -> Fault:
        """Return a fault in which the cable is out of the card: the guest sees that it has no carrier."""
        request = {"kind": "unplugged", "machine": self._machine._node, "network": self._vlan.nr}
        return Fault(request, f"{self._machine._code}.cable(vlan{self._vlan.nr}).unplugged()")
