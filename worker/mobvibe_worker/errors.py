"""The errors that a person can see. Each says what happened and what to do next.

MobvibeError
├── InputError            exit 2  an argument, a setting or a prompt cannot be used
├── ServiceError          exit 3  the environment could not start, or failed
│   └── DiskFull          worth another attempt once there is space
├── StoreError            exit 3  the database could not be used
│   ├── DatabaseUnreachable
│   ├── SchemaTooNew, SchemaTooOld, MigrationRefused, MigrationFailed, BranchRefused
│   ├── NotFound, Conflict (SessionLimitReached), Denied, SchemaUnknown
│   ├── LeaseLost         the attempt no longer belongs to this worker
│   └── HeadMoved         the project's files changed while the job ran
├── AgentError            exit 1  the job failed
│   ├── BudgetReached, LimitReached, RedChecks, ModelRefused, ModelRejected
│   └── ModelUnavailable  another attempt may succeed
└── WorkspaceError        exit 1  a path or a file may not be used
"""

from __future__ import annotations

from typing import ClassVar


class MobvibeError(Exception):
    """Something went wrong.

    The default message is the first line of the class's docstring; `remedy` says what to do next.
    """

    exit_code: ClassVar[int] = 1
    default_remedy: ClassVar[str] = ""
    is_worth_retrying: ClassVar[bool] = False

    def __init__(self, message: str | None = None, remedy: str | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.remedy = self.default_remedy if remedy is None else remedy
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class InputError(MobvibeError):
    """This input cannot be used."""

    exit_code = 2


class ServiceError(MobvibeError):
    """A part of the environment could not start."""

    exit_code = 3


class DiskFull(ServiceError):
    """The disk is full."""

    default_remedy = "Free some space, then try again."
    is_worth_retrying = True


class PortTaken(ServiceError):
    """Another program holds the port."""


class StoppedOnPurpose(ServiceError):
    """The environment was stopped with `mobvibe-tui down`, so it is not started again."""


class StoreError(MobvibeError):
    """The database could not be used."""

    exit_code = 3
    default_remedy = "Correct the named value, or report this message as a bug."


class DatabaseUnreachable(StoreError):
    """The database does not answer."""

    default_remedy = "Check DATABASE_URL and whether the server runs, then try again."
    is_worth_retrying = True


class SchemaTooNew(StoreError):
    """The database was migrated by a newer mobvibe-tui."""

    default_remedy = "Upgrade mobvibe-tui, or point it at another database."


class SchemaTooOld(StoreError):
    """The database lacks migrations that this version needs."""

    default_remedy = "Run `mobvibe-tui db migrate`."


class MigrationRefused(StoreError):
    """The migrations in the database and on disk differ."""


class MigrationFailed(StoreError):
    """A migration failed and was rolled back."""


class ExportFailed(StoreError):
    """The projects could not be written to a folder. Nothing in the database was changed."""


class BranchRefused(StoreError):
    """The database cannot be copied now."""


class NotFound(StoreError):
    """The database has no such row."""

    exit_code = 2
    default_remedy = (
        "It may have been deleted. Look with `mobvibe-tui jobs` or `mobvibe-tui db psql`."
    )


class Conflict(StoreError):
    """Another row exists already, or still needs this one."""

    exit_code = 2
    default_remedy = "Look at the rows that exist now, then try again."


class SessionLimitReached(Conflict):
    """The limit of open sessions is reached."""

    default_remedy = "Complete a session, wait until one expires, or use a larger tier."


class Denied(StoreError):
    """This database role may not do that."""

    default_remedy = "Use the DATABASE_URL of the database's owner, or act as the row's owner."


class SchemaUnknown(StoreError):
    """The database has a type that this program does not know."""

    default_remedy = "Add the type to worker/mobvibe_worker/store/schema/contracts.py."


class LeaseLost(StoreError):
    """Another worker has this job now, so this attempt's work is discarded."""

    default_remedy = (
        "Nothing needs to be done. The job continues there, or waits for another attempt."
    )


class HeadMoved(StoreError):
    """The project's files changed while the job ran."""

    default_remedy = "Try again. The job then starts from the newest version."


class AgentError(MobvibeError):
    """The job could not be done."""


class BudgetReached(AgentError):
    """The next request could exceed the budget, so it was not sent."""

    default_remedy = "Raise the budget with --budget, or ask for less in one prompt."


class LimitReached(AgentError):
    """The job reached a limit and was stopped."""


class RedChecks(AgentError):
    """The checks still fail, so the last working version stays."""

    default_remedy = "Ask again in smaller steps. The attempt's files were saved."


class ModelRefused(AgentError):
    """The model declined this prompt."""

    default_remedy = "Describe the app in another way."


class ModelRejected(AgentError):
    """The model's server did not accept the request."""

    default_remedy = "Check ANTHROPIC_API_KEY, ANTHROPIC_BASE_URL and the model's name."


class ModelUnavailable(AgentError):
    """The model's server does not answer."""

    default_remedy = "It is retried automatically."
    is_worth_retrying = True


class WorkspaceError(MobvibeError):
    """This path may not be used."""
