#!/usr/bin/env python3
"""The style rules as a test: sizes, heads, forbidden words, names, dependencies and who may name them.

Function length (70 lines) is clippy's to check. Exceptions stand in exceptions.toml beside this file, each
with its reason; one that no longer applies is an error too, so that the list does not rot.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
EXCEPTIONS = Path(__file__).with_name("exceptions.toml")
FILE_LINES_MAX = 400
LINE_COLUMNS_MAX = 110

# Written so that this file does not match itself.
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b|\b(todo|unimplemented)!" r"\s*\(|#\[ignore")
# Crates named in few places: the pattern, and the files that may contain it.
ONLY_IN = {
    "rustls": (re.compile(r"\brustls::|\buse rustls\b"), ["daemon/edge/src/tls/"]),
    "rocksdb": (re.compile(r"\brocksdb::|\buse rocksdb\b"), ["daemon/store/src/"]),
    "rxml": (re.compile(r"\brxml::|\buse rxml\b"), ["daemon/wire/src/", "daemon/wire/fuzz/"]),
    "systemd": (
        re.compile(r"(?<!crate::)(?<!super::)\bsystemd::|\buse systemd\b"),
        ["daemon/server/src/systemd.rs"],
    ),
}
XEP_FILE = re.compile(r"xep\d{4}_[a-z0-9_]+(\.rs)?")


def tracked(*patterns):
    """Files of the tree, committed or about to be."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted(path for path in set(listed.stdout.splitlines()) if (ROOT / path).is_file())


def is_test(path):
    """Files that are tests as a whole."""
    return bool(re.search(r"(^|/)(tests?|benches)/|_tests?\.rs$|/tests\.rs$|(^|/)test_\w+\.py$|/fuzz/", path))


def own_lines(path, lines):
    """Lines that count: a Rust file's tests module does not."""
    if path.endswith(".rs"):
        for number, line in enumerate(lines):
            if line.startswith("#[cfg(test)]") and "mod tests" in " ".join(lines[number + 1 : number + 3]):
                return number
    return len(lines)


def check_rust(path, text, lines, found):
    """Rules for one Rust file."""
    if not lines or not lines[0].startswith("//!"):
        found("head", path, "the first line is not //! with what the file owns")
    if not is_test(path) and own_lines(path, lines) > FILE_LINES_MAX:
        found("length", path, f"{own_lines(path, lines)} lines without tests, {FILE_LINES_MAX} are allowed")
    if path.startswith("daemon/"):
        code = "\n".join(
            line for line in lines[: own_lines(path, lines)] if not line.lstrip().startswith("//")
        )
        for name, (pattern, allowed) in ONLY_IN.items():
            if (
                not is_test(path)
                and pattern.search(code)
                and not any(path.startswith(place) for place in allowed)
            ):
                found(name, path, f"names {name}, which belongs in {' or '.join(allowed)} alone")
        if "xep" in Path(path).name and not XEP_FILE.fullmatch(Path(path).name):
            found("xep-name", path, "a XEP's file is named xepNNNN_name.rs")


def check_any(path, lines, found):
    """Rules for every source file."""
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_COLUMNS_MAX:
            found("width", path, f"line {number} has {len(line)} columns, {LINE_COLUMNS_MAX} are allowed")
        if UNFINISHED.search(line):
            found("unfinished", path, f"line {number} leaves something unfinished: {line.strip()[:80]}")


def check_dependencies(found):
    """Each direct dependency has its line in deny.toml, and each line its dependency."""
    manifest = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["dependencies"]
    wanted = {name for name in manifest if not name.startswith("godwit-")}
    listed = set(re.findall(r"^#   ([a-z0-9_-]+) +\S", (ROOT / "deny.toml").read_text(), re.M))
    for name in sorted(wanted - listed):
        found("dependency", "deny.toml", f"the dependency {name} is not justified: what for, licence")
    for name in sorted(listed - wanted):
        found("dependency", "deny.toml", f"{name} is listed and is no dependency any more")


def check_tree(found):
    """All rules over all files; returns how many files were read."""
    paths = tracked("*.rs", "*.py", "*.sh", "*.js", "*.mjs", "Makefile", "tests/bin/*", ".ci/run")
    for path in paths:
        text = (ROOT / path).read_text(encoding="utf-8")
        lines = text.splitlines()
        check_any(path, lines, found)
        if path.endswith(".rs"):
            check_rust(path, text, lines, found)
        elif not is_test(path) or path.startswith("tests/"):
            if len(lines) > FILE_LINES_MAX:
                found("length", path, f"{len(lines)} lines, {FILE_LINES_MAX} are allowed")
    return len(paths)


def main():
    """Reports what is found, less the exceptions, and closes with a count."""
    excused = tomllib.loads(EXCEPTIONS.read_text())
    used, problems = set(), []

    def found(rule, path, text):
        if path in excused.get(rule, {}):
            used.add((rule, path))
        else:
            problems.append(f"{path}: {text} [{rule}]")

    files = check_tree(found)
    check_dependencies(found)
    for rule, paths in excused.items():
        problems += [
            f"exceptions.toml: {rule}: {path} needs no exception any more"
            for path in paths
            if (rule, path) not in used
        ]
    print(*problems, sep="\n")
    print(f"{files - len({p.split(':')[0] for p in problems})} passed, {len(problems)} failed")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
