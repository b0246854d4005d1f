"""Write findings: as lines for people, as JSON, and as a file that can be sent to another person.

Whatever is written has gone through the redactor and is printable: words of a service, of a server or of a variable are in it.
"""

from __future__ import annotations

import errno
import json
import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path

from prx import __version__
from prx.core.numbers import counted
from prx.doctor.finding import Finding, Mark
from prx.files.replace import write_whole
from prx.files.walk import kind_of
from prx.logs.redact import Redactor
from prx.logs.text import printable

_COLUMN = 12  # characters for the name of a check
_PRIVATE = 0o600


WORDS_AT = 5 + 1 + _COLUMN + 1  # the column at which the words of a finding begin


def lines(findings: Sequence[Finding], redactor: Redactor) -> Iterator[str]:
    """Yield one line for each finding, a line with the remedy below it, and a line that sums up."""
    several = len({finding.tunnel for finding in findings if finding.tunnel}) > 1
    for finding in findings:
        tunnel = f"[{finding.tunnel}] " if several and finding.tunnel else ""
        yield _shown(f"{finding.verdict:<5} {finding.check:<{_COLUMN}} {tunnel}{finding.words}", redactor)
        if finding.remedy:
            yield _shown(f"{'':<5} {'':<{_COLUMN}} → {finding.remedy}", redactor)
    yield summary(findings)


def summary(findings: Sequence[Finding]) -> str:
    """Return the numbers of failures and warnings as a sentence."""
    failed, warned = (sum(finding.verdict is mark for finding in findings) for mark in (Mark.FAIL, Mark.WARN))
    if not failed and not warned:
        return "nothing is wrong"
    return f"{counted(failed, 'failure')}, {counted(warned, 'warning')}"


def to_json(findings: Sequence[Finding], redactor: Redactor) -> str:
    """Return `{"ok": …, "checks": [{"check", "verdict", "words", "remedy", "tunnel"}, …]}`."""
    checks = [{name: _shown(value, redactor) for name, value in finding.to_json().items()} for finding in findings]
    return json.dumps({"ok": not has_failed(findings), "checks": checks})


def has_failed(findings: Sequence[Finding]) -> bool:
    """Return whether a check failed; warnings are not failures."""
    return any(finding.verdict is Mark.FAIL for finding in findings)


def write_report(file: Path, findings: Sequence[Finding], shown_config: str, redactor: Redactor) -> None:
    """Write versions, findings and the configuration without its secrets into `file`, readable for its owner only.

    Raise OSError when it cannot be written, also when it is a symbolic link, or no file at all.
    """
    system = f"prx {__version__}, Python {platform.python_version()}, {platform.platform()}"
    config = [_shown(line, redactor) for line in shown_config.splitlines()]
    text = "\n".join([system, "", *lines(findings, redactor), "", "configuration:", *config]) + "\n"
    if file.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(file))
    if os.path.lexists(file) and (kind := kind_of(file.lstat().st_mode)):
        raise OSError(errno.EEXIST, f"{kind} is there", str(file))
    write_whole(file, text.encode(errors="surrogateescape"), mode=_PRIVATE)


def _shown(text: str, redactor: Redactor) -> str:
    return redactor.line(printable(text))
