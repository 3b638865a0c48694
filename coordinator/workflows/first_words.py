"""The words of the first design documents, put into those of the configuration.

Generators of phases may return ``optimization_config``, ``backtest_config``, ``analysis_config``,
``data_config`` and ``enabled``. Each word in them has an effect, or is refused; docs/first_words.md lists
them.
"""

import re
from collections.abc import Mapping

from ...domain.errors import ConfigurationError, UnknownNameError
from ..configuration.changes import mapping, merged
from ..configuration.sources import Raw
from ..phases import PHASES

ALGORITHMS = {"bayesian": "tpe"}
OBJECTIVES: dict[str, Raw] = {
    "sharpe": {"objective": "sharpe_ratio"},
    "returns": {"objective": "total_return"},
    "drawdown": {"objective": "max_drawdown"},
    "risk_adjusted_returns": {"objective": "calmar_ratio"},
    "risk_adjusted_sharpe": {"objectives": ["sharpe_ratio", "max_drawdown"]},
    "min_drawdown_sharpe": {"objectives": ["max_drawdown", "sharpe_ratio"]},
}
SIZER = "position_size"
RISK = {
    "max_position_size": f"{SIZER}.percentage",
    "position_sizing_method": f"{SIZER}.type",
    "max_drawdown": "risk.limits.max_drawdown",
}
"""Parameters of risk; numbers are fractions in the first words, and percentages in ours."""
METHODS = {"fixed": "percentage"}
REGIME_METRICS = {"sharpe": "sharpe_ratio", "returns": "total_return", "drawdown": "max_drawdown"}
MEASURED = ("sharpe_ratio", "total_return", "max_drawdown", "win_rate", "trades")
"""What an analysis of regimes measures."""
BACKTEST = {"start_date": ("data", "start"), "end_date": ("data", "end"), "initial_capital": ("capital",)}
REPLAY = (
    "signal_logs",
    "fixed_strategy_params",
    "regime_optimal_params",
    "risk_parameters",
    "weight_constraints",
)
"""Words that say something about signals that are followed."""
BEST_OF = re.compile(r"\$\{([\w.-]+)\.best\.parameters\}")
REGIMES_OF = re.compile(r"\$\{([\w.-]+)\.optimal_params_by_regime\}")
FIRST = frozenset({"algorithm", "objective", "starting_point"})
CONVERGENCE = "convergence"


def in_our_words(phase: Raw, settings: Mapping[str, object], earlier: Mapping[str, Raw]) -> list[Raw]:
    """Put a phase into the words of the configuration.

    Parameters
    ----------
    phase
        What its definition and its generator say.
    settings
        What stands beside ``workflow``.
    earlier
        The phases before it, in the words of the configuration, by name.

    Returns
    -------
    list
        The phase, and one more for each further regime classifier.

    Raises
    ------
    ConfigurationError
        A word has no meaning here, or contradicts another one.
    UnknownNameError
        There is no such word.
    """
    where, phase = str(phase["name"]), dict(phase)
    groups = {
        name: mapping(phase.pop(name, {}) or {}, f"{where}.{name}")
        for name in ("data_config", "backtest_config", "optimization_config", "analysis_config")
    }
    if "enabled" in phase:
        phase = _stated(phase, {"when": _condition(phase.pop("enabled"), f"{where}.enabled")}, where)
    if groups["data_config"]:
        phase = _stated(phase, {"data": groups["data_config"]}, where)
    for word, value in groups["backtest_config"].items():
        if word not in BACKTEST:
            raise UnknownNameError("word", word, BACKTEST, f"{where}.backtest_config")
        *above, key = BACKTEST[word]
        phase = merged(phase, {above[0]: {key: value}} if above else {key: value})
    if groups["optimization_config"] and groups["analysis_config"]:
        raise ConfigurationError(f"{where}: a phase searches or analyzes; leave one of the two out.")
    if groups["optimization_config"]:
        return [_search(phase, dict(groups["optimization_config"]), settings, earlier)]
    if groups["analysis_config"]:
        return _analysis(phase, dict(groups["analysis_config"]), earlier)
    return [phase]


def _stated(phase: Raw, more: Raw, where: str) -> Raw:
    """Add what the first words say; what the phase also says in ours is refused."""
    if twice := sorted(set(phase) & set(more)):
        raise ConfigurationError(f"{where}.{twice[0]}: is said twice, in two ways; keep one of them.")
    return {**phase, **{key: value for key, value in more.items() if value not in ("", None)}}


def _condition(enabled: object, where: str) -> str:
    if isinstance(enabled, bool):
        return "" if enabled else "False"
    if not isinstance(enabled, str):
        raise ConfigurationError(f"{where}: must be true, false, or a comparison, was {enabled!r}.")
    return enabled


def _flag(words: Raw, word: str, where: str) -> bool | None:
    """Take a word that is true or false; None where it is not there."""
    value: object = words.pop(word, None)
    if value is None or isinstance(value, bool):
        return value
    raise ConfigurationError(f"{where}.{word}: must be true or false, was {value!r}.")


def _search(phase: Raw, words: Raw, settings: Mapping[str, object], earlier: Mapping[str, Raw]) -> Raw:
    where = f"{phase['name']}.optimization_config"
    captures, aware = _flag(words, "capture_signals", where), _flag(words, "regime_aware", where)
    if captures is not None or aware is not None:
        phase = _stated(phase, {"log": "full" if captures else "fills" if aware else "metrics"}, where)
    replays = _flag(words, "signal_replay", where)
    replay = {word: words.pop(word) for word in REPLAY if word in words}
    if replay and not replays:
        raise ConfigurationError(
            f"{where}.{next(iter(replay))}: says something only with 'signal_replay': True; add it."
        )
    space = mapping(words.pop("parameter_space", {}), f"{where}.parameter_space")
    checks = [name for name, each in earlier.items() if each["type"] == CONVERGENCE]
    if words.get("starting_point") and checks and "when" not in phase:
        phase = {**phase, "when": f"{checks[-1]}.figures.converged == 0"}
    if not RISK.keys().isdisjoint(space):
        sizer = {"name": SIZER, "type": "percentage", "percentage": 100}
        phase = _stated(phase, {"risk": {"position_sizers": [sizer]}}, where)
    study = _study(words, space, where)
    if replays:
        return _replay(phase, study, replay, earlier)
    types = dict.fromkeys(name.partition(".")[0] for name in space if name not in RISK)
    if types and not {"strategies", "strategy"} & {*phase, *settings}:
        phase["strategies"] = [{"type": kind} for kind in types]
    return _stated(phase, {"optimization": study}, where)


def _study(words: Raw, space: Raw, where: str) -> Raw:
    """Translate what is searched, how, and what for; other words are ours, and stay."""
    study: Raw = {word: value for word, value in words.items() if word not in FIRST}
    if "algorithm" in words:
        study["algorithm"] = ALGORITHMS.get(str(words["algorithm"]), words["algorithm"])
    if "objective" in words:
        study |= OBJECTIVES.get(str(words["objective"]), {"objective": words["objective"]})
    if space:
        values = {RISK.get(name, name): _values(name, space[name], where) for name in space}
        study = _stated(study, {"parameters": values}, where)
    return _stated(study, {"start": words.get("starting_point") or ""}, where)


def _values(name: str, values: object, where: str) -> object:
    """Translate the values of a parameter of risk; those of other parameters stay as they are."""
    if name not in RISK or not isinstance(values, list):
        return values
    return [_value_of_risk(name, value, where) for value in values]


def _value_of_risk(name: str, value: object, where: str) -> object:
    if name not in RISK:
        return value
    if name == "position_sizing_method":
        return METHODS.get(str(value), value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigurationError(f"{where}.{name}: must be a number, a fraction, was {value!r}.")
    return round(100.0 * value, 10)


def _replay(phase: Raw, study: Raw, words: Raw, earlier: Mapping[str, Raw]) -> Raw:
    where = f"{phase['name']}.optimization_config"
    source = str(words.pop("signal_logs", "")) or _signals_before(phase, earlier, where)
    if source not in earlier:
        raise UnknownNameError("phase", source, earlier, f"{where}.signal_logs")
    found = {**phase, "inherit_best_from": source}
    fixed = words.pop("fixed_strategy_params", None)
    if fixed is not None:
        named = BEST_OF.fullmatch(str(fixed))
        name = named[1] if named else ""
        if name != source and earlier.get(name, {}).get("inherit_best_from") != source:
            raise ConfigurationError(
                f"{where}.fixed_strategy_params: must be the best parameters of {source!r}, whose signals "
                f"are replayed, or of an analysis of it, was {fixed!r}."
            )
    trials = "all" if fixed is None else "best"
    if "parameters" not in study:
        return _ensemble({**found, "trials": trials, "optimization": study}, words, earlier)
    if words:
        raise ConfigurationError(
            f"{where}.{next(iter(words))}: is for weights, and this phase searches parameters of risk; "
            "remove it, or parameter_space."
        )
    return {**found, "type": "signal_replay", "trials": trials, "optimization": study}


def _signals_before(phase: Raw, earlier: Mapping[str, Raw], where: str) -> str:
    """Return the phase whose signals are meant: the only one that emitted any, going back from a phase."""
    found: dict[str, None] = {}
    waiting = [str(name) for name in phase.get("depends_on", ())]
    while waiting:
        name = waiting.pop()
        before = earlier.get(name, {})
        if before.get("type") in ("optimization", "backtest"):
            found[name] = None
            continue
        waiting += filter(None, [before.get("inherit_best_from", ""), *before.get("depends_on", ())])
    if len(found) != 1:
        raise ConfigurationError(
            f"{where}.signal_replay: the signals of {' or '.join(found) or 'which phase'}? Name it, as "
            "'signal_logs': results['signal_logs']."
        )
    return next(iter(found))


def _ensemble(phase: Raw, words: Raw, earlier: Mapping[str, Raw]) -> Raw:
    """Search for the weights of earlier trials, those of each regime where its best ones are named."""
    where = f"{phase['name']}.optimization_config"
    constraints = mapping(words.pop("weight_constraints", {}), f"{where}.weight_constraints")
    asked = {word: value for word, value in constraints.items() if word != "sum_to_one"}
    if constraints.get("sum_to_one", True) is not True:
        raise ConfigurationError(f"{where}.weight_constraints.sum_to_one: must be true; weights always do.")
    found = {**phase, "type": "ensemble"}
    if "regime_optimal_params" in words:
        named = REGIMES_OF.fullmatch(str(words["regime_optimal_params"]))
        if named is None:
            raise ConfigurationError(
                f"{where}.regime_optimal_params: must be results['optimal_params_by_regime'] of an analysis "
                f"of regimes, was {words['regime_optimal_params']!r}."
            )
        found |= {"regimes": named[1], "trials": "best"}
        asked["per_regime"] = True
    if "risk_parameters" in words:
        found = _stated(found, {"risk": _risk(words["risk_parameters"], earlier, where)}, where)
    return _stated(found, {"ensemble": asked or ""}, where)


def _risk(written: object, earlier: Mapping[str, Raw], where: str) -> Raw:
    """Return the section of risk with these parameters, or with the best ones of a sweep."""
    named, values = BEST_OF.fullmatch(str(written)), dict[str, object]()
    if named is not None:
        searched = earlier.get(named[1], {}).get("optimization", {}).get("parameters", {})
        # A sizer needs its type and size before the sweep has run.
        before = {f"{SIZER}.type": ":-percentage", f"{SIZER}.percentage": ":-100"}
        values = {name: f"${{{named[1]}.best.parameters.{name}{before.get(name, '')}}}" for name in searched}
    else:
        given = mapping(written, f"{where}.risk_parameters")
        values = {RISK.get(name, name): _value_of_risk(name, value, where) for name, value in given.items()}
    sizer: Raw = {"name": SIZER, "type": "percentage", "percentage": 100}
    risk: Raw = {"position_sizers": [sizer]}
    for name, value in values.items():
        above, _, key = name.partition(".")
        if above == SIZER:
            sizer[key] = value
        elif name == RISK["max_drawdown"]:
            risk["limits"] = {"max_drawdown": value}
        elif above == "risk":
            risk[key] = value
        else:
            raise UnknownNameError("parameter of risk", name, RISK, f"{where}.risk_parameters")
    return risk


def _analysis(phase: Raw, words: Raw, earlier: Mapping[str, Raw]) -> list[Raw]:
    where = f"{phase['name']}.analysis_config"
    if _flag(words, "check_convergence", where):
        return [_convergence(phase, words, earlier)]
    kind, source = str(words.pop("analysis_type", "")), words.pop("trades_data", None)
    if source is not None:
        phase = _stated(phase, {"inherit_best_from": source}, where)
    if kind != "regime_performance":
        known = [name for name in PHASES if PHASES.get(name).analyzes]
        if kind not in known:
            raise UnknownNameError("type of analysis", kind, ("regime_performance", *known), where)
        return [_stated({**phase, "type": kind}, words, where)]
    asked = words.pop("metrics", [])
    for metric in asked if isinstance(asked, list) else [asked]:
        if REGIME_METRICS.get(metric, metric) not in MEASURED:
            raise UnknownNameError("metric", str(metric), (*REGIME_METRICS, *MEASURED), f"{where}.metrics")
    classifiers = words.pop("regime_classifiers", [])
    if not isinstance(classifiers, list) or not classifiers:
        raise ConfigurationError(f"{where}.regime_classifiers: must be a list of at least one classifier.")
    found = []
    for number, each in enumerate(classifiers):
        kind = str(each.get("type") if isinstance(each, dict) else each)
        name = f"{phase['name']}.{kind}" if number else phase["name"]
        own = {**phase, "name": name, "type": "regime_analysis"}
        found.append(_stated(own, {"classifier": each, **words}, where))
    return found


def _convergence(phase: Raw, words: Raw, earlier: Mapping[str, Raw]) -> Raw:
    """Compare the last two searches before a phase, by the objective of the last."""
    where = f"{phase['name']}.analysis_config"
    *_, before, last = ("", "", *(name for name in earlier if earlier[name]["type"] == "optimization"))
    if not before:
        raise ConfigurationError(f"{where}.check_convergence: needs two searches before it, to compare them.")
    study = earlier[last]["optimization"]
    metric = str(study.get("objective") or (study.get("objectives") or ["sharpe_ratio"])[0])
    compared = {**words, "before": f"${{{before}.best.metrics.{metric}}}"}
    return {**phase, "type": CONVERGENCE, "inherit_best_from": last, CONVERGENCE: compared}
