"""`manage.py verify_audit`: walks the audit's chain and names the first link that is broken."""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from diagnosis.management.progress import progress_bar
from diagnosis.services import audit_chain, audit_verification
from diagnosis.services.audit_verification import Anchor, Verification

_SHORTEST_MAC = 16


def printed_head(text: str) -> Anchor:
    """SEQUENCE:MAC as a report prints it; the beginning of the HMAC is enough."""
    compact = re.sub(r"\s", "", text).lower()
    found = re.fullmatch(rf"(\d{{1,18}})[:/]([0-9a-f]{{{_SHORTEST_MAC},64}})", compact)
    if found is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no head of the chain: it should read NUMBER:HMAC, with at least {_SHORTEST_MAC} digits of "
            "the HMAC, as a signed report prints them."
        )
    return Anchor(int(found[1]), found[2], f"The head {found[1]}:{found[2][:8]}... given here")


class Command(BaseCommand):
    help = (
        "Verify the audit: every event is sealed with the one before by a key that lies outside the database. Names "
        "the first event that was edited, deleted, inserted or moved, and an end that was cut off: it compares with "
        "the head in the database, the one in its file, and those that signed reports hold. Exit status 1 if "
        "anything is wrong."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--head", metavar="NUMBER:HMAC", type=printed_head, action="append", default=[],
            help="a head printed in a report, or written down elsewhere, to compare with; may be given often",
        )  # fmt: skip
        parser.add_argument(
            "--from", metavar="NUMBER", type=int, default=1, dest="start",
            help="take the events before this one for granted, as after a lost key (default: 1)",
        )  # fmt: skip
        parser.add_argument("--record", action="store_true", help="add the result to the audit, for its page")
        parser.add_argument("--json", action="store_true", help="print the result as JSON")
        parser.add_argument(
            "--reseal", metavar="REASON",
            help="go on with the present key after the old one was lost; the reason is recorded",
        )  # fmt: skip

    def handle(self, *args: Any, **options: Any) -> None:
        if options["reseal"] is not None:
            self._reseal(options["reseal"])
            return
        quiet = options["verbosity"] == 0
        with progress_bar() as bar:
            task = bar.add_task("Events", total=None, visible=not quiet)
            found = audit_verification.verify(
                anchors=options["head"],
                start=max(1, options["start"]),
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
        if options["record"]:
            audit_verification.keep_result(found)
        if options["json"]:
            self.stdout.write(json.dumps(asdict(found)))
        else:
            self._say(found, options["start"])
        if not found.is_whole:
            raise CommandError(
                "The audit is not whole."
                if options["json"]
                else f"The audit is not whole: {found.problems[0]}"
            )

    def _say(self, found: Verification, start: int) -> None:
        for problem in found.problems[1:]:
            self.stdout.write(problem)
        if found.older:
            self.stdout.write(f"{found.older} events are older than the chain.")
        if found.broken_at is not None:
            self.stdout.write(f"The events up to number {found.broken_at - 1} hold.")
        elif found.is_whole and found.events:
            first = f" from number {start}" if start > 1 else ""
            self.stdout.write(
                f"The audit is whole: {found.events} events{first}, the newest is {found.sequence}:{found.mac} "
                f"({found.seconds:.1f} s)."
            )
        elif found.is_whole:
            self.stdout.write("The audit is whole: it holds no event yet.")

    def _reseal(self, reason: str) -> None:
        if not reason.strip():
            raise CommandError("Say why: the reason is recorded.")
        sequence, mac = audit_chain.reseal(reason=reason.strip())
        self.stdout.write(
            f"The chain goes on with event {sequence} ({mac}). What came before needs its old key to be verified; "
            f"with this one, verify from here: --from {sequence}."
        )
