"""The event catalogue: everything that can be written to the log, and nothing else.

Control events are one row each. Numeric events hold many rows of one kind in columns: each field is an array
and all arrays of one event have the same length; a field that is a dictionary holds one array per key. A row
refers to a bar by its index in the bars stream that the phase's `PhaseStarted` names, never by its time.

Nothing in an event that a phase writes depends on the run, the clock, the host or the process: the content
hash of a phase stream is a function of configuration, data and code alone.
"""

import msgspec
import numpy as np
from numpy.typing import NDArray

from .codes import Stage
from .outputs import Feed as Feed
from .outputs import Fold as Fold
from .outputs import Member as Member
from .outputs import PhaseEnd as PhaseEnd
from .outputs import PhaseOutput as PhaseOutput
from .outputs import Regime as Regime
from .outputs import Scalar as Scalar
from .outputs import Trial as Trial

Bool = NDArray[np.bool_]
Int8 = NDArray[np.int8]
Int16 = NDArray[np.int16]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]
Text = NDArray[np.str_]
Column = Bool | Int8 | Int16 | Int32 | Int64 | Float64 | Text


class WorkflowStarted(msgspec.Struct, frozen=True, kw_only=True):
    """A run began: all that is needed to carry it on, or out again, without any file of market data.

    Attributes
    ----------
    name, seed
        Of the workflow.
    configuration
        The workflow as written, with its changes, as JSON with sorted keys.
    folder
        Where files of user strategies are looked for.
    phases
        Names of its phases in the order of execution.
    feeds
        The bars that each phase reads.
    forked_from
        Address, in the run that it was forked from, of the first phase that the two don't share; else empty.
    package_version, python_version, host, process
        What carries it out.
    """

    name: str
    configuration: str
    folder: str
    phases: tuple[str, ...]
    feeds: dict[str, tuple[Feed, ...]]
    seed: int
    forked_from: str = ""
    package_version: str
    python_version: str
    host: str
    process: int


class PhaseStarted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A phase began: the first event of its stream.

    Attributes
    ----------
    phase, type
        Name and type of the phase.
    configuration
        The phase's resolved configuration as JSON with sorted keys.
    depends_on
        Names of the phases whose output it may read.
    feeds
        The bars that it reads; the position in this tuple is the ``symbol`` column of its numeric events.
    strategies
        Names of its strategies; the position is the ``strategy`` column of its signals.
    features
        The distinct features inferred from the strategies, as ``name(parameters)``; of a search by a sampler,
        those at the ends of its space.
    capital
        Cash of each container at its first bar.
    metric_profile
        The profile by which metrics are computed.
    code
        Hash of each piece of code that it runs: the package's version and the source of user components.
    planned
        Number of containers that follow from the configuration alone, of a search by a sampler the largest;
        what comes of them may lead to others.
    reads, sources
        Names of the phases whose outputs it took values from; where streams of other runs end that it read.
    """

    phase: str
    type: str
    configuration: str
    depends_on: tuple[str, ...]
    feeds: tuple[Feed, ...]
    strategies: tuple[str, ...]
    features: tuple[str, ...]
    capital: float
    metric_profile: str
    code: dict[str, str]
    planned: int
    reads: tuple[str, ...] = ()
    sources: tuple[PhaseEnd, ...] = ()


class PhaseStageEntered(msgspec.Struct, frozen=True, kw_only=True):
    """A phase entered one of its execution stages."""

    stage: Stage


class PhaseOutputEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What a phase hands on: the last event of its stream."""

    phase: str
    output: PhaseOutput


class PhaseCompleted(PhaseEnd, frozen=True, kw_only=True, omit_defaults=True):
    """A phase ended well; ``reason`` says why no turn follows in one that repeats, else it is empty."""

    reason: str = ""


class PhaseRepeated(PhaseEnd, frozen=True, kw_only=True):
    """A turn of a phase ended well, and another one follows; turns are counted from 1."""

    turn: int


class PhaseReused(PhaseEnd, frozen=True, kw_only=True, omit_defaults=True):
    """A run takes a phase as another run had completed it; ``stream`` is the stream of the latter.

    A fork takes over those of the run that it was forked from. If ``cached``, the other run is any with the
    same configuration, data, code and inputs of the phase.
    """

    cached: bool = False


class PhaseFailed(msgspec.Struct, frozen=True, kw_only=True):
    """A phase raised; ``error`` is the class of the error. A later turn is named ``phase#turn``."""

    phase: str
    error: str
    message: str


class PhaseRetried(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt at a phase, from 1, met an error that may pass; after ``delay`` seconds it goes on."""

    phase: str
    attempt: int
    delay: float
    error: str
    message: str


class PhaseSkipped(msgspec.Struct, frozen=True, kw_only=True):
    """A phase was not run, for ``reason``."""

    phase: str
    reason: str


class WorkflowResumed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Another process carries the run on, and whoever did so before must stop.

    ``accepted_code`` says whether it may go on with code that has changed since; ``changes`` are those of its
    limits, as ``resources.max_seconds=60``.
    """

    package_version: str
    host: str
    process: int
    accepted_code: bool
    changes: tuple[str, ...] = ()


class WorkflowForked(msgspec.Struct, frozen=True, kw_only=True):
    """Another run takes over the phases of this one that come before ``phase``; it goes on unaffected."""

    run: str
    phase: str


class WorkflowCompleted(msgspec.Struct, frozen=True, kw_only=True):
    """All phases of the run ended: well, skipped, or failed in a way that the workflow allows for."""


class WorkflowFailed(msgspec.Struct, frozen=True, kw_only=True):
    """The run stopped because ``phase`` failed."""

    phase: str
    message: str


class WorkflowCanceled(msgspec.Struct, frozen=True, kw_only=True):
    """The run was stopped on request; all completed work is kept."""

    reason: str


class BarsLoaded(msgspec.Struct, frozen=True, kw_only=True):
    """Bars of one symbol; ``time`` is nanoseconds since 1970 in UTC, strictly increasing."""

    time: Int64
    open: Float64
    high: Float64
    low: Float64
    close: Float64
    volume: Float64


class SessionsLoaded(msgspec.Struct, frozen=True, kw_only=True):
    """Sessions of the exchange of bars; see `admf.domain.trading_calendar`."""

    day: Int64
    opens: Int64
    closes: Int64
    break_start: Int64
    break_end: Int64


class RegimesClassified(msgspec.Struct, frozen=True, kw_only=True):
    """At the close of ``bar`` the market was in a regime, by its number, as far as was known then.

    The phase's output names the regimes in the order of their numbers. Bars of the warm-up have no row.
    """

    symbol: Int16
    bar: Int32
    regime: Int8


class PatternsDiscovered(msgspec.Struct, frozen=True, kw_only=True):
    """Values of parameters that winning trials share more often than others.

    A ``pattern`` has a row for each parameter that it is about; ``words`` has ``parameter`` and ``word``.
    """

    pattern: Int32
    low: Float64
    high: Float64
    support: Int64
    winners: Int64
    lift: Float64
    p_value: Float64
    words: dict[str, Column]


class SignalsEmitted(msgspec.Struct, frozen=True, kw_only=True):
    """A strategy changed its target exposure, in [-1, 1], at the close of ``bar``.

    ``prices`` holds the columns ``limit``, ``stop``, ``stop_loss`` and ``take_profit`` of a strategy that
    states prices, NaN for none; other strategies have no such columns.
    """

    container: Int32
    strategy: Int16
    symbol: Int16
    bar: Int32
    target: Float64
    prices: dict[str, Float64] = {}


class OrdersPlaced(msgspec.Struct, frozen=True, kw_only=True):
    """A container ordered, during or at the close of ``bar``, to bring its exposure to ``target``.

    ``type`` is an `OrderType`. ``prices`` holds the columns ``limit`` and ``stop``, NaN for none, where there
    are other orders than those at market.
    """

    container: Int32
    order: Int32
    symbol: Int16
    bar: Int32
    type: Int8
    target: Float64
    prices: dict[str, Float64] = {}


class OrdersDenied(msgspec.Struct, frozen=True, kw_only=True):
    """Our own rules refused an order.

    ``rule`` is a `DenialRule`; ``required`` is what the order asks for, ``available`` what the rule allows.
    """

    container: Int32
    order: Int32
    symbol: Int16
    bar: Int32
    rule: Int8
    required: Float64
    available: Float64


class OrdersFilled(msgspec.Struct, frozen=True, kw_only=True):
    """The market executed ``quantity`` (negative for a sale) at ``price`` for ``fee``, during ``bar``."""

    container: Int32
    order: Int32
    symbol: Int16
    bar: Int32
    quantity: Float64
    price: Float64
    fee: Float64


class OrdersCanceled(msgspec.Struct, frozen=True, kw_only=True):
    """What was left of an order was given up at ``bar``; ``reason`` is a `CancelReason`."""

    container: Int32
    order: Int32
    symbol: Int16
    bar: Int32
    reason: Int8


class InterestCharged(msgspec.Struct, frozen=True, kw_only=True):
    """A container paid ``amount`` at the open of ``bar`` for what it had borrowed since the bar before.

    ``symbol`` is that of the units sold short, or -1 for cash.
    """

    container: Int32
    symbol: Int16
    bar: Int32
    amount: Float64


class TrialsCompleted(msgspec.Struct, frozen=True, kw_only=True):
    """Containers that ran to their end over the bars ``first_bar`` to ``stop_bar`` (excluded).

    ``fold`` is -1 where there are no folds, ``segment`` is a `Segment`.
    """

    container: Int32
    fold: Int16
    segment: Int8
    first_bar: Int32
    stop_bar: Int32
    parameters: dict[str, Column]
    metrics: dict[str, Float64]


class WeightsFitted(msgspec.Struct, frozen=True, kw_only=True):
    """The members of an ensemble were given weights, from what their containers came to.

    ``regime`` is the number of the regime in which a weight holds, or -1 where none is known; ``container``
    is the one in which the member was simulated alone.
    """

    regime: Int8
    container: Int32
    weight: Float64


ControlEvent = (
    WorkflowStarted
    | PhaseStarted
    | PhaseStageEntered
    | PhaseOutputEvent
    | PhaseCompleted
    | PhaseRepeated
    | PhaseReused
    | PhaseFailed
    | PhaseRetried
    | PhaseSkipped
    | WorkflowResumed
    | WorkflowForked
    | WorkflowCompleted
    | WorkflowFailed
    | WorkflowCanceled
)
NumericEvent = (
    BarsLoaded
    | SessionsLoaded
    | RegimesClassified
    | PatternsDiscovered
    | SignalsEmitted
    | OrdersPlaced
    | OrdersDenied
    | OrdersFilled
    | OrdersCanceled
    | InterestCharged
    | TrialsCompleted
    | WeightsFitted
)
Event = ControlEvent | NumericEvent
