"""Bills of materials and known vulnerabilities of everything that is locked: `make audit`.

    python -m tests.supply [--advisories FOLDER] [--output sbom]

Each lock (the image's, and one per extra) gets a CycloneDX document, and pip-audit asks the index about its packages. An index
that knows no vulnerabilities, or cannot be reached, is no answer: then a FOLDER, a clone of
https://github.com/pypa/advisory-database, says what is known as of its newest advisory, which may be 30 days old; an older
clone is no answer either. Exit code 0: nothing is known; 1: something is; 2: NOBODY COULD BE ASKED.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime
from pathlib import Path

from tests.supply.advisories import findings, locked, newest

ADVISORIES_MAX_AGE_DAYS = 30
ROOT = Path(__file__).resolve().parents[2]


def bill_of_materials(lock: Path, output: Path) -> None:
    """CycloneDX of a lock, in JSON."""
    output.parent.mkdir(parents=True, exist_ok=True)
    command = ["requirements", str(lock), "--output-format", "JSON", "--output-file", str(output)]
    subprocess.run([sys.executable, "-m", "cyclonedx_py", *command], check=True)


def ask_the_index(lock: Path) -> tuple[list[str], str]:
    """Known vulnerabilities of a lock, and why the answer is none: empty when every package was judged."""
    command = ["--requirement", str(lock), "--require-hashes", "--disable-pip", "--format", "json"]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pip_audit", *command], capture_output=True, text=True, timeout=600
        )
    except subprocess.TimeoutExpired:
        return [], "no answer within 600 s"
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return [], (done.stderr.strip().splitlines() or ["no answer"])[-1]
    known = [f"{each['name']} {each['version']}: {hole['id']}" for each in packages for hole in each.get("vulns", ())]
    skipped = [each["name"] for each in packages if "skip_reason" in each]
    return known, f"{len(skipped)} of {len(packages)} packages are unknown to it" if skipped else ""


def verdict(known: Collection[str], silent: Mapping[str, str], newest_day: date | None, today: date) -> tuple[int, str]:
    """Exit code and its reason. silent: locks that the index could not judge; newest_day: of the advisories, if given."""
    if known:
        return 1, f"{len(known)} known vulnerabilities"
    if silent and newest_day is None:
        return 2, "NOBODY COULD BE ASKED FOR VULNERABILITIES: give --advisories, a clone of pypa/advisory-database"
    if silent and newest_day and (today - newest_day).days > ADVISORIES_MAX_AGE_DAYS:
        return 2, f"THE ADVISORIES END ON {newest_day}, MORE THAN {ADVISORIES_MAX_AGE_DAYS} DAYS AGO: pull the clone"
    return 0, "no vulnerability is known"


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description="bills of materials and known vulnerabilities of what is locked")
    parser.add_argument("--advisories", type=Path, help="a clone of pypa/advisory-database")
    parser.add_argument("--output", type=Path, default=ROOT / "sbom")
    chosen = parser.parse_args()
    try:
        newest_day = newest(chosen.advisories) if chosen.advisories else None
    except ValueError as error:
        parser.error(str(error))
    known: set[str] = set()
    silent: dict[str, str] = {}
    for lock in (ROOT / "requirements.lock", *sorted((ROOT / "requirements").glob("*.lock"))):
        bill_of_materials(lock, chosen.output / f"{lock.stem}.json")
        said, why_not = ask_the_index(lock)
        known.update(said)
        if why_not:
            silent[lock.name] = why_not
        if chosen.advisories is not None:
            found = findings(locked(lock), chosen.advisories)
            known.update(f"{each.package} {each.version}: {each.advisory}" for each in found)
            print(f"{lock.name}: {len(locked(lock))} packages judged by advisories up to {newest_day}")
    for each in sorted(known):
        print(f"KNOWN VULNERABILITY {each}")
    for name, why in silent.items():
        print(f"{name}: the index was not able to say: {why}")
    code, reason = verdict(known, silent, newest_day, datetime.now(UTC).date())
    print(f"{reason}; bills of materials are in {chosen.output}")
    return code


if __name__ == "__main__":
    sys.exit(main())
