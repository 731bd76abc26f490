"""`--again N` runs a failed test up to N times more. One that then passes is FLAKY: counted, and shown at the end with
its first failure, so that it is mended; it does not fail the run.

Only `.ci/run` asks for it. Each further attempt gets new fixtures, those of the session too: a server that the first
attempt broke must not fail the second.
"""

from __future__ import annotations

import pytest
from _pytest.runner import runtestprotocol


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--again", type=int, default=0, metavar="N",
                     help="run a failed test up to N times more; one that then passes is FLAKY")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    again: int = item.config.getoption("again")
    if not again:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, log=False, nextitem=nextitem)
    first = _failure(reports)
    for _ in range(again):
        if _failure(reports) is None:
            break
        pytest.CallInfo.from_call(lambda: item.session._setupstate.teardown_exact(None), when="teardown")
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
    if first is not None and _failure(reports) is None:
        for report in reports:
            if report.when == "call":
                report.first_failure = first  # a string: it travels to the controller
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _failure(reports: list[pytest.TestReport]) -> str | None:
    failed = next((report for report in reports if report.failed), None)
    if failed is None:
        return None
    return "\n".join([f"in {failed.when}:", failed.longreprtext, *(
        f"--- {title} ---\n{text}" for title, text in failed.sections)])


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    return ("flaky", "f", "FLAKY") if hasattr(report, "first_failure") else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    flaky = terminalreporter.getreports("flaky")
    if not flaky:
        return
    terminalreporter.section("FLAKY: failed first, then passed", yellow=True)
    for report in flaky:
        terminalreporter.section(report.nodeid, sep="_", yellow=True)
        terminalreporter.line(report.first_failure)
    for report in flaky:
        terminalreporter.line(f"FLAKY {report.nodeid}", yellow=True)
