#!/usr/bin/python3
"""Holds docs/conformance.md to the tests: each `file: name` that it names must exist, and so must each source file."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = ['', 'controlplane', 'dataplane', 'crypto', 'ring', 'tests']


def faults_of(cell, page, line):
    """What the backquoted words of one table cell name that is not there."""
    text = None
    for word in re.findall(r'`([^`]+)`', cell):
        name = re.fullmatch(r'((?:unit|interop|fuzz|rig)/\w+\.(?:py|c))(?:: (\w+))?', word)
        if name:
            path = ROOT / 'tests' / name[1]
            text = path.read_text() if path.is_file() else None
            if text is None:
                yield f'{page}:{line}: there is no tests/{name[1]}'
            elif name[2] and not re.search(rf'\b{name[2]}\b', text):
                yield f'{page}:{line}: there is no {name[2]} in tests/{name[1]}'
        elif re.fullmatch(r'test_\w+', word) or (text and re.fullmatch(r'[A-Z]\w+', word)):
            if text is None or not re.search(rf'\b{word}\b', text):
                yield f'{page}:{line}: there is no {word} in the file named before it'
        elif re.fullmatch(r'[\w/.-]+\.[ch]', word) or re.fullmatch(r'\w+/', word):
            if not any((ROOT / folder / word).exists() for folder in FOLDERS):
                yield f'{page}:{line}: there is no {word}'


def main():
    faults, checked = [], 0
    for page in sorted((ROOT / 'docs').glob('*.md')):
        for line, text in enumerate(page.read_text().splitlines(), 1):
            if not text.startswith('|'):
                continue
            for cell in text.strip('|').split('|'):
                checked += len(re.findall(r'`test_|`(?:unit|interop)/', cell))
                faults += faults_of(cell, page.relative_to(ROOT), line)
    print('\n'.join(faults) or f'{checked} tests named, all there')
    sys.exit(1 if faults or checked < 30 else 0)


main()
