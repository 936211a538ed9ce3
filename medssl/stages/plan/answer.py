"""What a plan answers: time, memory, disk and batch size, and what each of these rests on."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

from medssl.progress import amount, duration

BUSY = 0.1  # share of the time spent waiting for a CPU from which on that is said
SPARE = 0.1  # share of the memory that is left free when a batch size is said to fit


@dataclass(frozen=True)
class Figure:
    """An amount (s, bytes), what it rests on in words, and how much there is; 0: no limit is known."""

    amount: float
    rests_on: str
    room: float = 0.0

    @property
    def short(self) -> bool:
        return bool(self.room) and self.amount > self.room


@dataclass(frozen=True)
class Batch:
    """The batch size that is asked for, and the largest that would fit; 0: it could not be told."""

    asked: int
    largest: int
    rests_on: str


@dataclass(frozen=True)
class Plan:
    """What a command costs.

    seconds  until it is done, of a run that is resumed what is left
    memory   the most that it holds at once, bytes; `gpu` the same of a GPU, None without one
    disk     what it leaves in its folder, bytes, and what it needs beyond on the way
    parts    what the time is made of, by name
    busy     share of the time in which other work had the CPU when this was measured
    loading  seconds of the time that a process spends once, on loading what it needs
    """

    verb: str
    seconds: Figure
    memory: Figure
    disk: Figure
    gpu: Figure | None = None
    batch: Batch | None = None
    parts: dict[str, float] = field(default_factory=dict)
    busy: float = 0.0
    loading: float = 0.0

    @property
    def warnings(self) -> list[str]:
        """What will not do, in words."""
        found = []
        if self.disk.short:
            found.append(
                f"disk: {amount(self.disk.amount)} are needed, {amount(self.disk.room)} are free"
            )
        for name, figure in (("memory", self.memory), ("GPU memory", self.gpu)):
            if figure and figure.short:
                words = (
                    f"{name}: {amount(figure.amount)} are needed, {amount(figure.room)} there are"
                )
                fits = self.batch.largest if self.batch else 0
                found.append(words + (f"; a batch of {fits} would fit" if fits else ""))
        if self.busy > BUSY:
            alone = duration(self.seconds.amount * (1 - self.busy))
            found.append(
                f"busy machine: other work had the CPU {self.busy:.0%} of the time; alone, about {alone}"
            )
        return found

    def times(self, n: int) -> "Plan":
        """The same n times, one after the other, each into a folder of its own."""
        return total({self.verb: (n, self)})

    def __str__(self) -> str:
        rows = [
            ("time", duration(self.seconds.amount), self.seconds.rests_on),
            ("memory", amount(self.memory.amount), _of(self.memory, "are available")),
        ]
        if self.gpu:
            rows.append(("GPU memory", amount(self.gpu.amount), _of(self.gpu, "are available")))
        rows.append(("disk", amount(self.disk.amount), _of(self.disk, "are free")))
        if self.batch:
            rows.append(("batch size", str(self.batch.asked), self.batch.rests_on))
        wide = [max(len(row[i]) for row in rows) for i in (0, 1)]
        lines = [f"{name:<{wide[0]}}  {figure:>{wide[1]}}  {words}" for name, figure, words in rows]
        return "\n".join([*lines, *(f"warning: {words}" for words in self.warnings)])

    def record(self) -> dict:
        """The same as JSON takes it."""
        return {**asdict(self), "warnings": self.warnings}


def total(plans: Mapping[str, tuple[int, Plan]]) -> Plan:
    """Several commands one after the other: {what it is called: (how many times, its plan)}.

    Times and disk add up; of memory the most counts. No batch size is said.
    """
    every = list(plans.values())
    counted = "; ".join(
        f"{n} x {name}, {duration(plan.seconds.amount)} each" for name, (n, plan) in plans.items()
    )
    named = {name: plan for name, (_, plan) in plans.items()}
    hungriest = max(named, key=lambda name: named[name].memory.amount)
    on_gpu = [plan for plan in named.values() if plan.gpu]
    seconds, disk = (
        sum(n * getattr(plan, key).amount for n, plan in every) for key in ("seconds", "disk")
    )
    disks = [plan.disk for plan in named.values()]
    waiting = sum(n * plan.seconds.amount * plan.busy for n, plan in every)
    return Plan(
        " + ".join(dict.fromkeys(plan.verb for plan in named.values())),
        Figure(seconds, counted),
        replace(named[hungriest].memory, rests_on=f"of {hungriest}"),
        Figure(disk, "of all together", min(d.room for d in disks)),
        max((plan.gpu for plan in on_gpu), key=lambda f: f.amount, default=None),
        parts={f"{name}.{k}": v for name, plan in named.items() for k, v in plan.parts.items()},
        busy=waiting / seconds,
    )  # fmt: skip


def _of(figure: Figure, there: str) -> str:
    return f"{figure.rests_on}; {amount(figure.room)} {there}" if figure.room else figure.rests_on
