"""The errors a person can see: each says what happened and what to do next.

MobvibeError
├── InputError            exit 2  what was typed or set cannot be used
├── ServiceError          exit 3  the environment could not start, or was lost
├── StoreError            exit 3  the database could not be used
│   ├── DatabaseUnreachable
│   ├── SchemaTooNew, SchemaTooOld, MigrationRefused, MigrationFailed, BranchRefused
│   ├── NotFound, Conflict (SessionLimitReached), Denied, SchemaUnknown
│   ├── LeaseLost         the attempt is no longer this worker's
│   └── HeadMoved         the person's files changed while the job ran
├── AgentError            exit 1  the job could not be done
│   ├── BudgetReached, LimitReached, RedChecks, ModelRefused, ModelRejected
│   └── ModelUnavailable  worth another attempt later
└── WorkspaceError        exit 1  a path or a file that may not be touched
"""

from __future__ import annotations

from typing import ClassVar


class MobvibeError(Exception):
    """Something went wrong.

    The class docstring's first line is the message where none is given; `remedy` is the next thing to do.
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
    """That cannot be used."""

    exit_code = 2


class ServiceError(MobvibeError):
    """A part of the environment could not start."""

    exit_code = 3


class StoreError(MobvibeError):
    """The database could not be used."""

    exit_code = 3
    default_remedy = "Correct what it names, or report it with this line."


class DatabaseUnreachable(StoreError):
    """The database does not answer."""

    default_remedy = "Check DATABASE_URL and that the server runs, then try again."
    is_worth_retrying = True


class SchemaTooNew(StoreError):
    """The database was migrated by a newer mobvibe-tui."""

    default_remedy = "Upgrade mobvibe-tui, or point it at another database."


class SchemaTooOld(StoreError):
    """The database lacks migrations that this version needs."""

    default_remedy = "Run `mobvibe-tui db migrate`."


class MigrationRefused(StoreError):
    """The migrations in the database and on disk do not agree."""


class MigrationFailed(StoreError):
    """A migration failed; nothing of it was kept."""


class BranchRefused(StoreError):
    """The database cannot be copied now."""


class NotFound(StoreError):
    """There is no such thing in the database."""

    exit_code = 2
    default_remedy = (
        "It may have been deleted; `mobvibe-tui jobs` and `db psql` show what there is."
    )


class Conflict(StoreError):
    """Something else is there already, or still needs it."""

    exit_code = 2
    default_remedy = "Look at what is there now, then try again."


class SessionLimitReached(Conflict):
    """No more sessions may be open at once."""

    default_remedy = "Complete a session, or wait until one expires; a larger tier has more."


class Denied(StoreError):
    """This role may not do that."""

    default_remedy = "Use the database owner's DATABASE_URL, or do it as the row's owner."


class SchemaUnknown(StoreError):
    """The database has a type that this program does not know."""

    default_remedy = "Add the type to worker/mobvibe_worker/store/schema/contracts.py."


class LeaseLost(StoreError):
    """Another worker holds this job now; this attempt's work is dropped."""

    default_remedy = (
        "Nothing needs to be done: the job goes on there, or waits for its next attempt."
    )


class HeadMoved(StoreError):
    """The project's files changed while the job ran."""

    default_remedy = "Try again: it then starts from the newest version."


class AgentError(MobvibeError):
    """The job could not be done."""


class BudgetReached(AgentError):
    """The next request could pass the budget, so it was not sent."""

    default_remedy = "Raise it with --budget, or ask for less in one prompt."


class LimitReached(AgentError):
    """The job reached a limit and was stopped."""


class RedChecks(AgentError):
    """The checks stayed red, so the last green revision was kept."""

    default_remedy = "Ask again in smaller steps; the attempt's files are kept aside."


class ModelRefused(AgentError):
    """The model declined this prompt."""

    default_remedy = "Describe the app in another way."


class ModelRejected(AgentError):
    """The model's server did not accept the request."""

    default_remedy = "Check ANTHROPIC_API_KEY, ANTHROPIC_BASE_URL and the model's name."


class ModelUnavailable(AgentError):
    """The model's server does not answer."""

    default_remedy = "It is tried again by itself."
    is_worth_retrying = True


class WorkspaceError(MobvibeError):
    """That path may not be touched."""
