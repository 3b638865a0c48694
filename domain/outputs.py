"""What a phase reads and hands on to the phases after it; part of the event catalogue."""

import msgspec

Scalar = bool | int | float | str


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One container with its parameters and what came of it."""

    container: int
    parameters: dict[str, Scalar]
    metrics: dict[str, float]


class Fold(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a walk-forward, or one test of a cross-validation; dates are ISO 8601, both ends included.

    ``best`` is None where nothing was optimized on the train segment. In a cross-validation ``number`` is
    that of the split, which has a test for each group that it leaves out; it trains between ``train_start``
    and ``train_end`` on all bars but those in and near its tests.
    """

    number: int
    train_start: str
    train_end: str
    test_start: str
    test_end: str
    best: Trial | None
    test: Trial


class Regime(msgspec.Struct, frozen=True, kw_only=True):
    """What came of the trials of a phase in one regime.

    Attributes
    ----------
    name
        Of the regime.
    bars
        Number of bars before which it was the last one known.
    metrics
        In it, of the trial that is best over the whole period: ``bars``, ``trades``, ``sharpe_ratio``,
        ``total_return``, ``max_drawdown`` and ``win_rate``.
    best
        The trial with the highest Sharpe ratio in it, with its metrics there; None where there is too little
        to tell.
    shortfall
        What there is too little of; empty where ``best`` is known.
    """

    name: str
    bars: int
    metrics: dict[str, float]
    best: Trial | None
    shortfall: str = ""


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A member of an ensemble, with its weight.

    Attributes
    ----------
    name
        Of its strategies in the ensemble, joined by ``+``.
    phase, source
        The earlier phase whose trial it is, and the container of that.
    container
        The container of the ensemble's phase in which it was simulated alone.
    parameters
        Of the trial.
    weight
        Where the regime is not known, or weights are the same in all regimes.
    regimes
        Its weight in each regime by name, where they differ.
    """

    name: str
    phase: str
    source: int
    container: int
    parameters: dict[str, Scalar]
    weight: float
    regimes: dict[str, float] = {}


class PhaseOutput(msgspec.Struct, frozen=True, kw_only=True):
    """What a phase hands on to the phases after it.

    Attributes
    ----------
    objective, direction
        The metric that ``best`` was chosen by, and ``maximize`` or ``minimize``; empty where nothing was.
    best
        The chosen trial; the only one of a phase that ran a single container; with folds the account that
        trades their test windows one after the other, with the parameters that it ends with. A
        cross-validation chooses none.
    metrics
        Headline metrics: those of ``best``, or the mean over ``paths``.
    trials
        Number of trials that were simulated to find ``best``.
    folds
        The walk-forward steps, or tests of a cross-validation, in order; empty where there were none.
    paths
        Of a cross-validation: accounts that trade the whole period out of sample, each group of bars with
        what another split chose, in the order of `admf.domain.cross_validation.paths`.
    front
        With several objectives: the trials that no other one beats by all of them, in the order of their
        containers.
    figures, verdict
        Of an analysis: what it measured, by name, and what follows from it in plain words.
    regimes
        Where bars were classified: the regimes, in the order of their numbers; of an analysis of regimes,
        with what came of each.
    weights
        Of an ensemble: its members and their weights; found by name, as in ``weights.cross_7.weight``.
    space
        Of a discovery of patterns: the values of parameters to search, listed, or from ``low`` to ``high``.
    """

    objective: str
    direction: str
    best: Trial | None
    metrics: dict[str, float]
    trials: int
    folds: tuple[Fold, ...] = ()
    paths: tuple[Trial, ...] = ()
    front: tuple[Trial, ...] = ()
    figures: dict[str, float] = {}
    verdict: str = ""
    regimes: tuple[Regime, ...] = ()
    weights: tuple[Member, ...] = ()
    space: dict[str, tuple[Scalar, ...] | dict[str, float]] = {}


class PhaseEnd(msgspec.Struct, frozen=True, kw_only=True):
    """Where the stream of a phase, or of one of its turns, ends, after it ended well.

    ``events`` stored events hold ``rows`` logical rows; ``head_hash`` is the content hash at the head.
    """

    phase: str
    stream: str
    events: int
    rows: int
    head_hash: str


class Feed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The bars of one symbol that a phase reads.

    Attributes
    ----------
    symbol, timeframe
        As configured.
    stream
        The bars stream, ``bars-<digest>``.
    rows
        Number of bars in that stream.
    sessions
        Number of sessions of their exchange that follow them there.
    """

    symbol: str
    timeframe: str
    stream: str
    rows: int
    sessions: int = 0
