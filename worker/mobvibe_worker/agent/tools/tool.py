"""A tool: a name, a pydantic model of its input, and a function whose errors are returned to the model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from mobvibe_worker.agent.model import ToolSpec
from mobvibe_worker.errors import WorkspaceError
from mobvibe_worker.events import Payload

if TYPE_CHECKING:
    from mobvibe_worker.agent.check_gate import CheckGate
    from mobvibe_worker.workspace.staged import StagedFolder


class ToolInput(BaseModel):
    """Base of all inputs: strict types, no extra fields."""

    model_config = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True, slots=True)
class Workbench:
    """What tools work with."""

    staged: StagedFolder
    gate: CheckGate


@dataclass(frozen=True, slots=True)
class ToolOutcome:
    """The text for the model, and the resulting events."""

    text: str
    is_error: bool = False
    events: tuple[Payload, ...] = ()


Input = TypeVar("Input", bound=ToolInput)


@dataclass(frozen=True, slots=True)
class Tool(Generic[Input]):
    """One tool. Tools with `reads_only` may run concurrently."""

    name: str
    description: str
    input_model: type[Input]
    run: Callable[[Input, Workbench], Awaitable[ToolOutcome]]
    reads_only: bool = False

    def spec(self) -> ToolSpec:
        """The tool's description for the model, with the same bytes every time."""
        return ToolSpec(self.name, self.description, _plain_schema(self.input_model))

    async def __call__(self, given: object, bench: Workbench) -> ToolOutcome:
        """Validate the input and run; mistakes of the model become an outcome that explains the right use."""
        try:
            parsed = self.input_model.model_validate(given)
        except ValidationError as error:
            return ToolOutcome(self._how_to_call(error), is_error=True)
        try:
            return await self.run(parsed, bench)
        except WorkspaceError as error:
            return ToolOutcome(str(error), is_error=True)

    def _how_to_call(self, error: ValidationError) -> str:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'input'}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False)[:5]
        )
        fields = ", ".join(
            f"{name}{'' if field.is_required() else ' (optional)'}"
            for name, field in self.input_model.model_fields.items()
        )
        return (
            f"{self.name} was not run: {problems}. It takes an object with {fields or 'nothing'}."
        )


def _plain_schema(model: type[ToolInput]) -> dict[str, Any]:
    sorted_schema = _without_titles(model.model_json_schema())
    assert isinstance(sorted_schema, dict)
    return sorted_schema


def _without_titles(value: object) -> object:
    if isinstance(value, dict):
        return {
            key: _without_titles(value[key])
            for key in sorted(value)
            if not (key == "title" and isinstance(value[key], str))
        }
    return value
