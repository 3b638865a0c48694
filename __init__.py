"""ADMF-PC: multi-phase trading research in which every backtest is a ledger.

>>> import admf
>>> result = admf.run("train_test", store="memory://")
>>> result.status
'completed'
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .coordinator.coordinator import Coordinator, run
    from .coordinator.result import PhaseResult, WorkflowResult
    from .coordinator.workflows.templates import (
        CompositeWorkflowTemplate,
        WorkflowConfig,
        WorkflowPhaseDefinition,
        WorkflowType,
    )
    from .domain.errors import AdmfError
    from .domain.features import feature
    from .domain.strategies import strategy

__all__ = [
    "AdmfError",
    "CompositeWorkflowTemplate",
    "Coordinator",
    "PhaseResult",
    "WorkflowConfig",
    "WorkflowPhaseDefinition",
    "WorkflowResult",
    "WorkflowType",
    "feature",
    "run",
    "strategy",
]

_HOMES = {
    "AdmfError": "domain.errors",
    "CompositeWorkflowTemplate": "coordinator.workflows.templates",
    "Coordinator": "coordinator.coordinator",
    "PhaseResult": "coordinator.result",
    "WorkflowConfig": "coordinator.workflows.templates",
    "WorkflowPhaseDefinition": "coordinator.workflows.templates",
    "WorkflowResult": "coordinator.result",
    "WorkflowType": "coordinator.workflows.templates",
    "feature": "domain.features",
    "run": "coordinator.coordinator",
    "strategy": "domain.strategies",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
