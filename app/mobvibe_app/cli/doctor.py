"""mobvibe-tui doctor: prints what this machine has and lacks, with a remedy for each fault."""

from __future__ import annotations

from dataclasses import asdict

from mobvibe_app.cli.output import Output
from mobvibe_app.environment.doctor import examine
from mobvibe_app.settings import AppSettings

BROKEN = 3


def print_findings(settings: AppSettings, out: Output) -> int:
    """Print every finding; 0 if all is fine, 3 if something that is needed is missing."""
    findings = examine(settings)
    for finding in findings:
        if out.is_json:
            out.value({"finding": asdict(finding)})
            continue
        out.line(f"{'✔' if finding.is_fine else '✖'} {finding.name:<16} {finding.detail}")
        if finding.remedy:
            out.line(f"  {'':<16} {finding.remedy}")
    return 0 if all(finding.is_fine for finding in findings) else BROKEN
