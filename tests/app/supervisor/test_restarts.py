"""The budget of automatic restarts."""

from __future__ import annotations

from mobvibe_app.supervisor.restarts import RestartBudget


def test_restarts_are_limited_within_the_window() -> None:
    budget = RestartBudget(most=3, seconds=300)
    assert [budget.spend() for _ in range(5)] == [True, True, True, False, False]
    forgetful = RestartBudget(most=1, seconds=0)
    assert forgetful.spend() and forgetful.spend()
