#!/usr/bin/python3
"""check_manual.py PROGRAM PAGE: the program takes every option that --help and the page name, and they name the same."""

import re
import subprocess
import sys

OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")


def taken(program, option):
    """Behind it comes an option that no program has, so that nothing is done."""
    done = subprocess.run([program, option, "x", "--no-such-option"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10)
    return f"unrecognized option '{option}'" not in done.stderr and "ambiguous" not in done.stderr


def main():
    program, page = sys.argv[1:]
    done = subprocess.run([program, "--help"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10)
    shown = set(OPTION.findall(done.stdout)) | {"--help"}
    with open(page, encoding="utf-8") as file:
        described = set(OPTION.findall(file.read().replace("\\-", "-")))
    failures = [f"--help ends with {done.returncode}"] if done.returncode else []
    failures += [f"{option}: in --help, not in the manual page" for option in sorted(shown - described)]
    failures += [f"{option}: in the manual page, not in --help" for option in sorted(described - shown)]
    failures += [f"{option}: named, and not taken" for option in sorted(shown | described) if not taken(program, option)]
    print("\n".join(failures) or f"{len(shown)} options")
    return 1 if failures or len(shown) < 3 else 0


if __name__ == "__main__":
    sys.exit(main())
