"""Durable background tasks on PostgreSQL that go on from their checkpoint.

Every public name is loaded at its first use, so that a probe, a `--help` and a producer do not pay
for what they do not use. `__init__.pyi` says the same to type checkers.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOMES = {
    "client.client": "TaskClient TaskHandle",
    "client.sync": "SyncTaskClient SyncTaskHandle",
    "declare.constraints": "DiskFree Reachable TimeWindow",
    "declare.context": "TaskContext",
    "declare.inputs": "Input Inputs",
    "declare.kind": "Answer Edge NewTask TaskKind",
    "declare.lifespans": "Lifespan",
    "declare.machine": "StateMachine",
    "declare.sync_context": "SyncTaskContext",
    "errors": """
        ConfigurationError DatabaseError DatabaseUnavailable EmbeddedServerError InvalidArgument
        InvalidPayload KeyTaken LeaseLost LifespanError NewerCheckpoint NotPermitted PerdureError
        QueueFull RegistrationError ScheduleNotFound SchemaMismatch StateMachineLoop TaskCancelled
        TaskFailed TaskNotFound TaskStopped TooLarge UnencodableValue UnknownOutcome
    """,
    "service": "TaskService",
    "store.schedule_views": "FireView Occurrence ScheduleState ScheduleView",
    "store.views": """
        BulkCancelled ConstraintState HistoryEntry QueueState TaskSummary TaskView WorkerState
    """,
    "tasks.outcomes": "Cancelled End Failure Next Outcome Retry Success Suspended",
    "tasks.policies": "UNLIMITED Delays Exponential Linear RetryPolicy Timeouts",
    "tasks.triggers": "Cron Every Once",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = ["__version__", *_HOME_OF]  # noqa: PLE0604  (the table above says it once)


def __getattr__(name: str) -> object:
    """Load a public name from its home."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
