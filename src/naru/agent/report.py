"""What the server has been told, against what is so: the difference is the next report."""

import msgspec

from naru.model.hostreport import HostReport, InstanceReport


class Ledger(msgspec.Struct):
    """`current` is what the last pass achieved, `accepted` what the server knows of it; both key -> "" or the reason."""

    current: dict[str, str] = {}
    accepted: dict[str, str] = {}
    instances: dict[str, InstanceReport] = {}
    accepted_instances: dict[str, InstanceReport] = {}
    revision: int = 0
    full: bool = True  # the server knows nothing of this host, or should forget what it knows
    complete: bool = False  # `current` is of a pass that knew the whole desired state; before, there is nothing to report

    def restart(self) -> None:
        """The host was registered (again): the next report says everything."""
        self.accepted, self.accepted_instances, self.full = {}, {}, True

    def next_report(self) -> HostReport:
        """The report that brings the server up to date; empty if it is, which serves as heartbeat."""
        changed = {key: reason for key, reason in self.current.items() if self.accepted.get(key) != reason}
        return HostReport(
            revision=self.revision,
            ok=tuple(key for key, reason in changed.items() if not reason),
            failed={key: reason for key, reason in changed.items() if reason},
            gone=tuple(key for key in self.accepted if key not in self.current),
            instances={id: report for id, report in self.instances.items() if self.accepted_instances.get(id) != report},
            full=self.full,
        )

    def has_news(self) -> bool:
        """Whether the next report says more than that the agent lives."""
        report = self.next_report()
        return bool(report.ok or report.failed or report.gone or report.instances or report.full)

    def accept(self, report: HostReport) -> None:
        """The server has taken `report`."""
        told = self.accepted | dict.fromkeys(report.ok, "") | report.failed
        self.accepted = {key: reason for key, reason in told.items() if key not in report.gone}
        told_instances = self.accepted_instances | report.instances
        self.accepted_instances = {id: seen for id, seen in told_instances.items() if id in self.instances}
        self.full = self.full and not report.full
