"""Find the reasons why calls to language models fail on this machine, and the commands that help.

`examine` reads the machine once, and returns a `Report` with one `Finding` for each fact. It loads
no model and sends no prompt. `read_facts` and `diagnose` are its two halves: the first reads the
machine, and the second is a pure function of the `Facts`.
"""

from localproviders.doctor.checks import diagnose, examine
from localproviders.doctor.facts import Facts
from localproviders.doctor.findings import Finding, Report
from localproviders.doctor.probe import read_facts

__all__ = ["Facts", "Finding", "Report", "diagnose", "examine", "read_facts"]
