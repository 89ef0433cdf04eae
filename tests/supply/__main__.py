"""Bills of materials and known vulnerabilities of everything that is locked: `make audit`.

    python -m tests.supply [--advisories FOLDER] [--output sbom]

Each lock (the image's, and one per extra) gets a CycloneDX document, and pip-audit asks the index about its packages. An index
that knows no vulnerabilities, or cannot be reached, is no answer: then a FOLDER, a clone of
https://github.com/pypa/advisory-database, says what is known as of its newest advisory. Exit code 0: nothing is known; 1:
something is; 2: NOBODY COULD BE ASKED.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from tests.supply.advisories import findings, locked

ROOT = Path(__file__).resolve().parents[2]


def bill_of_materials(lock: Path, output: Path) -> None:
    """CycloneDX of a lock, in JSON."""
    output.parent.mkdir(parents=True, exist_ok=True)
    command = ["requirements", str(lock), "--output-format", "JSON", "--output-file", str(output)]
    subprocess.run([sys.executable, "-m", "cyclonedx_py", *command], check=True)


def ask_the_index(lock: Path) -> tuple[list[str], str]:
    """Known vulnerabilities of a lock, and why the answer is none: empty when every package was judged."""
    command = ["--requirement", str(lock), "--require-hashes", "--disable-pip", "--format", "json"]
    done = subprocess.run([sys.executable, "-m", "pip_audit", *command], capture_output=True, text=True, timeout=600)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return [], (done.stderr.strip().splitlines() or ["no answer"])[-1]
    known = [f"{each['name']} {each['version']}: {hole['id']}" for each in packages for hole in each.get("vulns", ())]
    skipped = [each["name"] for each in packages if "skip_reason" in each]
    return known, f"{len(skipped)} of {len(packages)} packages are unknown to it" if skipped else ""


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description="bills of materials and known vulnerabilities of what is locked")
    parser.add_argument("--advisories", type=Path, help="a clone of pypa/advisory-database")
    parser.add_argument("--output", type=Path, default=ROOT / "sbom")
    chosen = parser.parse_args()
    known: set[str] = set()
    silent: dict[str, str] = {}
    for lock in (ROOT / "requirements.lock", *sorted((ROOT / "requirements").glob("*.lock"))):
        bill_of_materials(lock, chosen.output / f"{lock.stem}.json")
        said, why_not = ask_the_index(lock)
        known.update(said)
        if why_not:
            silent[lock.name] = why_not
        if chosen.advisories is not None:
            found, newest = findings(locked(lock), chosen.advisories)
            known.update(f"{each.package} {each.version}: {each.advisory}" for each in found)
            print(f"{lock.name}: {len(locked(lock))} packages judged by advisories up to {newest}")
    for each in sorted(known):
        print(f"KNOWN VULNERABILITY {each}")
    for name, why in silent.items():
        print(f"{name}: the index was not able to say: {why}")
    if known:
        return 1
    if silent and chosen.advisories is None:
        print("NOBODY COULD BE ASKED ABOUT KNOWN VULNERABILITIES: give --advisories, a clone of pypa/advisory-database")
        return 2
    print(f"no vulnerability is known; bills of materials are in {chosen.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
