#!/usr/bin/python3
"""Holds what people read to what is there.

docs/conformance.md: each `file: name` that it names must exist, and so must each source file. README.md: its C compiles
(docs.py CC), its YAML has no option that config/sluice.yaml does not, and the files, commands and options of sluicectl
and ./dev that it names are there.
"""
import pathlib
import re
import subprocess
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


def blocks_of(text, language):
    """The fenced blocks of one language, those inside of a list, too; each with its line."""
    for found in re.finditer(r'^( *)```' + language + r'\n(.*?)^ *```$', text, re.MULTILINE | re.DOTALL):
        yield text.count('\n', 0, found.start()) + 1, found[2]


def compile_faults(readme, compiler):
    """The C of the README; a fragment without main() stands in a function."""
    for line, code in blocks_of(readme, 'c'):
        done = subprocess.run([*compiler, '-Wall', '-Wextra', '-Werror', '-fsyntax-only', '-I', ROOT / 'ring', '-xc', '-'],
                              input=code, text=True, stderr=subprocess.PIPE, check=False)
        if done.returncode:
            yield f'README.md:{line}: this does not compile:\n{done.stderr}'


def option_faults(readme):
    known = set(re.findall(r'^[ #-]*(\w+):', (ROOT / 'config/sluice.yaml').read_text(), re.MULTILINE))
    for line, text in blocks_of(readme, 'yaml'):
        for key in re.findall(r'^[ -]*(\w+):', text, re.MULTILINE):
            if key not in known:
                yield f'README.md:{line}: there is no option {key}'


def command_faults(readme):
    manual = (ROOT / 'controlplane/sluicectl.8').read_text().replace('\\-', '-').replace('\\', '')
    dev = (ROOT / 'dev').read_text() + (ROOT / 'bench/run.py').read_text()
    groups = {'psk', 'registree', 'sessions', 'store'}
    for line, text in enumerate(readme.splitlines(), 1):
        for name, verb, rest in re.findall(r'sluicectl (\w+)(?: (\w+))?([^`#]*)', text):
            if not re.search(rf'\b{name}\b', manual) or (name in groups and not re.search(rf'\b{verb}\b', manual)):
                yield f'README.md:{line}: sluicectl has no command {name} {verb}'
            for option in re.findall(r'--[\w-]+', rest):
                if option not in manual + (ROOT / 'controlplane/sluicectl.c').read_text().replace('"', '--'):
                    yield f'README.md:{line}: sluicectl has no option {option}'
        for name in re.findall(r'\./dev (\w+)', text):
            if not re.search(rf'^  {name}\b', dev, re.MULTILINE):
                yield f'README.md:{line}: ./dev has no command {name}'
        for path in re.findall(r'`((?:config|controlplane|dataplane|ring|bench|docker|docs|crypto)/[\w/.-]*)`', text):
            if not (ROOT / path).exists():
                yield f'README.md:{line}: there is no {path}'


def main():
    faults, checked = [], 0
    readme = (ROOT / 'README.md').read_text()
    faults += [*compile_faults(readme, sys.argv[1:] or ['cc']), *option_faults(readme), *command_faults(readme)]
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
